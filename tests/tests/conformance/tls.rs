//! testssl.sh: what is wrong with a TLS server.

use std::{fs, path::Path, process::Command, time::Duration};

use serde_json::Value;
use weir_tests::Program;

use crate::{
    needed, program,
    servers::{Weir, origin},
};

/// A certificate for `localhost`, trusted by nobody.
fn certificate(openssl: &Path, folder: &Path) {
    let finished = Program::start(
        Command::new(openssl)
            .current_dir(folder)
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ])
            .args([
                "-days",
                "30",
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=DNS:localhost",
            ])
            .args(["-keyout", "key.pem", "-out", "certificate.pem"]),
    )
    .finish(Duration::from_secs(20));
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[test]
fn nothing_is_found() {
    let Some(suite) = needed("testssl", program("testssl")) else {
        return;
    };
    let Some(openssl) = needed("testssl", program("openssl")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    certificate(&openssl, folder.path());
    let at = folder.path().display();
    let weir = Weir::with(
        origin(),
        &format!(
            "    tls: {{ certificates: [{{ certificate: {at}/certificate.pem, key: {at}/key.pem }}] }}\n"
        ),
    );
    let report = folder.path().join("report.json");
    let finished = Program::start(
        Command::new(suite)
            .current_dir(folder.path())
            // Protocols, cipher categories, forward secrecy, known attacks; not the certificate, nor the origin's headers.
            .args([
                "--quiet",
                "--color",
                "0",
                "--warnings",
                "off",
                "-p",
                "-s",
                "-f",
                "-U",
                "--ip",
                "127.0.0.1",
            ])
            .arg("--jsonfile")
            .arg(&report)
            .arg(format!("https://localhost:{}", weir.port)),
    )
    .finish(Duration::from_secs(400));
    let report = fs::read(&report).unwrap_or_else(|error| panic!("{error}: {finished:?}"));
    let findings: Vec<Value> =
        serde_json::from_slice(&report).unwrap_or_else(|error| panic!("{error}: {finished:?}"));
    let of = |id: &str| {
        findings
            .iter()
            .find(|finding| finding["id"] == id)
            .unwrap_or_else(|| panic!("nothing is said of {id}: {finished:?}"))
    };
    assert_eq!(of("TLS1_3")["severity"], "OK", "{}", of("TLS1_3"));
    assert_eq!(of("TLS1")["finding"], "not offered");
    assert_eq!(of("heartbleed")["severity"], "OK");
    let bad: Vec<&Value> = findings
        .iter()
        // What the machine's own OpenSSL lacks to look closer.
        .filter(|finding| finding["id"] != "engine_problem")
        .filter(|finding| !matches!(finding["severity"].as_str(), Some("OK" | "INFO")))
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
}
