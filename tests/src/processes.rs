//! Processes of this host, found by a variable of their environment. Needs `/proc`.

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Processes, zombies left out, whose environment has `NAME=value`, in order of numbers.
pub fn with_variable(name: &str, value: &str) -> Vec<u32> {
    with_entry(|entry| entry == format!("{name}={value}").as_bytes())
}

/// Processes, zombies left out, one of whose variables `NAME` begins with `prefix`.
pub fn with_variable_prefix(name: &str, prefix: &str) -> Vec<u32> {
    with_entry(|entry| entry.starts_with(format!("{name}={prefix}").as_bytes()))
}

fn with_entry(is_it: impl Fn(&[u8]) -> bool) -> Vec<u32> {
    let mut found: Vec<u32> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            std::fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(&is_it))
        })
        .filter(|pid| !is_zombie(*pid))
        .collect();
    found.sort_unstable();
    found
}

fn is_zombie(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| {
            stat.rsplit_once(')')
                .map(|(_, rest)| rest.trim_start().starts_with('Z'))
        })
        .unwrap_or(true)
}

fn pid(number: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(number).ok()?)
}

/// Whether there is a process of that number.
pub fn is_there(number: u32) -> bool {
    pid(number).is_some_and(|pid| test_kill_process(pid).is_ok()) && !is_zombie(number)
}

/// Sends a signal; whether there was a process to take it.
pub fn signal(number: u32, signal: Signal) -> bool {
    pid(number).is_some_and(|pid| kill_process(pid, signal).is_ok())
}
