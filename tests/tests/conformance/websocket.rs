//! Autobahn: a client that speaks WebSocket in every right and wrong way.

use std::{collections::BTreeMap, fs, path::Path, process::Command, time::Duration};

use serde_json::{Value, json};
use weir_tests::Program;

use crate::{
    given, kept, needed,
    servers::{Weir, free_port, wait_for},
};

/// How often a case that ended worse is played again.
const AGAIN: usize = 2;

/// A verdict of the suite; more is worse.
fn badness(verdict: &Value) -> u8 {
    match verdict.as_str() {
        Some("OK" | "INFORMATIONAL") => 0,
        Some("NON-STRICT" | "UNIMPLEMENTED") => 1,
        _ => 2,
    }
}

#[test]
fn no_case_is_worse_than_without_the_proxy() {
    let Some(suite) = needed("autobahn", kept("autobahn/wstest")) else {
        return;
    };
    let Some(python) = needed("autobahn", kept("autobahn/echo/bin/python")) else {
        return;
    };
    let port = free_port();
    let _echo = Program::start(Command::new(python).arg(given("echo.py")).arg(port.to_string()));
    wait_for(port);
    let weir = Weir::before(port);
    let play = |cases: &[&str]| play(&suite, cases, port, weir.port);
    let index = play(&["*"]);
    assert!(
        index["weir"].len() >= 247,
        "only {} cases were played",
        index["weir"].len()
    );
    assert_eq!(index["direct"].len(), index["weir"].len());
    // Some verdicts depend on whether an answer overtakes a close (4.*): what is worse must be so each time.
    let mut worse = worse(&index);
    for _ in 0..AGAIN {
        if worse.is_empty() {
            break;
        }
        let cases: Vec<&str> = worse.keys().map(String::as_str).collect();
        worse = self::worse(&play(&cases));
    }
    assert!(worse.is_empty(), "worse than without the proxy: {worse:#?}");
}

/// Verdicts by agent and case.
type Index = BTreeMap<String, BTreeMap<String, Value>>;

/// The cases that end worse through the proxy.
fn worse(index: &Index) -> BTreeMap<String, Value> {
    let (direct, ours) = (&index["direct"], &index["weir"]);
    let is_worse = |case: &str, outcome: &Value| {
        ["behavior", "behaviorClose"]
            .iter()
            .any(|part| badness(&outcome[*part]) > badness(&direct[case][*part]))
    };
    ours.iter()
        .filter(|(case, outcome)| is_worse(case, outcome))
        .map(|(case, outcome)| (case.clone(), outcome.clone()))
        .collect()
}

/// Plays cases against the service itself and through the proxy.
fn play(suite: &Path, cases: &[&str], direct: u16, weir: u16) -> Index {
    let folder = tempfile::tempdir().unwrap();
    let specification = json!({
        "options": { "failByDrop": false },
        "outdir": folder.path().join("reports"),
        "cases": cases,
        // Large messages take minutes, and compression is not offered.
        "exclude-cases": ["9.*", "12.*", "13.*"],
        "exclude-agent-cases": {},
        "servers": [
            { "agent": "direct", "url": format!("ws://127.0.0.1:{direct}") },
            { "agent": "weir", "url": format!("ws://127.0.0.1:{weir}") },
        ],
    });
    let path = folder.path().join("specification.json");
    fs::write(&path, specification.to_string()).unwrap();
    let finished = Program::start(
        Command::new(suite)
            .current_dir(folder.path())
            .args(["-m", "fuzzingclient", "-s"])
            .arg(&path),
    )
    .finish(Duration::from_secs(300));
    let index = fs::read(folder.path().join("reports/index.json"))
        .unwrap_or_else(|error| panic!("{error}: {finished:?}"));
    serde_json::from_slice(&index).unwrap()
}
