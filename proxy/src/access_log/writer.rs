//! The thread that writes. Workers hand it finished records and never wait for it.

use std::{
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use super::{
    config::{AccessLog, LogOutput},
    tap::LogTap,
};

/// Batches that may wait for the writer.
const QUEUE_MAX: usize = 128;
/// Between two looks whether the file shall be opened anew.
const LOOK: Duration = Duration::from_millis(50);
/// Longest wait at the end for what is not written yet.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Whole records of one worker.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) text: Vec<u8>,
    pub(crate) records: u64,
}

/// Figures of the log, and what its writer is told besides records.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Records written.
    pub(crate) written: AtomicU64,
    /// Records lost: the writer was behind, or could not write.
    pub(crate) dropped: AtomicU64,
    /// Failed attempts to open or write.
    pub(crate) errors: AtomicU64,
    /// Client connections open now.
    pub(crate) connections: AtomicU64,
    reopen: AtomicBool,
}

/// The running writer. Dropped, it writes what waits, if that can be done soon.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Option<SyncSender<Batch>>,
    shared: Arc<Shared>,
    /// In a mutex only because the proxy is shared between threads.
    ended: Mutex<Receiver<()>>,
}

impl Writer {
    /// Opens the output and starts to write.
    ///
    /// # Errors
    /// The file cannot be opened, or the thread cannot be started.
    pub(crate) fn start(settings: &AccessLog) -> io::Result<Self> {
        let sink = match &settings.output {
            LogOutput::Stdout => Sink::Other(Box::new(io::stdout())),
            LogOutput::File(path) => Sink::File {
                file: open(path)?,
                path: path.clone(),
            },
            LogOutput::Nowhere => Sink::Other(Box::new(io::sink())),
        };
        Self::start_tapped(sink, settings.tap.clone())
    }

    #[cfg(test)]
    pub(super) fn start_with(sink: Sink) -> io::Result<Self> {
        Self::start_tapped(sink, None)
    }

    fn start_tapped(sink: Sink, tap: Option<LogTap>) -> io::Result<Self> {
        let (queue, batches) = sync_channel(QUEUE_MAX);
        let (ending, ended) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let figures = Arc::clone(&shared);
        thread::Builder::new()
            .name("weir-access-log".to_owned())
            .spawn(move || {
                Writing {
                    sink,
                    tap,
                    shared: figures,
                    is_torn: false,
                    is_told: false,
                }
                .run(&batches);
                let _ = ending.send(());
            })?;
        Ok(Self {
            queue: Some(queue),
            shared,
            ended: Mutex::new(ended),
        })
    }

    /// For a worker. The writer ends when all of these are gone.
    pub(crate) fn queue(&self) -> Option<SyncSender<Batch>> {
        self.queue.clone()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Appends its figures in Prometheus' text format.
    pub(crate) fn expose(&self, text: &mut String) {
        let figures = [
            (
                "records",
                "Records of the access log written.",
                &self.shared.written,
            ),
            (
                "dropped",
                "Records of the access log lost: its output was behind or failed.",
                &self.shared.dropped,
            ),
            (
                "errors",
                "Failed attempts to open or write the access log.",
                &self.shared.errors,
            ),
        ];
        for (name, help, figure) in figures {
            let figure = figure.load(Ordering::Relaxed);
            // A string takes all.
            let _ = write!(
                text,
                "# HELP weir_access_log_{name}_total {help}\n# TYPE weir_access_log_{name}_total counter\nweir_access_log_{name}_total {figure}\n"
            );
        }
    }

    /// Has the file opened anew, within a moment: its old one was moved away.
    pub(crate) fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(END_TIMEOUT) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the access log takes too long to write; its last records are lost");
        }
    }
}

/// Where records are written.
pub(super) enum Sink {
    File { file: File, path: PathBuf },
    Other(Box<dyn Write + Send>),
}

struct Writing {
    sink: Sink,
    tap: Option<LogTap>,
    shared: Arc<Shared>,
    /// A record was written in part: the next ones begin on a line of their own.
    is_torn: bool,
    /// The fault that lasts was logged.
    is_told: bool,
}

