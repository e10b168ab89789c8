//! Programs of the workspace that are not of the package under test.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::SystemTime,
};

/// The program `weir`: the one beside this test program if it is newer than its sources, else it is built now, once.
///
/// # Panics
/// If it cannot be built.
pub fn weir() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let own = env::current_exe().expect("a program knows where it is");
        // target/PROFILE/deps/chaos-0123456789abcdef
        let profile = own.ancestors().nth(2).expect("it is in a folder of cargo's");
        let program = profile.join("weir");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("the workspace");
        let is_current = fs::metadata(&program)
            .and_then(|found| found.modified())
            .is_ok_and(|built| built >= newest(&root.join("cli/src")));
        if !is_current {
            build(root, profile);
        }
        program
    })
}

fn build(root: &Path, profile: &Path) {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // With this package, so that what both use is built only once.
    command.args(["build", "-p", "weir", "-p", "weir-tests", "--bin", "weir"]);
    command.current_dir(root);
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let target = profile.parent().expect("it is in a folder of cargo's");
    command.env("CARGO_TARGET_DIR", target).stdin(Stdio::null());
    let status = command.status().expect("cargo runs");
    assert!(status.success(), "{command:?}");
}

/// When the newest file below a folder was changed.
fn newest(folder: &Path) -> SystemTime {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let changed = match entry.file_type() {
            Ok(kind) if kind.is_dir() => self::newest(&entry.path()),
            _ => entry
                .metadata()
                .and_then(|data| data.modified())
                .unwrap_or(newest),
        };
        newest = newest.max(changed);
    }
    newest
}
