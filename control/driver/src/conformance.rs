//! What every driver does, as tests.
//!
//! **Job.** A driver's tests implement [`Subject`] (how to open the driver, what to run for each
//! [`Program`]) and call [`suite`], or single behaviours through [`conformance_tests!`](crate::conformance_tests),
//! which makes one test of each.
//!
//! **Invariants.** Every behaviour uses ids of its own and stops what it started, so that they may run at
//! the same time on one engine. Waits poll until a deadline ([`Subject::patience`]), none is a plain sleep.
//! A behaviour that does not hold panics and names it.

mod abilities;
mod run;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;

pub use abilities::{
    a_command_runs_inside, capacity_is_of_this_driver, followed_logs_go_on, memory_is_limited, stats_are_sums,
};
use run::{Run, check, port};

use crate::{
    ContainerDriver, DriverError, HealthProtocol, InstanceHealth, InstanceSpec, InstanceState, LogStream,
};

/// Exit code of [`Program::Exit`].
pub const EXIT_CODE: i32 = 3;
/// What [`Program::Exit`] writes before it ends.
pub const LAST_WORDS: &str = "conformance: last words";
/// What [`Program::Speak`] writes to standard output.
pub const TO_STDOUT: &str = "conformance: to stdout";
/// What [`Program::Speak`] writes to standard error.
pub const TO_STDERR: &str = "conformance: to stderr";
/// What [`Program::Stubborn`] writes once it ignores signals.
pub const STUBBORN: &str = "conformance: stubborn";

/// Longest grace that is given to an instance which ends when asked: a stop that takes this long was a kill.
const LONG_GRACE: Duration = Duration::from_secs(20);
/// Grace given to an instance that does not end when asked.
const SHORT_GRACE: Duration = Duration::from_millis(600);
/// Between two looks.
const POLL: Duration = Duration::from_millis(20);

/// What the suite wants to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Accepts connections on its first port and answers any HTTP request with 200; ends when asked.
    Serve,
    /// Runs without using any port; ends when asked.
    Idle,
    /// Writes [`LAST_WORDS`] to standard error and ends with [`EXIT_CODE`].
    Exit,
    /// Ignores the request to end, then writes [`STUBBORN`] to standard output and runs on.
    Stubborn,
    /// Writes [`TO_STDOUT`] and [`TO_STDERR`] and runs on.
    Speak,
    /// Writes its environment to standard output, one `NAME=value` a line, and runs on.
    Environment,
    /// Writes lines that hold a growing number to standard output, one in some milliseconds, for ever.
    Count,
    /// Takes more memory than the 64 MB of the scale and writes to it. Only asked of drivers with
    /// [`Capabilities::limits`](crate::Capabilities::limits).
    Hog,
    /// Cannot be run: the command or image does not exist.
    Unknown,
}

/// How to run a [`Program`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// See [`InstanceSpec::deployable_type`].
    pub deployable_type: String,
    /// See [`InstanceSpec::definition`]. Of [`Program::Unknown`], the first word is the name that the error
    /// must contain.
    pub definition: String,
    /// See [`InstanceSpec::arguments`].
    pub arguments: Vec<(String, String)>,
}

/// A driver under test.
#[async_trait]
pub trait Subject: Send + Sync {
    /// Opens the driver on the subject's state. Called again after the one before was dropped.
    async fn open(&self) -> Arc<dyn ContainerDriver>;

    /// How this driver runs a program.
    fn recipe(&self, program: Program) -> Recipe;

    /// Whether [`Program::Serve`] can really be connected to.
    fn reachable(&self) -> bool {
        true
    }

    /// For drivers with [`Capabilities::exec`](crate::Capabilities::exec): a command that writes
    /// [`TO_STDOUT`] to standard output and ends with [`EXIT_CODE`], and one that copies its input to its
    /// output.
    fn commands(&self) -> Option<[Vec<String>; 2]> {
        None
    }

    /// How long to wait for something that should happen.
    fn patience(&self) -> Duration {
        Duration::from_secs(20)
    }
}

/// Makes one `#[tokio::test]` of each behaviour; the argument is an expression that makes a [`Subject`].
#[macro_export]
macro_rules! conformance_tests {
    ($subject:expr) => {
        $crate::conformance_tests!(
            @each $subject;
            starts_and_becomes_healthy,
            failing_check_makes_unhealthy,
            start_is_idempotent,
            labels_are_found_again,
            environment_and_ports_reach_the_instance,
            assigned_ports_differ,
            exits_are_seen,
            unknown_command_is_a_definition_error,
            unsupported_type_is_refused,
            stop_is_graceful_then_kills,
            stop_of_an_unknown_id_is_fine,
            logs_have_both_streams,
            changes_move,
            instances_outlive_the_driver,
            followed_logs_go_on,
            stats_are_sums,
            memory_is_limited,
            a_command_runs_inside,
            capacity_is_of_this_driver,
        );
    };
    (@each $subject:expr; $($behaviour:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                $crate::conformance::$behaviour(&$subject).await;
            }
        )*
    };
}

