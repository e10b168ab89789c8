//! slowhttptest: clients that send and read slowly.

use std::{
    path::Path,
    process::Command,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use weir_tests::{Program, eventually};

use crate::{
    needed, program,
    servers::{Haproxy, Neighbour, Service, Weir, origin},
};

const CONNECTIONS: &str = "300";
/// Others wait no longer than this, if the origin itself answers at once.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// One attack at a time: each is to find the machine idle.
static TURN: Mutex<()> = Mutex::new(());

#[derive(Debug)]
struct Outcome {
    others: Service,
    /// Somebody who asks the origin itself: what the machine was busy with.
    direct: Service,
    took: Duration,
    /// Whether every slow connection was ended by the server.
    all_ended: bool,
    text: String,
}

fn attack(tool: &Path, port: u16, origin: u16, mode: &[&str], path: &str, seconds: &str) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let (neighbour, direct) = (Neighbour::of(port), Neighbour::of(origin));
    let began = Instant::now();
    let finished = Program::start(
        Command::new(tool)
            .current_dir(folder.path())
            .args(["-c", CONNECTIONS, "-r", "150", "-p", "3", "-l", seconds])
            .args(mode)
            .args(["-u", &format!("http://127.0.0.1:{port}{path}")]),
    )
    .finish(Duration::from_secs(60));
    let took = began.elapsed();
    Outcome {
        others: neighbour.end(),
        direct: direct.end(),
        took,
        all_ended: finished.stdout.contains("No open connections left"),
        text: finished.stdout,
    }
}

#[track_caller]
fn others_were_served(who: &str, outcome: &Outcome) {
    let (others, direct) = (outcome.others, outcome.direct);
    assert_eq!(others.unanswered, 0, "{who}: {others:?}, directly {direct:?}");
    assert!(
        others.asked > 10 && others.longest < WAIT_MAX.max(direct.longest * 3),
        "{who}: {others:?}, directly {direct:?}"
    );
    assert!(
        !outcome.text.contains("service available:   NO"),
        "{who}: {}",
        outcome.text
    );
}

/// Plays it against us and, if it is there, HAProxy at the same time.
fn beside(mode: &[&str], path: &str, seconds: &str) -> Option<(Weir, Outcome, Option<Outcome>)> {
    let tool = needed("slowhttptest", program("slowhttptest"))?;
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let origin = origin();
    let weir = Weir::before(origin);
    let haproxy = needed("haproxy", program("haproxy")).map(|program| Haproxy::before(&program, origin));
    let (ours, theirs) = std::thread::scope(|scope| {
        let tool = &tool;
        let theirs = haproxy
            .as_ref()
            .map(|haproxy| scope.spawn(|| attack(tool, haproxy.port, origin, mode, path, seconds)));
        let ours = attack(tool, weir.port, origin, mode, path, seconds);
        (ours, theirs.map(|theirs| theirs.join().unwrap()))
    });
    others_were_served("weir", &ours);
    eventually("no slow connection is left", Duration::from_secs(10), || {
        (weir.metric("weir_connections_open") == 0.0).then_some(())
    });
    Some((weir, ours, theirs))
}

#[test]
fn slow_heads_end_at_the_limit() {
    let Some((weir, ours, theirs)) = beside(&["-H", "-i", "5", "-x", "24"], "/", "20") else {
        return;
    };
    assert!(ours.all_ended, "{}", ours.text);
    assert_eq!(
        weir.metric("weir_rejected_total{reason=\"request_timeout\"}"),
        300.0
    );
    if let Some(theirs) = theirs {
        others_were_served("haproxy", &theirs);
        assert!(theirs.all_ended, "{}", theirs.text);
        // Both have 5 s for a head; the suite looks once a second.
        assert!(
            ours.took <= theirs.took + Duration::from_secs(3),
            "{:?}, {:?}",
            ours.took,
            theirs.took
        );
    }
}

#[test]
fn slow_bodies_disturb_nobody() {
    let Some((_weir, _, theirs)) = beside(&["-B", "-s", "8192", "-i", "5", "-x", "24"], "/", "10") else {
        return;
    };
    if let Some(theirs) = theirs {
        others_were_served("haproxy", &theirs);
    }
}

#[test]
fn slow_readers_disturb_nobody() {
    let mode = ["-X", "-w", "8", "-y", "16", "-n", "5", "-z", "32", "-k", "3"];
    let Some((_weir, _, theirs)) = beside(&mode, "/large", "10") else {
        return;
    };
    if let Some(theirs) = theirs {
        others_were_served("haproxy", &theirs);
    }
}
