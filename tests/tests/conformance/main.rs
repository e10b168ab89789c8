//! Public suites against an agent, and against HAProxy beside it; see `tests/conformance/README.md`.
//!
//! What is not installed is skipped with a word. With `CI=true` that is a failure: there `tests/components/*/install` ran.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![allow(clippy::print_stderr, reason = "a skip says so")]
#![allow(
    missing_docs,
    unreachable_pub,
    reason = "tests say what they do by their names"
)]

mod http2;
mod servers;
mod slow;
mod tls;
mod websocket;

use std::{
    env,
    path::{Path, PathBuf},
};

/// A program on the search path, `/usr/sbin` included.
fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// A file below the folder in which installers keep what is no package of the system.
fn kept(file: &str) -> Option<PathBuf> {
    let folder = env::var_os("WEIR_COMPONENTS").map(PathBuf::from).or_else(|| {
        let caches = env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))?;
        Some(caches.join("weir-components"))
    })?;
    Some(folder.join(file)).filter(|file| file.is_file())
}

/// What a test needs, or `None` after a word about it.
fn needed(what: &str, found: Option<PathBuf>) -> Option<PathBuf> {
    if found.is_none() {
        let message = format!("{what} is not installed (tests/components/{what}/install)");
        assert!(
            env::var("CI").is_ok_and(|ci| ci != "true") || env::var("CI").is_err(),
            "{message}"
        );
        eprintln!("skipped: {message}");
    }
    found
}

/// A file of `tests/conformance`.
fn given(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("conformance")
        .join(name)
}
