//! A program under test.

use std::{
    io::{BufRead as _, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::process::Signal;

use crate::{eventually, processes};

/// A program that runs; it is killed when this is dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    stdout: Capture,
    stderr: Capture,
}

/// How a program ended.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// All that it wrote to standard output.
    pub stdout: String,
    /// All that it wrote to standard error.
    pub stderr: String,
}

#[derive(Debug)]
struct Capture {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Capture {
    fn new(stream: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let sink = Arc::clone(&text);
        let reader = thread::spawn(move || {
            let mut lines = BufReader::new(stream);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                sink.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Self {
            text,
            reader: Some(reader),
        }
    }

    fn so_far(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Program {
    /// Starts it with its output captured and nothing to read.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
        let stdout = Capture::new(child.stdout.take().expect("it is piped"));
        let stderr = Capture::new(child.stderr.take().expect("it is piped"));
        Self {
            child,
            stdout,
            stderr,
        }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.so_far()
    }

    /// Waits until standard output has something.
    ///
    /// # Panics
    /// If it has not after `at_most`, or the program ended before.
    #[track_caller]
    pub fn until<T>(&mut self, what: &str, at_most: Duration, look: impl Fn(&str) -> Option<T>) -> T {
        eventually(what, at_most, || {
            let ended = self.child.try_wait().ok().flatten();
            let found = look(&self.stdout.so_far());
            assert!(
                found.is_some() || ended.is_none(),
                "the program ended ({ended:?}) before {what}:\n{}\n{}",
                self.stdout.so_far(),
                self.stderr.so_far()
            );
            found
        })
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        processes::signal(self.id(), signal);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it still runs after `at_most`.
    #[track_caller]
    pub fn finish(mut self, at_most: Duration) -> Finished {
        let status = eventually("the program ends", at_most, || {
            self.child.try_wait().expect("it was started here")
        });
        // Instances that outlive the program may hold the other end: what was written so far counts then.
        for capture in [&mut self.stdout, &mut self.stderr] {
            let reader = capture.reader.take().expect("it is taken only here");
            let deadline = std::time::Instant::now() + Duration::from_secs(2);
            while !reader.is_finished() && std::time::Instant::now() < deadline {
                thread::sleep(Duration::from_millis(5));
            }
        }
        Finished {
            code: status.code(),
            stdout: self.stdout.so_far(),
            stderr: self.stderr.so_far(),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // An error means that it ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
