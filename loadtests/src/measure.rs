//! What the kernel accounts to processes.

use std::{fs, time::Duration};

use anyhow::Context as _;

/// Processor time of processes so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
    /// Both together, counted in nanoseconds by the scheduler rather than in ticks.
    pub(crate) total: Duration,
}

impl Cpu {
    /// Of these processes together.
    pub(crate) fn of(processes: &[u32]) -> anyhow::Result<Self> {
        let mut cpu = Self::default();
        for process in processes {
            let stat = fs::read_to_string(format!("/proc/{process}/stat"))
                .with_context(|| format!("process {process} is gone"))?;
            // Fields after the name in parentheses: utime is the 12th, stime the 13th (proc(5)).
            let fields: Vec<&str> = stat
                .rsplit(')')
                .next()
                .unwrap_or_default()
                .split_whitespace()
                .collect();
            let ticks = |index: usize| -> anyhow::Result<u64> {
                Ok(fields.get(index).context("a field is missing")?.parse()?)
            };
            let per_second = rustix::param::clock_ticks_per_second();
            cpu.user += Duration::from_millis(ticks(11)? * 1000 / per_second);
            cpu.system += Duration::from_millis(ticks(12)? * 1000 / per_second);
            for task in fs::read_dir(format!("/proc/{process}/task"))? {
                let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
                let run = text
                    .split_whitespace()
                    .next()
                    .and_then(|run| run.parse().ok())
                    .unwrap_or(0);
                cpu.total += Duration::from_nanos(run);
            }
        }
        Ok(cpu)
    }

    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
            total: self.total.saturating_sub(earlier.total),
        }
    }
}

/// Resident memory of these processes together, bytes.
pub(crate) fn resident(processes: &[u32]) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for process in processes {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .context("no VmRSS")?;
        let kilobytes: u64 = line
            .split_whitespace()
            .nth(1)
            .context("no figure")?
            .parse()
            .context("not a figure")?;
        bytes += kilobytes * 1024;
    }
    Ok(bytes)
}

/// A process and its children.
pub(crate) fn family(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut index = 0;
    while let Some(process) = found.get(index).copied() {
        index += 1;
        let children =
            fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
        found.extend(
            children
                .split_whitespace()
                .filter_map(|child| child.parse::<u32>().ok()),
        );
    }
    found
}

/// The middle, the least and the greatest of some figures.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(figures: &[f64]) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        let median = if sorted.len() % 2 == 1 {
            upper
        } else {
            let lower = *sorted.get(middle - 1)?;
            f64::midpoint(lower, upper)
        };
        Some(Self { median, min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn the_median_is_the_middle() {
        let spread = Spread::of(&[3.0, 1.0, 2.0, 10.0]).expect("figures");
        assert!((spread.median - 2.5).abs() < 1e-9 && spread.min < 1.1 && spread.max > 9.9);
        assert!(Spread::of(&[]).is_none());
    }
}