/// Every behaviour, one after the other.
pub async fn suite(subject: &dyn Subject) {
    starts_and_becomes_healthy(subject).await;
    failing_check_makes_unhealthy(subject).await;
    start_is_idempotent(subject).await;
    labels_are_found_again(subject).await;
    environment_and_ports_reach_the_instance(subject).await;
    assigned_ports_differ(subject).await;
    exits_are_seen(subject).await;
    unknown_command_is_a_definition_error(subject).await;
    unsupported_type_is_refused(subject).await;
    stop_is_graceful_then_kills(subject).await;
    stop_of_an_unknown_id_is_fine(subject).await;
    logs_have_both_streams(subject).await;
    changes_move(subject).await;
    instances_outlive_the_driver(subject).await;
    followed_logs_go_on(subject).await;
    stats_are_sums(subject).await;
    memory_is_limited(subject).await;
    a_command_runs_inside(subject).await;
    capacity_is_of_this_driver(subject).await;
}

/// An instance comes to run; it becomes healthy when its checks pass, when its ports accept if it has no
/// checks, when it runs if it has neither.
pub async fn starts_and_becomes_healthy(subject: &dyn Subject) {
    let run = Run::open(subject).await;
    let idle = run.spec(Program::Idle);
    let accepting = InstanceSpec {
        ports: vec![port("web")],
        ..run.spec(Program::Serve)
    };
    let checked = InstanceSpec {
        ports: vec![port("web")],
        health_checks: vec![
            check(HealthProtocol::Http, "web"),
            check(HealthProtocol::Tcp, "web"),
        ],
        ..run.spec(Program::Serve)
    };
    for spec in [&idle, &accepting, &checked] {
        run.start(spec).await;
    }
    for spec in [&idle, &accepting, &checked] {
        let status = run.healthy(&spec.id).await;
        assert_eq!(status.state, InstanceState::Running, "only what runs is healthy");
        assert!(status.started_at_ms > 0);
        let names: Vec<&str> = status.ports.keys().map(String::as_str).collect();
        let wanted: Vec<&str> = spec.ports.iter().map(|port| port.name.as_str()).collect();
        assert_eq!(names, wanted);
        if subject.reachable() {
            for number in status.ports.values() {
                tokio::net::TcpStream::connect((status.host.as_str(), *number))
                    .await
                    .expect("a healthy instance accepts connections where the driver says");
            }
        }
    }
    for spec in [&idle, &accepting, &checked] {
        run.stop(spec).await;
    }
}

/// An instance whose check fails is unhealthy and runs on.
pub async fn failing_check_makes_unhealthy(subject: &dyn Subject) {
    if !subject.reachable() {
        return;
    }
    let run = Run::open(subject).await;
    let spec = InstanceSpec {
        ports: vec![port("web")],
        health_checks: vec![check(HealthProtocol::Tcp, "web")],
        ..run.spec(Program::Idle)
    };
    run.start(&spec).await;
    let status = run
        .until(&spec.id, "unhealthy", |status| {
            status.health == InstanceHealth::Unhealthy
        })
        .await;
    assert_eq!(status.state, InstanceState::Running);
    run.stop(&spec).await;
}

/// A second start of the same id changes nothing.
pub async fn start_is_idempotent(subject: &dyn Subject) {
    let run = Run::open(subject).await;
    let spec = InstanceSpec {
        ports: vec![port("web")],
        ..run.spec(Program::Serve)
    };
    run.start(&spec).await;
    let first = run.healthy(&spec.id).await;
    run.start(&spec).await;
    let second = run.healthy(&spec.id).await;
    assert_eq!(
        (first.ports, first.started_at_ms),
        (second.ports, second.started_at_ms)
    );
    let list = run.driver.list().await.expect("instances are listed");
    assert_eq!(list.iter().filter(|status| status.id == spec.id).count(), 1);
    run.stop(&spec).await;
}

/// `list` shows the labels that an instance was started with.
pub async fn labels_are_found_again(subject: &dyn Subject) {
    let run = Run::open(subject).await;
    let labels = BTreeMap::from([
        ("io.vamp.deployment".to_owned(), "shop:1.0".to_owned()),
        ("io.vamp.cluster".to_owned(), "front \"end\"".to_owned()),
    ]);
    let spec = InstanceSpec {
        labels: labels.clone(),
        ..run.spec(Program::Idle)
    };
    run.start(&spec).await;
    assert_eq!(run.running(&spec.id).await.labels, labels);
    run.stop(&spec).await;
}

