//! `weir demo` as a process: it does what it says and leaves nothing behind.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{path::Path, process::Command, time::Duration};

use rustix::process::Signal;
use weir_tests::{Program, eventually, processes};

/// Variable that marks the demo's processes: `<pid of the demo>:<start>`.
const MARK: &str = "WEIR_DEMO_PROCESS";
/// Longest time until a demo runs.
const START: Duration = Duration::from_secs(60);
/// Longest time until a demo has ended.
const END: Duration = Duration::from_secs(60);

fn demo(folder: &Path, arguments: &[&str]) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.env("TMPDIR", folder).arg("demo").args(arguments);
    Program::start(&mut command)
}

/// Whether a demo took its temporary folder away.
fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

/// Processes of a demo's service.
fn left(demo: u32) -> Vec<u32> {
    processes::with_variable_prefix(MARK, &format!("{demo}:"))
}

#[test]
fn a_run_with_an_end_is_exact_and_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let demo = demo(folder.path(), &["--for", "5s"]);
    let id = demo.id();
    let finished = demo.finish(START + END);
    assert_eq!(finished.code, Some(0), "{}\n{}", finished.stdout, finished.stderr);
    for (phase, shares) in [
        ("80/20 as deployed", "40/10"),
        ("50/50 by weight", "25/25"),
        ("Firefox to demo:2", "20/30"),
    ] {
        let row = finished
            .stdout
            .lines()
            .find(|line| line.starts_with(phase))
            .unwrap_or_else(|| panic!("no row `{phase}`:\n{}", finished.stdout));
        assert_eq!(row.matches(shares).count(), 3, "intended, seen, counted: {row}");
        assert!(row.ends_with("ok"), "{row}");
    }
    assert_eq!(left(id), [0_u32; 0]);
    assert!(is_empty(folder.path()));
}

#[test]
fn an_interrupt_in_the_middle_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = demo(folder.path(), &[]);
    let id = demo.id();
    demo.until("clients saw answers", START, |output| {
        output.contains("Clients saw demo:1").then_some(())
    });
    assert!(left(id).len() >= 4, "two versions with two instances each");
    demo.signal(Signal::INT);
    let finished = demo.finish(END);
    assert_eq!(finished.code, Some(0), "{}\n{}", finished.stdout, finished.stderr);
    assert_eq!(left(id), [0_u32; 0]);
    assert!(is_empty(folder.path()));
}

#[test]
fn a_demo_that_is_killed_takes_its_instances_along() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = demo(folder.path(), &[]);
    let id = demo.id();
    demo.until("the demo runs", START, |output| {
        output.contains("Try, in another terminal").then_some(())
    });
    assert!(left(id).len() >= 4);
    demo.signal(Signal::KILL);
    eventually("the instances end", Duration::from_secs(15), || {
        left(id).is_empty().then_some(())
    });
}
