//! Reads and bounds what instances write.
//!
//! Processes write to their files themselves, so lines have no time, and the order between the two streams
//! is not known: standard output is answered first, then standard error.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use weir_driver::{LogLine, LogStream};

use crate::folder::Folder;

/// Size of a file, in bytes, from which it is cut.
const FILE_BYTES_MAX: u64 = 10 << 20;
/// What is left of a file that is cut, in bytes.
const FILE_BYTES_KEPT: u64 = 1 << 20;
/// Most that is read of a file to answer its last lines, in bytes.
const TAIL_BYTES_MAX: u64 = 256 << 10;
/// Lines in the message of an exit.
const LAST_WORDS_LINES: usize = 5;

/// The last lines of both streams together. Each has half of them (standard
/// error the odd one), and what the other does not need.
pub(crate) fn tail(folder: &Folder, lines: usize) -> io::Result<Vec<LogLine>> {
    let stdout = last_lines(&folder.log(LogStream::Stdout))?;
    let stderr = last_lines(&folder.log(LogStream::Stderr))?;
    let of_stderr = stderr
        .len()
        .min(lines.div_ceil(2).max(lines.saturating_sub(stdout.len())));
    let of_stdout = stdout.len().min(lines - of_stderr);
    let mut answer = Vec::with_capacity(of_stdout + of_stderr);
    for (texts, count, stream) in [
        (stdout, of_stdout, LogStream::Stdout),
        (stderr, of_stderr, LogStream::Stderr),
    ] {
        let skipped = texts.len() - count;
        answer.extend(texts.into_iter().skip(skipped).map(|text| LogLine {
            at_ms: 0,
            stream,
            text,
        }));
    }
    Ok(answer)
}

/// The last lines, to say why an instance ended; empty if it wrote nothing.
pub(crate) fn last_words(folder: &Folder) -> String {
    let lines = tail(folder, LAST_WORDS_LINES).unwrap_or_default();
    lines
        .iter()
        .map(|line| line.text.as_str())
        .collect::<Vec<&str>>()
        .join("\n")
}

/// Cuts the logs of an instance that have become too long. A line that is written in this very moment may
/// be lost.
pub(crate) fn bound(folder: &Folder) -> io::Result<()> {
    for stream in [LogStream::Stdout, LogStream::Stderr] {
        cut(&folder.log(stream), FILE_BYTES_MAX, FILE_BYTES_KEPT)?;
    }
    Ok(())
}

fn cut(path: &Path, max: u64, kept: u64) -> io::Result<()> {
    if std::fs::metadata(path)?.len() <= max {
        return Ok(());
    }
    let end = last_bytes(path, kept)?;
    let mut file = OpenOptions::new().append(true).open(path)?;
    file.set_len(0)?;
    file.write_all(&end)
}

/// The end of a file, from the beginning of a line on if the file is longer.
fn last_bytes(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let begin = length.saturating_sub(max);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes)?;
    if begin > 0
        && let Some(end_of_line) = bytes.iter().position(|byte| *byte == b'\n')
    {
        bytes.drain(..=end_of_line);
    }
    Ok(bytes)
}

fn last_lines(path: &Path) -> io::Result<Vec<String>> {
    let bytes = match last_bytes(path, TAIL_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read?,
    };
    Ok(String::from_utf8_lossy(&bytes)
        .lines()
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Root;

    fn texts(folder: &Folder, lines: usize) -> Vec<String> {
        tail(folder, lines)
            .unwrap()
            .into_iter()
            .map(|line| line.text)
            .collect()
    }

    #[test]
    fn both_streams_share_the_lines() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Root::open(temp.path()).unwrap().folder("i");
        folder.create().unwrap();
        assert!(texts(&folder, 5).is_empty());
        std::fs::write(folder.log(LogStream::Stdout), "1\n2\r\n3\n\n5").unwrap();
        assert_eq!(texts(&folder, 10), ["1", "2", "3", "", "5"]);
        assert_eq!(texts(&folder, 2), ["", "5"]);
        std::fs::write(folder.log(LogStream::Stderr), b"a\nb\xff\nc\n").unwrap();
        assert_eq!(
            texts(&folder, 10),
            ["1", "2", "3", "", "5", "a", "b\u{fffd}", "c"]
        );
        assert_eq!(texts(&folder, 4), ["", "5", "b\u{fffd}", "c"]);
        assert_eq!(texts(&folder, 7), ["2", "3", "", "5", "a", "b\u{fffd}", "c"]);
        assert_eq!(texts(&folder, 1), ["c"]);
        assert_eq!(texts(&folder, 3), ["5", "b\u{fffd}", "c"]);
        assert!(texts(&folder, 0).is_empty());
    }

    #[test]
    fn a_long_log_keeps_its_last_lines_and_its_writer() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("log");
        let mut writer = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        for number in 0..100 {
            writeln!(writer, "line {number}").unwrap();
        }
        cut(&path, 10_000, 20).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() > 500, "not too long yet");
        cut(&path, 500, 20).unwrap();
        writeln!(writer, "line 100").unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "line 98\nline 99\nline 100\n"
        );
    }
}
