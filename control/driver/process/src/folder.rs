//! What is kept on disk of an instance.
//!
//! ```text
//! <state_dir>/lock                     held while a driver is open
//! <state_dir>/instances/<id>/spec.json  written before the process is started
//!                            pid        who the process is, right after it was started
//!                            exit       how it ended, once that is known
//!                            stdout.log stderr.log   written by the process itself
//!                            work/      where it starts, unless the spec says otherwise
//! <state_dir>/ended/<ms>-<id>/          logs and exit of the last instances that were stopped
//! ```
//!
//! Folders are for the owner only: specs and logs hold secrets. Nothing is synced: no process outlives a
//! crash of the machine, so nor need its files.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use weir_driver::{InstanceSpec, LogStream};

use crate::proc::Identity;

/// Stopped instances whose logs are kept.
const ENDED_MAX: usize = 20;

/// `spec.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Form of this file; 1.
    pub(crate) version: u32,
    /// Whose it is.
    pub(crate) namespace: String,
    /// As given.
    pub(crate) spec: InstanceSpec,
    /// Where it is reached.
    pub(crate) host: String,
    /// Port name to number.
    pub(crate) ports: BTreeMap<String, u16>,
    /// Milliseconds since the Unix epoch.
    pub(crate) started_at_ms: u64,
    /// Clock ticks after boot: the process did not begin before.
    pub(crate) started_ticks: u64,
    /// Boot in which it was started.
    pub(crate) boot_id: String,
}

/// `exit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exit {
    /// `None`: by a signal, or not known.
    pub(crate) code: Option<i32>,
    /// For people.
    pub(crate) message: String,
}

/// Where a driver keeps its instances.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    path: PathBuf,
}

/// Where one instance is kept.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

impl Root {
    /// Makes the folders.
    pub(crate) fn open(path: &Path) -> io::Result<Root> {
        make(path)?;
        let path = path.canonicalize()?;
        for part in ["instances", "ended"] {
            make(&path.join(part))?;
        }
        Ok(Root { path })
    }

    /// The file that says that a driver is open.
    pub(crate) fn lock_file(&self) -> io::Result<File> {
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.path.join("lock"))
    }

    /// Of an instance, whether it is there or not. The id is a checked one.
    pub(crate) fn folder(&self, id: &str) -> Folder {
        Folder {
            path: self.path.join("instances").join(id),
        }
    }

    /// Ids of all instances that have a folder.
    pub(crate) fn ids(&self) -> io::Result<Vec<String>> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(self.path.join("instances"))? {
            ids.extend(entry?.file_name().into_string());
        }
        ids.sort();
        Ok(ids)
    }

    /// Puts the logs of an instance aside and removes the rest. A folder that is not there is fine.
    pub(crate) fn retire(&self, folder: &Folder) -> io::Result<()> {
        let ended = self.path.join("ended");
        let Some(id) = folder.path.file_name().and_then(|name| name.to_str()) else {
            return Ok(());
        };
        let target = ended.join(format!("{:013}-{id}", now_ms()));
        match fs::rename(&folder.path, &target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            moved => moved?,
        }
        for secret in ["spec.json", "pid"] {
            absent(fs::remove_file(target.join(secret)))?;
        }
        absent(fs::remove_dir_all(target.join("work")))?;
        let mut kept: Vec<PathBuf> = fs::read_dir(&ended)?
            .flatten()
            .map(|entry| entry.path())
            .collect();
        kept.sort();
        for old in kept.iter().rev().skip(ENDED_MAX) {
            absent(fs::remove_dir_all(old))?;
        }
        Ok(())
    }
}

/// What is gone need not be removed.
fn absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl Folder {
    /// Makes it anew; whatever was there belonged to no instance that is known.
    pub(crate) fn create(&self) -> io::Result<()> {
        self.remove()?;
        make(&self.path.join("work"))
    }

    /// Removes it with all that is in it.
    pub(crate) fn remove(&self) -> io::Result<()> {
        absent(fs::remove_dir_all(&self.path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the process starts, unless the spec says otherwise.
    pub(crate) fn work(&self) -> PathBuf {
        self.path.join("work")
    }

    pub(crate) fn log(&self, stream: LogStream) -> PathBuf {
        self.path.join(match stream {
            LogStream::Stdout => "stdout.log",
            LogStream::Stderr => "stderr.log",
        })
    }

    /// Opens a log for the process to write to. Appending, so that it can be cut while it is written.
    pub(crate) fn open_log(&self, stream: LogStream) -> io::Result<File> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(self.log(stream))
    }

    pub(crate) fn write_record(&self, record: &Record) -> io::Result<()> {
        self.write("spec.json", record)
    }

    pub(crate) fn record(&self) -> io::Result<Option<Record>> {
        self.read("spec.json")
    }

    pub(crate) fn write_identity(&self, identity: &Identity) -> io::Result<()> {
        self.write("pid", identity)
    }

    pub(crate) fn identity(&self) -> io::Result<Option<Identity>> {
        self.read("pid")
    }

    pub(crate) fn write_exit(&self, exit: &Exit) -> io::Result<()> {
        self.write("exit", exit)
    }

    pub(crate) fn exit(&self) -> io::Result<Option<Exit>> {
        self.read("exit")
    }

    /// Whole or not at all, whenever control is killed.
    fn write(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        let new = self.path.join(format!("{name}.new"));
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&new)?;
        io::Write::write_all(&mut file, &serde_json::to_vec(value)?)?;
        fs::rename(&new, self.path.join(name))
    }

    /// `None`: there is none.
    fn read<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        match fs::read(self.path.join(name)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_logs_are_kept_without_secrets() {
        let temp = tempfile::tempdir().unwrap();
        let root = Root::open(temp.path()).unwrap();
        for number in 0..ENDED_MAX + 3 {
            let folder = root.folder(&format!("i-{number:02}"));
            folder.create().unwrap();
            fs::write(folder.path().join("spec.json"), "{}").unwrap();
            fs::write(folder.work().join("big"), "x").unwrap();
            fs::write(folder.log(LogStream::Stdout), number.to_string()).unwrap();
            root.retire(&folder).unwrap();
            root.retire(&folder).unwrap();
        }
        assert!(root.ids().unwrap().is_empty());
        let mut kept: Vec<PathBuf> = fs::read_dir(temp.path().join("ended"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        kept.sort();
        assert_eq!(kept.len(), ENDED_MAX);
        let last = kept.last().unwrap();
        assert!(last.to_str().unwrap().ends_with("-i-22"));
        let names: Vec<_> = fs::read_dir(last)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["stdout.log"]);
    }

    #[test]
    fn half_a_file_is_an_error_and_no_file_is_none() {
        let temp = tempfile::tempdir().unwrap();
        let root = Root::open(temp.path()).unwrap();
        let folder = root.folder("i");
        folder.create().unwrap();
        assert!(folder.record().unwrap().is_none());
        fs::write(folder.path().join("spec.json"), "{\"version\":").unwrap();
        folder.record().unwrap_err();
    }
}
