//! TLS of the listener.

use std::{path::Path, sync::Arc, time::Duration};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::Certificate;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use weir_control::{Control, Storage, TlsFiles};
use weir_driver::fake::Fake;

use crate::world::{PATIENCE, World, config};

/// Writes a new certificate for the loopback address; answers its PEM.
fn certify(files: &TlsFiles) -> String {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    std::fs::write(&files.certificate, cert.pem()).unwrap();
    std::fs::write(&files.key, signing_key.serialize_pem()).unwrap();
    cert.pem()
}

fn files(folder: &Path) -> TlsFiles {
    TlsFiles {
        certificate: folder.join("certificate.pem"),
        key: folder.join("key.pem"),
    }
}

/// A client that trusts one certificate alone, on a connection of its own.
fn trusting(pem: &str) -> reqwest::Client {
    reqwest::Client::builder()
        .tls_certs_only([Certificate::from_pem(pem.as_bytes()).unwrap()])
        .build()
        .unwrap()
}

#[tokio::test]
async fn https_with_a_certificate_that_is_replaced_while_it_serves() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(folder.path());
    let first = certify(&files);
    let world = World::with(|config| config.tls = Some(files.clone())).await;
    let url = format!("https://{}/api/v1/breeds", world.control.address());
    let get = async |pem: &str| trusting(pem).get(&url).timeout(PATIENCE).send().await;
    let answer = get(&first).await.unwrap();
    assert_eq!(answer.status(), 200);
    let link = answer.headers()["link"].to_str().unwrap();
    assert!(link.starts_with(&format!("<{url}?")), "{link}");

    let mut plain = TcpStream::connect(world.control.address()).await.unwrap();
    plain
        .write_all(b"GET /api/v1/breeds HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut told = String::new();
    plain.read_to_string(&mut told).await.unwrap();
    assert!(
        told.starts_with("HTTP/1.1 400 ") && told.contains("https only"),
        "{told}"
    );

    // A half-written pair changes nothing; a whole one is served to new connections.
    std::fs::write(&files.certificate, "garbage").unwrap();
    get(&first).await.unwrap();
    let second = certify(&files);
    let replaced = async {
        while get(&second).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, replaced)
        .await
        .expect("a new certificate is taken");
    assert!(get(&first).await.is_err(), "the old one is no longer served");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let own = files(folder.path());
    certify(&own);
    let other = tempfile::tempdir().unwrap();
    let other = files(other.path());
    let start = async |files: TlsFiles| {
        let mut config = config(folder.path(), Storage::Memory);
        config.tls = Some(files);
        let failed = Control::start_with(config, Arc::new(Fake::new())).await;
        format!("{:#}", failed.unwrap_err())
    };
    let told = start(other.clone()).await;
    assert!(told.contains("certificate.pem cannot be read"), "{told}");
    std::fs::create_dir_all(other.certificate.parent().unwrap()).unwrap();
    certify(&other);
    let mixed = TlsFiles {
        key: other.key.clone(),
        ..own.clone()
    };
    let told = start(mixed).await;
    assert!(told.contains("is not that of the certificate"), "{told}");
    std::fs::write(&own.key, "garbage").unwrap();
    let told = start(own).await;
    assert!(told.contains("key.pem holds no PEM private key"), "{told}");
}
