//! Reads and bounds what instances write.
//!
//! Processes write to their files themselves, so lines have no time, and the order between the two streams
//! is not known: standard output is answered first, then standard error.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use weir_driver::{LogLine, LogStream};

use crate::folder::Folder;

/// Size of a file, in bytes, from which it is put aside and begun anew.
const FILE_BYTES_MAX: u64 = 5 << 20;
/// Most that is read of a file to answer its last lines, in bytes.
const TAIL_BYTES_MAX: u64 = 256 << 10;
/// Lines in the message of an exit.
const LAST_WORDS_LINES: usize = 5;

/// The last lines of both streams together. Each has half of them (standard
/// error the odd one), and what the other does not need.
pub(crate) fn tail(folder: &Folder, lines: usize) -> io::Result<Vec<LogLine>> {
    tail_until(folder, lines, [u64::MAX; 2])
}

/// As [`tail`], of what was before these places in the files of standard output and standard error.
pub(crate) fn tail_until(folder: &Folder, lines: usize, until: [u64; 2]) -> io::Result<Vec<LogLine>> {
    let [of_stdout, of_stderr] = until;
    let stdout = last_lines(&folder.log(LogStream::Stdout), lines, of_stdout)?;
    let stderr = last_lines(&folder.log(LogStream::Stderr), lines, of_stderr)?;
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

/// Puts logs of an instance aside that have become too long. A line that is written in this very moment may
/// be lost.
pub(crate) fn bound(folder: &Folder) -> io::Result<()> {
    for stream in [LogStream::Stdout, LogStream::Stderr] {
        rotate(&folder.log(stream), FILE_BYTES_MAX)?;
    }
    Ok(())
}

/// Where the older part of a file is kept.
pub(crate) fn aside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".1");
    path.with_file_name(name)
}

/// The process holds the file open and goes on writing to it, so it is copied and emptied, not renamed.
fn rotate(path: &Path, max: u64) -> io::Result<()> {
    if std::fs::metadata(path)?.len() <= max {
        return Ok(());
    }
    let aside = aside(path);
    let mut new = aside.clone().into_os_string();
    new.push(".new");
    // Keeps the rights of the file.
    std::fs::copy(path, &new)?;
    let file = OpenOptions::new().append(true).open(path)?;
    std::fs::rename(&new, &aside)?;
    file.set_len(0)
}

/// Place after the last whole line of a file, looked for in its end.
pub(crate) fn end_of_last_line(path: &Path) -> io::Result<u64> {
    let length = std::fs::metadata(path)?.len();
    let bytes = bytes_before(path, length, TAIL_BYTES_MAX)?;
    let begin = length.saturating_sub(u64::try_from(bytes.len()).unwrap_or(0));
    let end = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    Ok(begin + u64::try_from(end).unwrap_or(0))
}

/// At most `max` bytes before a place.
fn bytes_before(path: &Path, until: u64, max: u64) -> io::Result<Vec<u8>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?,
    };
    let end = file.metadata()?.len().min(until);
    let begin = end.saturating_sub(max);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(end - begin).read_to_end(&mut bytes)?;
    if begin > 0 {
        // From the beginning of a line on.
        let line = bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        bytes.drain(..line);
    }
    Ok(bytes)
}

/// The last lines before a place, with those of the older part where they do not suffice.
fn last_lines(path: &Path, lines: usize, until: u64) -> io::Result<Vec<String>> {
    let bytes = bytes_before(path, until, TAIL_BYTES_MAX)?;
    let mut found: Vec<String> = texts(&bytes);
    let whole_file = u64::try_from(bytes.len()).unwrap_or(u64::MAX) < TAIL_BYTES_MAX;
    if found.len() < lines && whole_file {
        let mut older = texts(&bytes_before(&aside(path), u64::MAX, TAIL_BYTES_MAX)?);
        older.append(&mut found);
        found = older;
    }
    Ok(found)
}

fn texts(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes)
        .lines()
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

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
    fn a_long_log_is_put_aside_and_keeps_its_writer() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Root::open(temp.path()).unwrap().folder("i");
        folder.create().unwrap();
        let path = folder.log(LogStream::Stdout);
        let mut writer = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        for number in 0..100 {
            writeln!(writer, "line {number}").unwrap();
        }
        rotate(&path, 10_000).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() > 500, "not too long yet");
        rotate(&path, 500).unwrap();
        writeln!(writer, "line 100").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line 100\n");
        assert_eq!(
            super::tests::texts(&folder, 3),
            ["line 98", "line 99", "line 100"]
        );
        assert_eq!(super::tests::texts(&folder, 1), ["line 100"]);
        assert_eq!(super::tests::texts(&folder, 1_000).len(), 101);
        for number in 101..300 {
            writeln!(writer, "line {number}").unwrap();
        }
        rotate(&path, 500).unwrap();
        assert_eq!(
            super::tests::texts(&folder, 1_000).len(),
            200,
            "what is older still is gone"
        );
    }

    #[test]
    fn the_place_after_the_last_line() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("log");
        std::fs::write(&path, "one\ntwo\nthr").unwrap();
        assert_eq!(end_of_last_line(&path).unwrap(), 8);
        std::fs::write(&path, "on").unwrap();
        assert_eq!(end_of_last_line(&path).unwrap(), 0);
    }
}
