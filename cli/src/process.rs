//! Processes of this host: who is there, and is it still the same one.

use std::{path::Path, str::FromStr};

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessId {
    /// Number.
    pub(crate) pid: i32,
    /// When it began, in the kernel's own unit; empty where there is no `/proc`.
    started: String,
}

impl ProcessId {
    /// This process.
    pub(crate) fn own() -> Self {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        Self {
            pid,
            started: started(pid).unwrap_or_default(),
        }
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&self) -> bool {
        if Path::new("/proc/self/stat").exists() {
            return started(self.pid).is_some_and(|started| started == self.started);
        }
        rustix::process::Pid::from_raw(self.pid)
            .is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
    }
}

impl std::fmt::Display for ProcessId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.pid, self.started)
    }
}

impl FromStr for ProcessId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a process number and its start");
        let (pid, started) = text.split_once(':').ok_or_else(wrong)?;
        Ok(Self {
            pid: pid.parse().map_err(|_| wrong())?,
            started: started.to_owned(),
        })
    }
}

/// Start of a process that runs (a zombie does not): field 22 of `/proc/<pid>/stat`.
fn started(pid: i32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

/// Processes (not this one) whose environment has `NAME=value`. Empty where there is no `/proc`.
pub(crate) fn with_variable(name: &str, value: &str) -> Vec<ProcessId> {
    let entry = format!("{name}={value}");
    let own = ProcessId::own().pid;
    let Ok(folder) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    folder
        .flatten()
        .filter_map(|process| process.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| {
                environ
                    .split(|byte| *byte == 0)
                    .any(|variable| variable == entry.as_bytes())
            })
        })
        .filter_map(|pid| {
            Some(ProcessId {
                pid,
                started: started(pid)?,
            })
        })
        .collect()
}

/// Ends a process at once, if it is still the same.
pub(crate) fn kill(process: &ProcessId) {
    if process.is_running()
        && let Some(pid) = rustix::process::Pid::from_raw(process.pid)
    {
        // Gone in the meantime is as good.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::ProcessId;

    #[test]
    fn this_process_runs_and_a_namesake_does_not() {
        let own = ProcessId::own();
        assert!(own.is_running());
        let read: ProcessId = own.to_string().parse().unwrap();
        assert_eq!(read, own);
        let namesake = ProcessId {
            started: "1".to_owned(),
            ..own
        };
        assert!(!namesake.is_running());
        assert!("x".parse::<ProcessId>().is_err());
    }

    #[test]
    fn finds_processes_by_their_environment() {
        let value = ProcessId::own().to_string();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .env("WEIR_TEST_MARK", &value)
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        // The environment is there only a moment after `spawn` returns.
        let deadline = Instant::now() + Duration::from_secs(10);
        let found = loop {
            let found = super::with_variable("WEIR_TEST_MARK", &value);
            if found.iter().any(|process| process.pid == pid) || Instant::now() > deadline {
                break found;
            }
            std::thread::yield_now();
        };
        assert_eq!(found.iter().map(|process| process.pid).collect::<Vec<_>>(), [pid]);
        super::kill(&found[0]);
        child.wait().unwrap();
        assert!(super::with_variable("WEIR_TEST_MARK", &value).is_empty());
    }
}
