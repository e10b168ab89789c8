//! An authority of a test with a certificate for servers on this host and one for clients.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair,
};

/// PEM files of an authority and what it has signed.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority.
    pub ca: PathBuf,
    /// Certificate of servers at 127.0.0.1, ::1, localhost and *.weir.test.
    pub server: PathBuf,
    /// Its key.
    pub server_key: PathBuf,
    /// Certificate and key of servers in one file.
    pub server_both: PathBuf,
    /// Certificate of clients.
    pub client: PathBuf,
    /// Its key.
    pub client_key: PathBuf,
}

impl Certificates {
    /// Makes them in a folder.
    ///
    /// # Panics
    /// If the folder cannot be written.
    pub fn in_folder(folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("the folder can be made");
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).expect("the folder can be written");
            path
        };
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test-ca");
        let key = KeyPair::generate().expect("keys can be made");
        let ca = params.self_signed(&key).expect("a root");
        let issuer = Issuer::new(params, key);
        let signed = |name: &str| {
            let names = [
                "localhost",
                "*.weir.test",
                "server.dc1.consul",
                "127.0.0.1",
                "::1",
            ];
            let names = names.map(str::to_owned).to_vec();
            let mut params = CertificateParams::new(names).expect("names");
            params.distinguished_name = DistinguishedName::new();
            // etcd's gateway refuses certificates of clients that have one.
            if name != "client" {
                params.distinguished_name.push(DnType::CommonName, name);
            }
            params.extended_key_usages = vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ];
            let key = KeyPair::generate().expect("keys can be made");
            let certificate = params.signed_by(&key, &issuer).expect("it is signed");
            (certificate.pem(), key.serialize_pem())
        };
        let (server, server_key) = signed("server");
        let (client, client_key) = signed("client");
        Self {
            ca: write("ca.pem", &ca.pem()),
            server_both: write("server-both.pem", &format!("{server_key}{server}")),
            server: write("server.pem", &server),
            server_key: write("server.key", &server_key),
            client: write("client.pem", &client),
            client_key: write("client.key", &client_key),
        }
    }
}
