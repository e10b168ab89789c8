//! What only drivers do that say so in their capabilities.

use std::time::Instant;

use tokio::{sync::mpsc, time::timeout};

use super::{EXIT_CODE, LONG_GRACE, POLL, Program, Subject, TO_STDOUT, run::Run};
use crate::{DriverError, ExecEvent, ExecSpec, Execution, InstanceState, LogLine, LogStream};

/// Lines that are read of a program that counts.
const COUNTED: usize = 20;

/// A follow gives the last lines and then each new one, in order and without gaps; it ends with the
/// instance. An unknown id cannot be followed.
pub async fn followed_logs_go_on(subject: &dyn Subject) {
    let run = Run::open(subject).await;
    if !run.driver.capabilities().follow {
        return;
    }
    let spec = run.spec(Program::Count);
    run.start(&spec).await;
    run.line(&spec.id, "a number", |_, text| {
        number(text).is_some_and(|n| n >= 3)
    })
    .await;
    let mut lines = run
        .driver
        .follow(&spec.id, 2)
        .await
        .expect("a live instance can be followed");
    let mut last = None;
    for _ in 0..COUNTED {
        let line = next(&run, &mut lines).await.expect("it goes on writing");
        let Some(found) = number(&line.text) else { continue };
        assert_eq!(line.stream, LogStream::Stdout);
        if let Some(last) = last {
            assert_eq!(found, last + 1, "no line is left out or told twice");
        }
        last = Some(found);
    }
    assert!(last.is_some(), "numbers were read");
    run.stop(&spec).await;
    while next(&run, &mut lines).await.is_some() {}
    let error = run
        .driver
        .follow("conformance-nobody", 1)
        .await
        .expect_err("nobody has no logs");
    assert!(matches!(&error, DriverError::NotFound(_)), "{error:?}");
}

/// The next line, in bounded time; `None`: the end.
async fn next(run: &Run<'_>, lines: &mut mpsc::Receiver<LogLine>) -> Option<LogLine> {
    timeout(run.subject.patience(), lines.recv())
        .await
        .expect("a line or the end comes in time")
}

/// The number that a line of [`Program::Count`] ends with.
fn number(text: &str) -> Option<u64> {
    text.rsplit(' ').next()?.parse().ok()
}

/// Statistics of a live instance: time only grows. An unknown id has none.
pub async fn stats_are_sums(subject: &dyn Subject) {
    let run = Run::open(subject).await;
    if !run.driver.capabilities().stats {
        return;
    }
    let spec = run.spec(Program::Count);
    run.start(&spec).await;
    run.running(&spec.id).await;
    let first = run
        .driver
        .stats(&spec.id)
        .await
        .expect("a live instance has statistics");
    run.line(&spec.id, "a number", |_, text| {
        number(text).is_some_and(|n| n >= 10)
    })
    .await;
    let second = run
        .driver
        .stats(&spec.id)
        .await
        .expect("a live instance has statistics");
    assert!(second.cpu_seconds >= first.cpu_seconds, "{first:?} {second:?}");
    assert!(second.at_ms >= first.at_ms);
    if run.driver.capabilities().limits {
        assert!(second.memory_bytes > 0, "{second:?}");
        assert_eq!(
            second.memory_limit_bytes,
            Some(64 << 20),
            "the scale's memory is the limit"
        );
    }
    let error = run
        .driver
        .stats("conformance-nobody")
        .await
        .expect_err("nobody uses nothing");
    assert!(matches!(&error, DriverError::NotFound(_)), "{error:?}");
    run.stop(&spec).await;
}

/// An instance that takes more memory than it may have is ended, and the message says why.
pub async fn memory_is_limited(subject: &dyn Subject) {
    let run = Run::open(subject).await;
    if !run.driver.capabilities().limits {
        return;
    }
    let spec = run.spec(Program::Hog);
    run.start(&spec).await;
    let status = run
        .until(&spec.id, "exited", |status| {
            matches!(status.state, InstanceState::Exited { .. })
        })
        .await;
    let message = status.message.expect("an exit has a message");
    assert!(message.contains("memory"), "the message says why: {message}");
    run.stop(&spec).await;
}

/// A command runs inside of an instance, reads what it is given, and tells how it ended.
pub async fn a_command_runs_inside(subject: &dyn Subject) {
    let run = Run::open(subject).await;
    let (true, Some([speak, copy])) = (run.driver.capabilities().exec, subject.commands()) else {
        return;
    };
    let spec = run.spec(Program::Idle);
    run.start(&spec).await;
    run.running(&spec.id).await;
    let command = ExecSpec {
        command: speak,
        ..ExecSpec::default()
    };
    let spoken = run
        .driver
        .exec(&spec.id, command)
        .await
        .expect("a command is run");
    assert_eq!(
        result(&run, spoken).await,
        (format!("{TO_STDOUT}\n"), Some(EXIT_CODE))
    );
    let command = ExecSpec {
        command: copy,
        input: true,
        ..ExecSpec::default()
    };
    let mut copied = run
        .driver
        .exec(&spec.id, command)
        .await
        .expect("a command is run");
    let input = copied.input.take().expect("it reads");
    input.send(b"one\n".to_vec()).await.expect("it reads");
    input.send(b"two\n".to_vec()).await.expect("it reads");
    drop(input);
    assert_eq!(result(&run, copied).await, ("one\ntwo\n".to_owned(), Some(0)));
    run.stop(&spec).await;
    let gone = run.driver.exec(&spec.id, ExecSpec::default()).await;
    gone.expect_err("nothing runs in an instance that is gone");
}

/// Standard output of a command, and its exit code.
async fn result(run: &Run<'_>, mut execution: Execution) -> (String, Option<i32>) {
    let mut written = Vec::new();
    loop {
        let event = timeout(run.subject.patience(), execution.output.recv())
            .await
            .expect("the command ends in time");
        match event {
            Some(ExecEvent::Output { bytes, .. }) => written.extend(bytes),
            Some(ExecEvent::Ended { code }) => {
                return (String::from_utf8_lossy(&written).into_owned(), code);
            }
            None => panic!("the channel ended before the command did"),
        }
    }
}

/// What there is to be given is told for the types that the driver takes, and is not nothing.
pub async fn capacity_is_of_this_driver(subject: &dyn Subject) {
    let run = Run::open(subject).await;
    let began = Instant::now();
    let capacities = loop {
        match run.driver.capacity().await {
            Ok(capacities) => break capacities,
            Err(error) => assert!(began.elapsed() < LONG_GRACE, "{error:?}"),
        }
        tokio::time::sleep(POLL).await;
    };
    let types = run.driver.capabilities().deployable_types;
    for capacity in capacities {
        assert!(
            capacity
                .deployable_types
                .iter()
                .all(|name| types.contains(&name.as_str())),
            "{capacity:?}"
        );
        assert!(capacity.cpu > 0.0 && capacity.memory_mb > 0.0, "{capacity:?}");
        assert!(
            capacity.largest_cpu <= capacity.cpu && capacity.largest_memory_mb <= capacity.memory_mb,
            "{capacity:?}"
        );
    }
}
