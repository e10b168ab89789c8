//! A small file system that can be filled up and made read-only.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What fills it up.
const FILLER: &str = "filler";
/// Bytes that are written at once while it is filled up.
const PIECE: usize = 4096;

/// A file system in memory at a folder; unmounted when this is dropped.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Mounts one of so many KiB; `None` where that is not permitted.
    ///
    /// # Panics
    /// If the folder cannot be made.
    pub fn at(folder: &Path, size_kib: u32) -> Option<Self> {
        fs::create_dir_all(folder).expect("the folder can be made");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={size_kib}k"), "tmpfs"]);
        if !rustix::process::geteuid().is_root() || !quietly(command.arg(folder)) {
            return None;
        }
        Some(Self {
            folder: folder.to_owned(),
        })
    }

    /// Leaves no byte free.
    ///
    /// # Panics
    /// If it is not full after all that fits.
    pub fn fill(&self) {
        let mut file = File::create(self.folder.join(FILLER)).expect("it can be written");
        let error = loop {
            if let Err(error) = file.write_all(&[0; PIECE]) {
                break error;
            }
        };
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    }

    /// Takes [`fill`](Self::fill) back.
    ///
    /// # Panics
    /// If it was not filled.
    pub fn free(&self) {
        fs::remove_file(self.folder.join(FILLER)).expect("it was filled");
    }

    /// Makes it read-only, or writable again. What is open stays open.
    ///
    /// # Panics
    /// If that fails.
    pub fn read_only(&self, is_so: bool) {
        let folder = self.folder.as_os_str();
        let run = |program: &str, options: &[&str], folders: &[&OsStr]| {
            let mut command = Command::new(program);
            let done = quietly(command.args(options).args(folders));
            assert!(done, "{command:?}");
        };
        if is_so {
            // The same once more on top: a file system with files that are open cannot be made read-only itself.
            run("mount", &["--bind"], &[folder, folder]);
            run("mount", &["-o", "remount,bind,ro"], &[folder]);
        } else {
            run("umount", &[], &[folder]);
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Also while somebody uses it still: it goes with the last of them. There are two layers while it is read-only.
        while quietly(Command::new("umount").arg("-l").arg(&self.folder)) {}
    }
}

fn quietly(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
