//! Who a process is.
//!
//! A process number says nothing after its process has ended: the kernel gives it to another. [`Identity`]
//! adds the time at which the process began and the boot of the machine. Where no identity was noted (control
//! died in between), the [`Marker`] in a process's environment tells.

use std::{fs, io, io::Read, os::unix::fs::MetadataExt};

use rustix::{
    process::{Pid, Signal, geteuid, kill_process_group},
    time::{ClockId, clock_gettime},
};
use serde::{Deserialize, Serialize};

/// Most of an environment that is read, in bytes; Linux allows 2 MiB unless told otherwise.
const ENVIRONMENT_BYTES_MAX: u64 = 4 << 20;

/// A process of this boot, and no other one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Process number; of an instance also the number of its process group.
    pub(crate) pid: i32,
    /// Clock ticks after boot at which it began (`proc_pid_stat(5)`, field 22).
    pub(crate) start_ticks: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub(crate) boot_id: String,
}

/// What `/proc/<pid>/stat` says (`proc_pid_stat(5)`), as far as it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// `Z` and `X`: has ended.
    state: char,
    group: i32,
    threads: u32,
    start_ticks: u64,
}

impl Stat {
    /// `None`: there is no such process.
    fn of(pid: i32) -> Option<Stat> {
        Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The command, in brackets, may contain anything; so the fields are counted from its last bracket.
    fn parse(text: &str) -> Option<Stat> {
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let group = fields.nth(1)?.parse().ok()?;
        let threads = fields.nth(14)?.parse().ok()?;
        let start_ticks = fields.nth(1)?.parse().ok()?;
        Some(Stat {
            state,
            group,
            threads,
            start_ticks,
        })
    }

    /// A process whose first thread has ended looks like a zombie while its other threads run.
    fn ended(self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x') && self.threads <= 1
    }
}

impl Identity {
    /// Of a process that cannot end unnoticed meanwhile (an unreaped child).
    pub(crate) fn of(pid: i32) -> io::Result<Identity> {
        let stat = Stat::of(pid).ok_or(io::ErrorKind::NotFound)?;
        Ok(Identity {
            pid,
            start_ticks: stat.start_ticks,
            boot_id: boot_id()?,
        })
    }

    /// Whether the process runs; a zombie does not.
    pub(crate) fn alive(&self) -> bool {
        Stat::of(self.pid).is_some_and(|stat| stat.start_ticks == self.start_ticks && !stat.ended())
            && boot_id().is_ok_and(|boot| boot == self.boot_id)
    }

    /// Its number in the form that system calls take.
    pub(crate) fn raw(&self) -> Option<Pid> {
        // 1 is never ours, and as a group it would be everybody.
        Pid::from_raw(self.pid).filter(|_| self.pid > 1)
    }

    /// Signals its process group, if the process still runs; whether it did.
    pub(crate) fn signal_group(&self, signal: Signal) -> bool {
        match self.raw() {
            Some(pid) if self.alive() => kill_process_group(pid, signal).is_ok(),
            _ => false,
        }
    }
}

/// Identifier of this boot of the machine.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

/// Now, in the ticks in which `/proc` counts.
pub(crate) fn ticks() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let hertz = rustix::param::clock_ticks_per_second();
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds * hertz + nanoseconds * hertz / 1_000_000_000
}

/// Variables by which a process is known as ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    entries: Vec<Vec<u8>>,
}

impl Marker {
    /// Of these variables, all of them.
    pub(crate) fn new<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Marker {
        Marker {
            entries: variables
                .into_iter()
                .map(|(name, value)| entry(name, value))
                .collect(),
        }
    }

    /// Whether a process was started with these variables. Others' processes cannot be read and are not.
    pub(crate) fn is_on(&self, pid: i32) -> bool {
        let Ok(file) = fs::File::open(format!("/proc/{pid}/environ")) else {
            return false;
        };
        let mut environment = Vec::new();
        if file
            .take(ENVIRONMENT_BYTES_MAX)
            .read_to_end(&mut environment)
            .is_err()
        {
            return false;
        }
        self.entries
            .iter()
            .all(|wanted| environment.split(|byte| *byte == 0).any(|entry| entry == wanted))
    }
}

fn entry(name: &str, value: &str) -> Vec<u8> {
    format!("{name}={value}").into_bytes()
}

/// What a process has used (`proc_pid_stat(5)`), its children that ended and were waited for included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Processor time, in clock ticks.
    pub(crate) ticks: u64,
    /// Memory, in pages.
    pub(crate) resident_pages: u64,
}

/// `None`: there is no such process.
pub(crate) fn usage(pid: i32) -> Option<Usage> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    // The first is field 3.
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<i64>().ok();
    let positive = |field| u64::try_from(number(field)?).ok();
    Some(Usage {
        ticks: [14, 15, 16, 17].into_iter().filter_map(positive).sum(),
        resident_pages: positive(24).unwrap_or(0),
    })
}

/// Live processes of a process group.
pub(crate) fn members(group: i32) -> Vec<i32> {
    pids()
        .filter(|pid| Stat::of(*pid).is_some_and(|stat| stat.group == group && !stat.ended()))
        .collect()
}

/// The leader of a process group that was started with this marker, not before `since` (ticks, of this
/// boot), by this user. Only environments of processes that pass all of the former are looked at.
pub(crate) fn stray(marker: &Marker, since: u64) -> Option<i32> {
    let user = geteuid().as_raw();
    pids().find(|pid| {
        Stat::of(*pid).is_some_and(|stat| stat.group == *pid && stat.start_ticks >= since && !stat.ended())
            && fs::metadata(format!("/proc/{pid}")).is_ok_and(|metadata| metadata.uid() == user)
            && marker.is_on(*pid)
    })
}

fn pids() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid > 1)
}

#[cfg(test)]
mod tests;
