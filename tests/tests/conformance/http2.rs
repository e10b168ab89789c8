//! httpwg: what RFC 9113 asks of a server, with prior knowledge.

use std::{collections::BTreeSet, path::Path, process::Command, time::Duration};

use weir_tests::Program;

use crate::{
    kept, needed, program,
    servers::{Haproxy, Weir, origin},
};

/// Cases of version 0.2.5 that are played.
const CASES_MIN: usize = 100;

/// Plays more than one. Some cases take a request back and then send more of it; on a busy machine its whole answer is there
/// before, which ends the stream in good order (RST_STREAM with NO_ERROR, RFC 9113 §8.1), and the suite takes that for the
/// verdict. What is wrong fails each time.
const TRIES_MORE: usize = 2;

#[derive(Debug)]
struct Verdict {
    passed: usize,
    failed: BTreeSet<String>,
    text: String,
}

fn play(suite: &Path, port: u16) -> Verdict {
    let finished = Program::start(
        Command::new(suite)
            // The suite keeps buffers for many connections; it uses few.
            .env("BUFFET_NUM_BUFS", "4096")
            // The machine may be busy with other suites.
            .args(["--connect-timeout", "5000", "--frame-timeout", "5000"])
            .args(["-a", &format!("127.0.0.1:{port}")]),
    )
    .finish(Duration::from_secs(300));
    let text = plain(&format!("{}{}", finished.stdout, finished.stderr));
    Verdict {
        passed: text.matches("Test passed").count(),
        failed: text
            .lines()
            .filter_map(|line| line.split_once("Test failed: "))
            .map(|(_, name)| name.trim().to_owned())
            .collect(),
        text,
    }
}

/// Without colours.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut parts = text.split('\u{1b}');
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        plain.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
    }
    plain
}

#[test]
fn nothing_fails_that_does_not_fail_at_haproxy() {
    let Some(suite) = needed("httpwg", kept("httpwg/0.2.5/bin/httpwg")) else {
        return;
    };
    let Some(haproxy) = needed("haproxy", program("haproxy")) else {
        return;
    };
    let origin = origin();
    let weir = Weir::before(origin);
    let peer = Haproxy::before(&haproxy, origin);
    let mut ours = play(&suite, weir.port);
    let theirs = play(&suite, peer.http2_port);
    for _ in 0..TRIES_MORE {
        if ours.failed.is_subset(&theirs.failed) {
            break;
        }
        let again = play(&suite, weir.port);
        ours.failed.retain(|case| again.failed.contains(case));
        ours.passed = ours.passed.max(again.passed);
    }
    assert!(
        ours.passed + ours.failed.len() >= CASES_MIN && theirs.passed >= CASES_MIN - 10,
        "the suite did not play all: {}",
        ours.text
    );
    let only_ours: Vec<&String> = ours.failed.difference(&theirs.failed).collect();
    assert!(
        only_ours.is_empty(),
        "these fail here and not at HAProxy: {only_ours:#?}\n{}",
        ours.text
    );
    assert!(
        ours.passed >= theirs.passed,
        "{} pass here, {} at HAProxy",
        ours.passed,
        theirs.passed
    );
    eprintln!(
        "passed: {} of {}, HAProxy {}; failed: {:?}",
        ours.passed,
        ours.passed + ours.failed.len(),
        theirs.passed,
        ours.failed
    );
}