impl Writing {
    fn run(mut self, batches: &Receiver<Batch>) {
        loop {
            let batch = batches.recv_timeout(LOOK);
            if self.shared.reopen.swap(false, Ordering::Acquire) {
                self.reopen();
            }
            match batch {
                Ok(batch) => self.write(&batch),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn reopen(&mut self) {
        let Sink::File { file, path } = &mut self.sink else {
            return;
        };
        match open(path) {
            Ok(opened) => {
                *file = opened;
                self.is_torn = false;
            }
            Err(error) => self.failed(&error),
        }
    }

    fn write(&mut self, batch: &Batch) {
        if let Some(tap) = &self.tap {
            tap.offer(&batch.text, batch.records);
        }
        match self.try_write(&batch.text) {
            Ok(()) => {
                self.is_told = false;
                self.shared.written.fetch_add(batch.records, Ordering::Relaxed);
            }
            Err(error) => {
                self.shared.dropped.fetch_add(batch.records, Ordering::Relaxed);
                self.failed(&error);
            }
        }
    }

    fn try_write(&mut self, text: &[u8]) -> io::Result<()> {
        let sink: &mut dyn Write = match &mut self.sink {
            Sink::File { file, .. } => file,
            Sink::Other(other) => &mut **other,
        };
        if self.is_torn {
            sink.write_all(b"\n")?;
            self.is_torn = false;
        }
        let mut rest = text;
        while !rest.is_empty() {
            match sink.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    self.is_torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        sink.flush()
    }

    /// Counts it, and tells it once until a record could be written again.
    fn failed(&mut self, error: &io::Error) {
        self.shared.errors.fetch_add(1, Ordering::Relaxed);
        if !std::mem::replace(&mut self.is_told, true) {
            tracing::error!(%error, "the access log cannot be written");
        }
    }
}

fn open(path: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

#[cfg(test)]
pub(super) mod tests {
    use std::{
        io::{self, Write},
        sync::{
            atomic::Ordering,
            mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
        },
    };

    use super::{Batch, QUEUE_MAX, Sink, Writer};

    fn batch(text: &str) -> Batch {
        Batch {
            text: text.as_bytes().to_vec(),
            records: 1,
        }
    }

    /// Takes a batch for each leave that it is given.
    pub(crate) struct Gate(pub(crate) Receiver<()>, pub(crate) SyncSender<Vec<u8>>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            let _ = self.1.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_slow_output_fills_the_queue_and_nothing_waits() {
        let (leave, gate) = sync_channel(1);
        let (out, written) = sync_channel(2 * QUEUE_MAX);
        let writer = Writer::start_with(Sink::Other(Box::new(Gate(gate, out)))).unwrap();
        let queue = writer.queue().unwrap();
        let mut taken = 0_u64;
        while queue.try_send(batch("x\n")).is_ok() {
            taken += 1;
            assert!(taken <= QUEUE_MAX as u64 + 1, "the queue has a bound");
        }
        assert!(taken >= QUEUE_MAX as u64);
        assert!(matches!(queue.try_send(batch("x\n")), Err(TrySendError::Full(_))));
        drop(leave);
        drop(queue);
        drop(writer);
        assert_eq!(written.iter().count() as u64, taken, "what was taken is written");
    }

    /// Fails after a part of the first record.
    struct Torn(Vec<io::Result<usize>>, SyncSender<Vec<u8>>);

    impl Write for Torn {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = match self.0.pop() {
                Some(planned) => planned?,
                None => bytes.len(),
            };
            let _ = self.1.send(bytes[..count].to_vec());
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_torn_record_does_not_spoil_the_next() {
        let (out, written) = sync_channel(16);
        let plan = vec![Err(io::ErrorKind::StorageFull.into()), Ok(2)];
        let writer = Writer::start_with(Sink::Other(Box::new(Torn(plan, out)))).unwrap();
        let queue = writer.queue().unwrap();
        let shared = writer.shared().clone();
        queue.send(batch("one\n")).unwrap();
        queue.send(batch("two\n")).unwrap();
        drop(queue);
        drop(writer);
        assert_eq!(written.iter().collect::<Vec<_>>().concat(), b"on\ntwo\n");
        let figure = |figure: &std::sync::atomic::AtomicU64| figure.load(Ordering::Relaxed);
        assert_eq!(
            (
                figure(&shared.written),
                figure(&shared.dropped),
                figure(&shared.errors)
            ),
            (1, 1, 1)
        );
    }
}
