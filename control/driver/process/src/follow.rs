//! Follows what an instance writes.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::sync::mpsc;
use weir_driver::{LogLine, LogStream};

use crate::{
    instance::{Instance, Life},
    logs,
};

/// Between two looks at the files.
const LOOK: Duration = Duration::from_millis(100);
/// Most that is read of a file at one look, in bytes.
const READ_BYTES_MAX: u64 = 1 << 20;
/// Longest line, in bytes; a longer one is cut into several.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Lines that a reader may be behind before the files are read no further.
const FOLLOWED_MAX: usize = 256;

/// The last lines, then every further one, until the instance has ended or nobody listens. Blocks while it
/// reads the last lines.
pub(crate) fn follow(instance: Arc<Instance>, lines: usize) -> io::Result<mpsc::Receiver<LogLine>> {
    // First the places, then the last lines up to them: what comes between is neither lost nor told twice.
    let mut tails = [LogStream::Stdout, LogStream::Stderr].map(|stream| Tail::at_end(&instance, stream));
    let last = logs::tail_until(&instance.folder, lines, [tails[0].offset, tails[1].offset])?;
    let (sender, receiver) = mpsc::channel(FOLLOWED_MAX);
    tokio::spawn(async move {
        for line in last {
            if sender.send(line).await.is_err() {
                return;
            }
        }
        let mut life = instance.life();
        loop {
            // Before reading: what it wrote until it ended is then read.
            let over = *life.borrow_and_update() == Life::Exited;
            let read = tokio::task::spawn_blocking(move || {
                let mut fresh = Vec::new();
                let mut more = false;
                for tail in &mut tails {
                    more |= tail.read(&mut fresh, over).unwrap_or(false);
                }
                (tails, fresh, more)
            });
            let Ok((back, fresh, more)) = read.await else {
                return;
            };
            tails = back;
            for line in fresh {
                if sender.send(line).await.is_err() {
                    return;
                }
            }
            if more {
                continue;
            }
            if over {
                return;
            }
            tokio::select! {
                () = sender.closed() => return,
                () = tokio::time::sleep(LOOK) => {}
                changed = life.changed() => if changed.is_err() { return },
            }
        }
    });
    Ok(receiver)
}

/// A place in a file that is written to.
#[derive(Debug)]
struct Tail {
    path: PathBuf,
    stream: LogStream,
    offset: u64,
    /// The beginning of a line.
    open: Vec<u8>,
}

impl Tail {
    /// After the last whole line.
    fn at_end(instance: &Instance, stream: LogStream) -> Tail {
        let path = instance.folder.log(stream);
        let offset = logs::end_of_last_line(&path).unwrap_or(0);
        Tail {
            path,
            stream,
            offset,
            open: Vec::new(),
        }
    }

    /// Reads what is new; whether there is more. `over`: nothing will be added.
    fn read(&mut self, fresh: &mut Vec<LogLine>, over: bool) -> io::Result<bool> {
        let length = std::fs::metadata(&self.path)?.len();
        if length < self.offset {
            // The file was begun anew; the rest of the old one was put aside.
            self.take(&logs::aside(&self.path), u64::MAX, fresh)?;
            self.offset = 0;
        }
        let path = self.path.clone();
        let count = self.take(&path, READ_BYTES_MAX, fresh)?;
        let more = count == READ_BYTES_MAX;
        if over && !more && !self.open.is_empty() {
            let rest = std::mem::take(&mut self.open);
            self.line(&rest, fresh);
        }
        Ok(more)
    }

    fn take(&mut self, path: &Path, max: u64, fresh: &mut Vec<LogLine>) -> io::Result<u64> {
        let mut file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            opened => opened?,
        };
        file.seek(SeekFrom::Start(self.offset))?;
        let mut bytes = Vec::new();
        let count = file.take(max).read_to_end(&mut bytes)?;
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.offset = self.offset.saturating_add(count);
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.open.extend(part);
            if self.open.ends_with(b"\n") || self.open.len() >= LINE_BYTES_MAX {
                let line = std::mem::take(&mut self.open);
                self.line(&line, fresh);
            }
        }
        Ok(count)
    }

    fn line(&self, bytes: &[u8], fresh: &mut Vec<LogLine>) {
        let text = String::from_utf8_lossy(bytes);
        fresh.push(LogLine {
            at_ms: 0,
            stream: self.stream,
            text: text.trim_end_matches('\n').trim_end_matches('\r').to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tail: &mut Tail, over: bool) -> Vec<String> {
        let mut fresh = Vec::new();
        tail.read(&mut fresh, over).unwrap();
        fresh.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn a_file_that_is_begun_anew_is_followed_without_a_gap() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("stdout.log");
        let mut tail = Tail {
            path: path.clone(),
            stream: LogStream::Stdout,
            offset: 0,
            open: Vec::new(),
        };
        std::fs::write(&path, "one\ntw").unwrap();
        assert_eq!(read(&mut tail, false), ["one"]);
        // Put aside with what was written meanwhile.
        std::fs::write(logs::aside(&path), "one\ntwo\nthree\n").unwrap();
        std::fs::write(&path, "4\n").unwrap();
        assert_eq!(read(&mut tail, false), ["two", "three", "4"]);
        std::fs::write(&path, "4\nlast").unwrap();
        assert_eq!(read(&mut tail, false), [""; 0], "a line that has no end yet");
        assert_eq!(read(&mut tail, true), ["last"], "it will get none");
    }
}
