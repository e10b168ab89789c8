//! What a container uses.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use bollard::{errors::Error, models::ContainerStatsResponse, query_parameters::StatsOptions};
use futures::StreamExt as _;
use weir_driver::InstanceStats;

use crate::{engine::Engine, view::millis};

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) async fn read(engine: &Engine, container: &str, limited: bool) -> Result<InstanceStats, Error> {
    let options = StatsOptions {
        stream: false,
        one_shot: true,
    };
    let mut answers = engine.client().stats(container, Some(options));
    let first = async {
        match answers.next().await {
            Some(answer) => answer,
            None => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
        }
    };
    Ok(of(&engine.bounded(first).await?, limited))
}

/// `limited`: whether it has a limit of memory of its own; else the engine shows the machine's memory.
fn of(answer: &ContainerStatsResponse, limited: bool) -> InstanceStats {
    #[expect(
        clippy::cast_precision_loss,
        reason = "2^53 nanoseconds are 104 days of processor time, with a nanosecond's precision"
    )]
    let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
    let cpu = answer.cpu_stats.as_ref();
    let used = cpu
        .and_then(|cpu| cpu.cpu_usage.as_ref()?.total_usage)
        .unwrap_or(0);
    let throttled = cpu.and_then(|cpu| cpu.throttling_data.as_ref()?.throttled_time);
    let memory = answer.memory_stats.as_ref();
    let limit = memory.and_then(|memory| memory.limit).filter(|_| limited);
    let sum = |of: fn(&bollard::models::ContainerNetworkStats) -> Option<u64>| {
        let networks = answer.networks.as_ref()?;
        Some(networks.values().filter_map(of).sum())
    };
    InstanceStats {
        at_ms: answer
            .read
            .as_deref()
            .and_then(millis)
            .filter(|at| *at > 0)
            .unwrap_or_else(now_ms),
        cpu_seconds: seconds(used),
        throttled_seconds: throttled.map(seconds),
        memory_bytes: memory.map_or(0, |memory| {
            let usage = memory.usage.unwrap_or(0);
            usage.saturating_sub(reclaimable(memory.stats.as_ref()))
        }),
        memory_limit_bytes: limit,
        processes: answer.pids_stats.as_ref().and_then(|pids| pids.current),
        received_bytes: sum(|network| network.rx_bytes),
        sent_bytes: sum(|network| network.tx_bytes),
    }
}

/// Pages of files that the system takes back first; the two versions of cgroups name them differently.
fn reclaimable(stats: Option<&HashMap<String, u64>>) -> u64 {
    let Some(stats) = stats else { return 0 };
    let found = stats
        .get("total_inactive_file")
        .or_else(|| stats.get("inactive_file"));
    found.copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_of_the_engine() {
        let answer = json!({
            "read": "2026-01-01T00:00:00Z",
            "cpu_stats": {
                "cpu_usage": {"total_usage": 1_500_000_000_u64},
                "throttling_data": {"periods": 9, "throttled_periods": 3, "throttled_time": 250_000_000_u64},
            },
            "memory_stats": {"usage": 10_000, "limit": 64_000, "stats": {"inactive_file": 1_000}},
            "pids_stats": {"current": 4},
            "networks": {"eth0": {"rx_bytes": 5, "tx_bytes": 7}, "eth1": {"rx_bytes": 1, "tx_bytes": 1}},
        });
        let answer: ContainerStatsResponse = serde_json::from_value(answer).unwrap();
        let stats = of(&answer, true);
        assert_eq!(
            stats,
            InstanceStats {
                at_ms: 1_767_225_600_000,
                cpu_seconds: 1.5,
                throttled_seconds: Some(0.25),
                memory_bytes: 9_000,
                memory_limit_bytes: Some(64_000),
                processes: Some(4),
                received_bytes: Some(6),
                sent_bytes: Some(8),
            }
        );
        assert_eq!(of(&answer, false).memory_limit_bytes, None);
    }
}
