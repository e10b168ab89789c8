//! Autobahn: a client that speaks WebSocket in every right and wrong way.

use std::{collections::BTreeMap, fs, process::Command, time::Duration};

use serde_json::{Value, json};
use weir_tests::Program;

use crate::{
    given, kept, needed,
    servers::{Weir, free_port, wait_for},
};

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
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let _echo = Program::start(Command::new(python).arg(given("echo.py")).arg(port.to_string()));
    wait_for(port);
    let weir = Weir::before(port);
    let specification = json!({
        "options": { "failByDrop": false },
        "outdir": folder.path().join("reports"),
        "cases": ["*"],
        // Large messages take minutes, and compression is not offered.
        "exclude-cases": ["9.*", "12.*", "13.*"],
        "exclude-agent-cases": {},
        "servers": [
            { "agent": "direct", "url": format!("ws://127.0.0.1:{port}") },
            { "agent": "weir", "url": format!("ws://127.0.0.1:{}", weir.port) },
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
    let index: BTreeMap<String, BTreeMap<String, Value>> = serde_json::from_slice(&index).unwrap();
    let (direct, ours) = (&index["direct"], &index["weir"]);
    assert!(ours.len() >= 247, "only {} cases were played", ours.len());
    assert_eq!(direct.len(), ours.len());
    let worse: Vec<String> = ours
        .iter()
        .filter(|(case, outcome)| {
            ["behavior", "behaviorClose"]
                .iter()
                .any(|part| badness(&outcome[*part]) > badness(&direct[*case][*part]))
        })
        .map(|(case, outcome)| format!("{case}: {outcome}"))
        .collect();
    assert!(worse.is_empty(), "worse than without the proxy: {worse:#?}");
}
