//! An engine at a TCP address that asks who we are.

use std::{net::TcpListener, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use weir_driver::{ContainerDriver, DriverError};
use weir_driver_docker::{Config, DockerDriver, Endpoint, TlsFiles};
use weir_test_docker::{Engine, Options, image::SERVICE};

use crate::support::{GRACE, IMAGE, get, healthy, spec};

/// Writes an authority, a certificate of 127.0.0.1, and one of a client.
fn certificates(folder: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(folder.join("ca.pem"), ca.pem()).unwrap();
    for (name, key_name, usage) in [
        (
            "server.pem",
            "server-key.pem",
            ExtendedKeyUsagePurpose::ServerAuth,
        ),
        ("cert.pem", "key.pem", ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &ca).unwrap();
        std::fs::write(folder.join(name), certificate.pem()).unwrap();
        std::fs::write(folder.join(key_name), key.serialize_pem()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_with_tls_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let port = TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let options = Options {
        tls: Some((port, folder.path().to_owned())),
    };
    let Some(engine) = Engine::start(options) else {
        return;
    };
    engine.image(IMAGE, &[SERVICE, "serve", "1"]);

    let text = format!("tcp://127.0.0.1:{port}");
    let files = TlsFiles::of_folder(folder.path());
    let mut config = Config::new(Endpoint::new(&text, Some(&files)).unwrap(), "test");
    assert_eq!(
        config.host, "127.0.0.1",
        "ports are published on the engine's host"
    );
    config.publish_address = [127, 0, 0, 1].into();
    let driver = DockerDriver::open(config).await.unwrap();
    let service = spec("secure");
    driver.start(service.clone()).await.unwrap();
    assert!(
        get(&healthy(&driver, &service.id).await)
            .await
            .contains("version 1")
    );
    driver.stop(&service.id, GRACE).await.unwrap();

    // Without our certificate, and with another authority's, it is not available, and says so.
    let nobody = TlsFiles {
        client: None,
        ..files
    };
    let strangers = tempfile::tempdir().unwrap();
    certificates(strangers.path());
    for files in [nobody, TlsFiles::of_folder(strangers.path())] {
        let endpoint = Endpoint::new(&text, Some(&files)).unwrap();
        let driver = DockerDriver::open(Config::new(endpoint, "test")).await.unwrap();
        let error = driver.list().await.unwrap_err();
        assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    }
}
