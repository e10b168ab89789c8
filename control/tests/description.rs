//! The description of the REST API, checked by tools that others made: it is valid, and what control answers to
//! requests made from it is what it says, never a failure of control.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![allow(clippy::print_stderr, reason = "a skip says so")]

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use weir_control::{Config, Control, Storage};
use weir_driver::fake::Fake;

/// Requests of the same kind that are made of each operation.
const EXAMPLES: &str = "4";
/// The same questions every time.
const SEED: &str = "20";
/// Longest run in seconds.
const SECONDS_MAX: u64 = 300;

/// A program of the component `schemathesis`.
fn installed(name: &str) -> Option<PathBuf> {
    let folder = env::var_os("WEIR_COMPONENTS").map(PathBuf::from).or_else(|| {
        let caches = env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))?;
        Some(caches.join("weir-components"))
    })?;
    let program = folder.join("schemathesis/bin").join(name);
    if program.is_file() {
        return Some(program);
    }
    let message = "schemathesis is not installed (tests/components/schemathesis/install)";
    assert!(env::var("CI").as_deref() != Ok("true"), "{message}");
    eprintln!("skipped: {message}");
    None
}

fn description() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json")
}

#[test]
fn the_description_is_valid() {
    let Some(python) = installed("python") else {
        return;
    };
    let checked = Command::new(python)
        .args(["-m", "openapi_spec_validator", "--subschema-errors", "all"])
        .arg(description())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_made_from_the_description_find_nothing() {
    let Some(program) = installed("schemathesis") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::new(
        folder.path().join("control"),
        Arc::new(weir_store::memory::Memory::new()),
    );
    config.listen = ([127, 0, 0, 1], 0).into();
    config.storage = Storage::Memory;
    let control = Control::start_with(config, Arc::new(Fake::new())).await.unwrap();
    let address = control.address();
    // Something to find, so that not every question ends at a 404.
    let client = reqwest::Client::new();
    let documents = include_str!("description/documents.yaml");
    let made = client
        .put(format!("http://{address}/api/v1/"))
        .body(documents)
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), 202, "{}", made.text().await.unwrap());
    let mut run = Command::new(program);
    run.current_dir(folder.path())
        .arg("run")
        .arg(description())
        .args(["--url", &format!("http://{address}")])
        .args(["--max-examples", EXAMPLES, "--seed", SEED, "--workers", "2"])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance"])
        .args(["--continue-on-failure", "--no-shrink"])
        .args(["--generation-deterministic", "--no-color", "--request-timeout", "20"])
        // Streams do not end.
        .args(["--exclude-path-regex", "/(events/stream|logs)$"]);
    let run = tokio::task::spawn_blocking(move || run.output());
    let run = tokio::time::timeout(Duration::from_secs(SECONDS_MAX), run)
        .await
        .expect("it ends in time")
        .unwrap()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    let tail: Vec<&str> = said.lines().rev().take(150).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    assert!(
        run.status.success(),
        "{}\n{}",
        tail.join("\n"),
        String::from_utf8_lossy(&run.stderr)
    );
    control.shutdown().await;
}