/// An instance sees its variables as they were given, and its ports.
pub async fn environment_and_ports_reach_the_instance(subject: &dyn Subject) {
    let run = Run::open(subject).await;
    let environment = BTreeMap::from([
        ("GREETING".to_owned(), "hello  $HOME \"world\"".to_owned()),
        ("EMPTY".to_owned(), String::new()),
    ]);
    let spec = InstanceSpec {
        environment,
        ports: vec![port("web"), port("admin")],
        ..run.spec(Program::Environment)
    };
    run.start(&spec).await;
    let status = run.running(&spec.id).await;
    for wanted in ["GREETING=hello  $HOME \"world\"", "EMPTY="] {
        run.line(&spec.id, wanted, |stream, text| {
            stream == LogStream::Stdout && text == wanted
        })
        .await;
    }
    if run.driver.capabilities().tells_ports {
        for name in ["web", "admin"] {
            let number = status.ports.get(name).expect("every port has a number");
            let wanted = format!("PORT_{}={number}", name.to_uppercase());
            run.line(&spec.id, &wanted, |_, text| text == wanted).await;
        }
    }
    run.stop(&spec).await;
}

/// Ports that the driver chooses are never used twice.
pub async fn assigned_ports_differ(subject: &dyn Subject) {
    let run = Run::open(subject).await;
    let first = InstanceSpec {
        ports: vec![port("web"), port("admin")],
        ..run.spec(Program::Idle)
    };
    let second = InstanceSpec {
        ports: vec![port("web"), port("admin")],
        ..run.spec(Program::Idle)
    };
    run.start(&first).await;
    run.start(&second).await;
    let mut addresses: Vec<(String, u16)> = Vec::new();
    for spec in [&first, &second] {
        let status = run.running(&spec.id).await;
        addresses.extend(status.ports.values().map(|port| (status.host.clone(), *port)));
    }
    assert_eq!(addresses.len(), 4);
    assert!(addresses.iter().all(|(_, port)| *port != 0), "{addresses:?}");
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 4, "addresses are shared: {addresses:?}");
    run.stop(&first).await;
    run.stop(&second).await;
}

/// An instance that ends by itself is listed as exited, with its code and its last words, until it is
/// stopped; its logs can be read.
pub async fn exits_are_seen(subject: &dyn Subject) {
    let run = Run::open(subject).await;
    let spec = run.spec(Program::Exit);
    run.start(&spec).await;
    let status = run
        .until(&spec.id, "exited", |status| {
            matches!(status.state, InstanceState::Exited { .. })
        })
        .await;
    assert_eq!(
        status.state,
        InstanceState::Exited {
            code: Some(EXIT_CODE)
        }
    );
    assert_ne!(status.health, InstanceHealth::Healthy, "the dead are not healthy");
    let message = status.message.expect("an exit has a message");
    assert!(
        message.contains(&EXIT_CODE.to_string()),
        "the message names the code: {message}"
    );
    assert!(
        message.contains(LAST_WORDS),
        "the message has the last lines of the log: {message}"
    );
    run.line(&spec.id, LAST_WORDS, |stream, text| {
        stream == LogStream::Stderr && text == LAST_WORDS
    })
    .await;
    run.stop(&spec).await;
}

/// What cannot be run is refused with an error that names it, by `start` itself, and leaves nothing.
pub async fn unknown_command_is_a_definition_error(subject: &dyn Subject) {
    let run = Run::open(subject).await;
    let spec = run.spec(Program::Unknown);
    let error = run
        .driver
        .start(spec.clone())
        .await
        .expect_err("there is no such command");
    let name = spec.definition.split_whitespace().next().unwrap_or_default();
    assert!(matches!(error, DriverError::Definition(_)), "{error:?}");
    assert!(
        error.to_string().contains(name),
        "the error names `{name}`: {error}"
    );
    assert!(
        run.find(&spec.id).await.is_none(),
        "what did not start is not listed"
    );
}

/// A deployable type that is not the driver's is refused by name, and leaves nothing.
pub async fn unsupported_type_is_refused(subject: &dyn Subject) {
    let run = Run::open(subject).await;
    let spec = InstanceSpec {
        deployable_type: "container/other".to_owned(),
        ..run.spec(Program::Idle)
    };
    let error = run
        .driver
        .start(spec.clone())
        .await
        .expect_err("the type is not supported");
    assert!(
        matches!(&error, DriverError::UnsupportedDeployable(name) if name == "container/other"),
        "{error:?}"
    );
    assert!(
        run.find(&spec.id).await.is_none(),
        "what did not start is not listed"
    );
    let types = run.driver.capabilities().deployable_types;
    assert!(types.contains(&run.subject.recipe(Program::Idle).deployable_type.as_str()));
}

