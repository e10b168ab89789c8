//! Commands inside of containers.

use std::{pin::Pin, time::Duration};

use bollard::{
    container::LogOutput,
    errors::Error,
    exec::{CreateExecOptions, StartExecOptions, StartExecResults},
};
use futures::{Stream, StreamExt as _};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
    time::{Instant, sleep},
};
use weir_driver::{ExecEvent, ExecSpec, Execution, LogStream};

use crate::engine::Engine;

/// Pieces of output that a reader may be behind before the command waits for it.
const OUTPUT_MAX: usize = 64;
/// Pieces of input that wait for the command.
const INPUT_MAX: usize = 16;
/// How long the exit code of a command whose output ended may take.
const CODE_MAX: Duration = Duration::from_secs(5);
/// Between two looks for it.
const CODE_POLL: Duration = Duration::from_millis(20);

type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, Error>> + Send>>;
type Input = Pin<Box<dyn AsyncWrite + Send>>;

/// Runs a command.
pub(crate) async fn run(engine: &Engine, container: &str, spec: ExecSpec) -> Result<Execution, Error> {
    let options = CreateExecOptions {
        attach_stdin: Some(spec.input),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        tty: Some(spec.terminal),
        env: Some(
            spec.environment
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        ),
        cmd: Some(spec.command),
        ..CreateExecOptions::default()
    };
    let made = engine
        .bounded(engine.client().create_exec(container, options))
        .await?
        .id;
    let start = StartExecOptions {
        tty: spec.terminal,
        ..StartExecOptions::default()
    };
    let started = engine
        .bounded(engine.client().start_exec(&made, Some(start)))
        .await?;
    let StartExecResults::Attached { output, input } = started else {
        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
    };
    let (events, receiver) = mpsc::channel(OUTPUT_MAX);
    tokio::spawn(pass_on(engine.clone(), made, output, events));
    let sender = spec.input.then(|| {
        let (sender, bytes) = mpsc::channel(INPUT_MAX);
        tokio::spawn(feed(input, bytes));
        sender
    });
    Ok(Execution {
        input: sender,
        output: receiver,
    })
}

async fn pass_on(engine: Engine, id: String, mut output: Output, events: mpsc::Sender<ExecEvent>) {
    while let Some(part) = output.next().await {
        let (stream, bytes) = match part {
            Ok(LogOutput::StdErr { message }) => (LogStream::Stderr, message),
            Ok(LogOutput::StdOut { message } | LogOutput::Console { message }) => {
                (LogStream::Stdout, message)
            }
            Ok(LogOutput::StdIn { .. }) => continue,
            Err(error) => {
                tracing::debug!(%error, "the output of a command in a container broke off");
                break;
            }
        };
        let event = ExecEvent::Output {
            stream,
            bytes: bytes.to_vec(),
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
    let code = code(&engine, &id).await;
    // Nobody may be listening any more.
    let _ = events.send(ExecEvent::Ended { code }).await;
}

/// The output may end a moment before the engine knows how the command did.
async fn code(engine: &Engine, id: &str) -> Option<i32> {
    let deadline = Instant::now() + CODE_MAX;
    loop {
        let state = engine.bounded(engine.client().inspect_exec(id)).await.ok()?;
        if state.running != Some(true) && state.exit_code.is_some() {
            return state.exit_code.and_then(|code| i32::try_from(code).ok());
        }
        if Instant::now() >= deadline {
            return None;
        }
        sleep(CODE_POLL).await;
    }
}

async fn feed(mut input: Input, mut bytes: mpsc::Receiver<Vec<u8>>) {
    while let Some(part) = bytes.recv().await {
        if input.write_all(&part).await.is_err() || input.flush().await.is_err() {
            return;
        }
    }
    // The command reads the end of its input.
    let _ = input.shutdown().await;
}
