//! What containers wrote, as lines.

use std::time::Duration;

use bollard::{container::LogOutput, errors::Error, query_parameters::LogsOptions};
use futures::StreamExt as _;
use tokio::sync::mpsc;
use weir_driver::{LogLine, LogStream};

use crate::{engine::Engine, view::millis};

/// Most lines that are answered at once.
const LINES_MAX: usize = 10_000;
/// Longest line, in bytes; a longer one is cut into several.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Lines in the message of an exit.
const LAST_WORDS_LINES: usize = 5;
/// Lines that a reader who follows may be behind before the engine waits for it.
const FOLLOWED_MAX: usize = 256;
/// How long the last words of a container may take.
const LAST_WORDS_MAX: Duration = Duration::from_secs(3);

fn options(lines: usize, follow: bool) -> LogsOptions {
    LogsOptions {
        follow,
        stdout: true,
        stderr: true,
        timestamps: true,
        tail: lines.min(LINES_MAX).to_string(),
        ..LogsOptions::default()
    }
}

/// The last lines of both streams together, in the order in which the engine heard them.
pub(crate) async fn tail(engine: &Engine, container: &str, lines: usize) -> Result<Vec<LogLine>, Error> {
    if lines == 0 {
        return Ok(Vec::new());
    }
    let mut parts = engine.client().logs(container, Some(options(lines, false)));
    let read = async {
        let mut joiner = Joiner::default();
        let mut found = Vec::new();
        while let Some(part) = parts.next().await {
            found.extend(joiner.hear(part?));
        }
        found.extend(joiner.rest());
        Ok(found)
    };
    engine.bounded(read).await
}

/// The last lines, to say why a container ended; empty if it wrote nothing or cannot be read.
pub(crate) async fn last_words(engine: &Engine, container: &str) -> String {
    let read = tokio::time::timeout(LAST_WORDS_MAX, tail(engine, container, LAST_WORDS_LINES)).await;
    let lines = read.ok().and_then(Result::ok).unwrap_or_default();
    let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    texts.join("\n")
}

/// The last lines and then every further one, until the container ends or nobody listens.
pub(crate) fn follow(engine: &Engine, container: &str, lines: usize) -> mpsc::Receiver<LogLine> {
    let (sender, receiver) = mpsc::channel(FOLLOWED_MAX);
    let mut parts = engine.client().logs(container, Some(options(lines, true)));
    tokio::spawn(async move {
        let mut joiner = Joiner::default();
        loop {
            let part = tokio::select! {
                () = sender.closed() => return,
                part = parts.next() => part,
            };
            let (fresh, over) = match part {
                Some(Ok(part)) => (joiner.hear(part), false),
                Some(Err(error)) => {
                    tracing::debug!(%error, "following the logs of a container ended");
                    (None, true)
                }
                None => (None, true),
            };
            let rest = if over { joiner.rest() } else { Vec::new() };
            for line in fresh.into_iter().chain(rest) {
                if sender.send(line).await.is_err() {
                    return;
                }
            }
            if over {
                return;
            }
        }
    });
    receiver
}

/// Puts lines together which the engine cut (it hands on at most 16 KiB at once), and takes off their times.
#[derive(Debug, Default)]
struct Joiner {
    stdout: Option<LogLine>,
    stderr: Option<LogLine>,
}

impl Joiner {
    fn hear(&mut self, part: LogOutput) -> Option<LogLine> {
        let (stream, bytes) = match part {
            LogOutput::StdErr { message } => (LogStream::Stderr, message),
            LogOutput::StdOut { message } | LogOutput::Console { message } => (LogStream::Stdout, message),
            LogOutput::StdIn { .. } => return None,
        };
        let (at_ms, bytes) = timed(&bytes);
        let whole = bytes.ends_with(b"\n");
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_end_matches('\n').trim_end_matches('\r');
        let open = match stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        };
        let mut line = open.take().unwrap_or(LogLine {
            at_ms,
            stream,
            text: String::new(),
        });
        line.text.push_str(text);
        if whole || line.text.len() >= LINE_BYTES_MAX {
            Some(line)
        } else {
            *open = Some(line);
            None
        }
    }

    /// Lines that were begun and have no end.
    fn rest(&mut self) -> Vec<LogLine> {
        [self.stdout.take(), self.stderr.take()]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// Takes off the time that the engine put before a line.
fn timed(bytes: &[u8]) -> (u64, &[u8]) {
    let Some(space) = bytes.iter().take(40).position(|byte| *byte == b' ') else {
        return (0, bytes);
    };
    let (time, rest) = bytes.split_at(space);
    match str::from_utf8(time).ok().and_then(millis) {
        Some(at_ms) => (at_ms, rest.get(1..).unwrap_or_default()),
        None => (0, bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_and_timed() {
        let mut joiner = Joiner::default();
        let out = |text: &str| LogOutput::StdOut {
            message: text.to_owned().into(),
        };
        let err = |text: &str| LogOutput::StdErr {
            message: text.to_owned().into(),
        };
        let line = joiner
            .hear(out("2026-01-01T00:00:00.123456789Z hello world\r\n"))
            .unwrap();
        assert_eq!(
            (line.at_ms, line.text.as_str(), line.stream),
            (1_767_225_600_123, "hello world", LogStream::Stdout)
        );
        assert_eq!(joiner.hear(out("2026-01-01T00:00:01Z one ")), None);
        let other = joiner.hear(err("2026-01-01T00:00:02Z \n")).unwrap();
        assert_eq!((other.text.as_str(), other.stream), ("", LogStream::Stderr));
        let line = joiner.hear(out("2026-01-01T00:00:03Z two\n")).unwrap();
        assert_eq!((line.at_ms, line.text.as_str()), (1_767_225_601_000, "one two"));
        assert_eq!(joiner.hear(err("no time here")), None);
        let rest = joiner.rest();
        assert_eq!(
            (rest.len(), rest[0].text.as_str(), rest[0].at_ms),
            (1, "no time here", 0)
        );
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut joiner = Joiner::default();
        let part = "x".repeat(16 << 10);
        let lines: Vec<LogLine> = (0..9)
            .filter_map(|_| {
                joiner.hear(LogOutput::StdOut {
                    message: part.clone().into(),
                })
            })
            .collect();
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| line.text.len() == LINE_BYTES_MAX));
    }
}