/// An instance that ends when asked is not waited for any longer; one that does not is killed, but not
/// before its grace is over.
pub async fn stop_is_graceful_then_kills(subject: &dyn Subject) {
    let run = Run::open(subject).await;
    let polite = run.spec(Program::Idle);
    let stubborn = run.spec(Program::Stubborn);
    run.start(&polite).await;
    run.start(&stubborn).await;
    run.running(&polite.id).await;
    run.line(&stubborn.id, STUBBORN, |_, text| text == STUBBORN).await;

    let asked = Instant::now();
    run.stop(&polite).await;
    assert!(
        asked.elapsed() < LONG_GRACE,
        "an instance that ends when asked was asked"
    );

    let asked = Instant::now();
    run.driver
        .stop(&stubborn.id, SHORT_GRACE)
        .await
        .expect("a stubborn instance is killed");
    assert!(
        asked.elapsed() >= SHORT_GRACE,
        "killed before its grace was over: {:?}",
        asked.elapsed()
    );
    assert!(
        run.find(&stubborn.id).await.is_none(),
        "a stopped instance is not listed"
    );
}

/// An id that is not there is stopped already.
pub async fn stop_of_an_unknown_id_is_fine(subject: &dyn Subject) {
    let run = Run::open(subject).await;
    run.driver
        .stop("conformance-nobody", LONG_GRACE)
        .await
        .expect("nothing to stop");
    let spec = run.spec(Program::Idle);
    run.start(&spec).await;
    run.stop(&spec).await;
    run.stop(&spec).await;
}

/// Both streams are captured and told apart; `lines` is the most that is answered, the oldest first; an
/// unknown id has no logs.
pub async fn logs_have_both_streams(subject: &dyn Subject) {
    let run = Run::open(subject).await;
    let spec = run.spec(Program::Speak);
    run.start(&spec).await;
    for (wanted, stream) in [(TO_STDOUT, LogStream::Stdout), (TO_STDERR, LogStream::Stderr)] {
        run.line(&spec.id, wanted, |from, text| from == stream && text == wanted)
            .await;
    }
    let lines = run
        .driver
        .logs(&spec.id, 1)
        .await
        .expect("a live instance has logs");
    assert_eq!(lines.len(), 1);
    let error = run
        .driver
        .logs("conformance-nobody", 1)
        .await
        .expect_err("nobody has no logs");
    assert!(
        matches!(&error, DriverError::NotFound(id) if id == "conformance-nobody"),
        "{error:?}"
    );
    run.stop(&spec).await;
}

/// Whenever `list` would answer differently, the number moves: no poll is needed to see a start, an exit, a
/// stop.
pub async fn changes_move(subject: &dyn Subject) {
    let run = Run::open(subject).await;
    let mut changes = run.driver.changes();
    let spec = run.spec(Program::Exit);
    changes.mark_unchanged();
    run.start(&spec).await;
    let deadline = tokio::time::Instant::now() + subject.patience();
    loop {
        let seen = run.find(&spec.id).await;
        if seen.is_some_and(|status| matches!(status.state, InstanceState::Exited { .. })) {
            break;
        }
        // Other behaviours may move the number too; what counts is that this loop ends without a poll.
        tokio::time::timeout_at(deadline, changes.changed())
            .await
            .expect("the number moves until the exit is listed")
            .expect("the driver is there");
    }
    changes.mark_unchanged();
    run.stop(&spec).await;
    tokio::time::timeout(subject.patience(), changes.changed())
        .await
        .expect("a stop moves the number")
        .expect("the driver is there");
}

/// Instances live on while no driver is there, and the next one finds them, their addresses, their health,
/// and can stop them. Only of drivers that say so.
pub async fn instances_outlive_the_driver(subject: &dyn Subject) {
    let run = Run::open(subject).await;
    if !run.driver.capabilities().outlives_control {
        return;
    }
    let spec = InstanceSpec {
        ports: vec![port("web")],
        ..run.spec(Program::Serve)
    };
    run.start(&spec).await;
    let before = run.healthy(&spec.id).await;
    drop(run);

    let run = Run::open(subject).await;
    assert!(run.find(&spec.id).await.is_some(), "found again at once");
    let after = run.healthy(&spec.id).await;
    assert_eq!(before, after);
    run.start(&spec).await;
    assert_eq!(
        run.healthy(&spec.id).await.ports,
        before.ports,
        "start is idempotent for found instances"
    );
    let other = InstanceSpec {
        ports: vec![port("web")],
        ..run.spec(Program::Idle)
    };
    run.start(&other).await;
    let there = run.running(&other.id).await;
    assert_ne!(
        (there.host, there.ports),
        (before.host, before.ports),
        "addresses of found instances are not given away"
    );
    run.stop(&other).await;
    run.stop(&spec).await;
}
