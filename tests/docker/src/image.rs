//! Images made from nothing: a tar archive that an engine loads, with the test service as its only file.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Where the service is in an image.
pub const SERVICE: &str = "/service";
/// Bytes of a block of a tar archive.
const BLOCK: usize = 512;

/// The test service, without any library beside it. Built when it is first asked for.
///
/// # Panics
/// If it cannot be built.
pub fn service() -> &'static [u8] {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    BUILT.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .expect("this crate is two folders below the root");
        // Beside what the running tests were built into.
        let here = std::env::current_exe().expect("a program knows where it is");
        let target: PathBuf = here
            .ancestors()
            .find(|folder| folder.join("debug").is_dir() || folder.join("release").is_dir())
            .map_or_else(|| root.join("target"), Path::to_owned)
            .join("static");
        let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .current_dir(root)
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .args(["build", "--release", "--quiet", "--package", "weir-test-service"])
            .args(["--target", &triple, "--target-dir"])
            .arg(&target)
            .stdin(Stdio::null())
            .output()
            .expect("cargo can be run");
        assert!(
            output.status.success(),
            "the test service cannot be built:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let file = target.join(triple).join("release/weir-test-service");
        std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    })
}

/// A layer with these files, as `path` and bytes, all of them programs.
pub fn layer(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (path, bytes) in files {
        entry(&mut tar, path.trim_start_matches('/'), bytes, 0o755);
    }
    tar.resize(tar.len() + 2 * BLOCK, 0);
    tar
}

/// An image's configuration (OCI image specification, section *Image Configuration*).
pub fn config(layer: &[u8], command: &[&str]) -> Value {
    json!({
        "architecture": match std::env::consts::ARCH { "x86_64" => "amd64", "aarch64" => "arm64", other => other },
        "os": "linux",
        "config": {"Cmd": command},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
        "history": [{"created_by": "tests"}],
    })
}

/// `sha256:...` of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// An archive as `docker save` writes one.
pub(crate) fn saved(name: &str, command: &[&str]) -> Vec<u8> {
    let layer = layer(&[(SERVICE, service())]);
    let config = config(&layer, command).to_string();
    let manifest = json!([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]);
    let mut tar = Vec::new();
    entry(&mut tar, "config.json", config.as_bytes(), 0o644);
    entry(&mut tar, "layer.tar", &layer, 0o644);
    entry(&mut tar, "manifest.json", manifest.to_string().as_bytes(), 0o644);
    tar.resize(tar.len() + 2 * BLOCK, 0);
    tar
}

/// Appends a file (POSIX `pax(1)`, *ustar Interchange Format*).
fn entry(tar: &mut Vec<u8>, name: &str, bytes: &[u8], mode: u32) {
    let mut header = [0_u8; BLOCK];
    let mut put = |at: usize, text: &[u8]| {
        for (to, from) in header.iter_mut().skip(at).zip(text) {
            *to = *from;
        }
    };
    put(0, name.as_bytes());
    put(100, format!("{mode:07o}\0").as_bytes());
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", bytes.len()).as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    for (to, from) in header.iter_mut().skip(148).zip(format!("{sum:06o}\0 ").bytes()) {
        *to = from;
    }
    tar.extend(header);
    tar.extend(bytes);
    tar.resize(tar.len().next_multiple_of(BLOCK), 0);
}
