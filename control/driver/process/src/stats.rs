//! What an instance uses.

use std::fs;

use weir_driver::InstanceStats;

use crate::{
    cgroup::{Group, Used},
    folder::now_ms,
    proc::{Usage, members, usage},
};

/// Of all processes of the group; of what its control group counts, that.
pub(crate) fn read(leader: i32, group: Option<&Group>) -> InstanceStats {
    let mut sum = Usage::default();
    let mut processes = 0;
    for pid in members(leader) {
        let Some(used) = usage(pid) else { continue };
        processes += 1;
        sum.ticks += used.ticks;
        sum.resident_pages += used.resident_pages;
    }
    let Used {
        cpu_seconds,
        throttled_seconds,
        memory_bytes,
        memory_limit_bytes,
    } = group.map(Group::used).unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "2^53 hundredths of a second are long")]
    let counted = sum.ticks as f64 / rustix::param::clock_ticks_per_second().max(1) as f64;
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4_096);
    InstanceStats {
        at_ms: now_ms(),
        cpu_seconds: cpu_seconds.unwrap_or(counted),
        throttled_seconds,
        memory_bytes: memory_bytes.unwrap_or(sum.resident_pages * page),
        memory_limit_bytes,
        processes: Some(processes),
        // It shares the host's network.
        received_bytes: None,
        sent_bytes: None,
    }
}

/// Processors and megabytes of this host.
pub(crate) fn host() -> Option<(f64, f64)> {
    let processors = std::thread::available_parallelism().ok()?.get();
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 processors")]
    Some((processors as f64, kilobytes / 1_024.0))
}
