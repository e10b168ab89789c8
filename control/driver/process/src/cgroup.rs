//! Limits of processors and memory by control groups, where this process may make some.
//!
//! Version 2 (`cgroups(7)`): below our own group, if the controllers can be handed down there. Version 1: in the
//! hierarchies of `memory` and `cpu`, below our own group. Where neither may be written, nothing is limited, and
//! the driver says so.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Where control groups are mounted.
const MOUNT: &str = "/sys/fs/cgroup";
/// Our folder in each hierarchy.
const FOLDER: &str = "weir";
/// Microseconds over which a share of processors is counted.
const PERIOD_US: u64 = 100_000;
/// Least share that the kernel takes, in microseconds of [`PERIOD_US`].
const QUOTA_US_MIN: u64 = 1_000;

/// The hierarchies in which we may make groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Groups {
    /// One for all.
    Unified(PathBuf),
    /// One for each controller.
    Separate {
        memory: PathBuf,
        cpu: PathBuf,
        /// Counts processor time, if it is there.
        account: Option<PathBuf>,
    },
}

/// The group of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Unified(PathBuf),
    Separate {
        memory: PathBuf,
        cpu: PathBuf,
        account: Option<PathBuf>,
    },
}

/// What a group has used.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Used {
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) throttled_seconds: Option<f64>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) memory_limit_bytes: Option<u64>,
}

impl Groups {
    /// `None`: this process may make none. `namespace` is part of their names.
    pub(crate) fn open(namespace: &str) -> Option<Groups> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        Groups::below(Path::new(MOUNT), &own, namespace)
    }

    /// `own`: lines as in `/proc/self/cgroup`, `ID:CONTROLLERS:PATH`.
    fn below(mount: &Path, own: &str, namespace: &str) -> Option<Groups> {
        let name = format!("{FOLDER}-{}", clean(namespace));
        let path = |controller: &str| {
            own.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                let (controllers, path) = (fields.next()?, fields.next()?);
                let is_it = controllers.split(',').any(|name| name == controller);
                is_it.then(|| path.trim_start_matches('/').to_owned())
            })
        };
        if mount.join("cgroup.controllers").exists() {
            let base = mount.join(path("").unwrap_or_default());
            let folder = base.join(name);
            let controllers = "+memory +cpu";
            fs::write(base.join("cgroup.subtree_control"), controllers).ok()?;
            fs::create_dir_all(&folder).ok()?;
            fs::write(folder.join("cgroup.subtree_control"), controllers).ok()?;
            return Some(Groups::Unified(folder));
        }
        let folder = |controller: &str| {
            let base = mount.join(controller);
            // The path is that of the host where the namespace is another's.
            let own = base.join(path(controller)?);
            let base = if own.is_dir() { own } else { base };
            let folder = base.join(&name);
            fs::create_dir_all(&folder).ok()?;
            folder.join("cgroup.procs").exists().then_some(folder)
        };
        Some(Groups::Separate {
            memory: folder("memory")?,
            cpu: folder("cpu")?,
            account: folder("cpuacct"),
        })
    }

    /// Removes what was made at the opening, if no instance has a group any more.
    pub(crate) fn remove_if_empty(&self) {
        // The kernel keeps folders that have others in them.
        self.of("").remove();
    }

    /// The group of an instance, made or not.
    pub(crate) fn of(&self, id: &str) -> Group {
        let kind = match self {
            Groups::Unified(folder) => Kind::Unified(folder.join(id)),
            Groups::Separate { memory, cpu, account } => Kind::Separate {
                memory: memory.join(id),
                cpu: cpu.join(id),
                account: account.as_ref().map(|folder| folder.join(id)),
            },
        };
        Group { kind }
    }
}

/// A namespace as a name of a folder.
fn clean(name: &str) -> String {
    name.chars()
        .map(|char| if char.is_ascii_alphanumeric() { char } else { '-' })
        .collect()
}

impl Group {
    /// Makes it and puts a process with its later children into it. A limit of nothing is none.
    pub(crate) fn limit(&self, pid: u32, cpu: f64, memory_bytes: Option<u64>) -> io::Result<()> {
        for folder in self.folders() {
            fs::create_dir_all(folder)?;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a cast from a float saturates, and a period is a small number"
        )]
        let quota = (cpu > 0.0).then(|| ((cpu * PERIOD_US as f64) as u64).max(QUOTA_US_MIN));
        match &self.kind {
            Kind::Unified(folder) => {
                if let Some(bytes) = memory_bytes {
                    fs::write(folder.join("memory.max"), bytes.to_string())?;
                    // Without swap in the kernel there is no such file.
                    let _ = fs::write(folder.join("memory.swap.max"), "0");
                    // All of it ends or none.
                    let _ = fs::write(folder.join("memory.oom.group"), "1");
                }
                if let Some(quota) = quota {
                    fs::write(folder.join("cpu.max"), format!("{quota} {PERIOD_US}"))?;
                }
            }
            Kind::Separate { memory, cpu, .. } => {
                if let Some(bytes) = memory_bytes {
                    fs::write(memory.join("memory.limit_in_bytes"), bytes.to_string())?;
                    let _ = fs::write(memory.join("memory.memsw.limit_in_bytes"), bytes.to_string());
                }
                if let Some(quota) = quota {
                    fs::write(cpu.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
                    fs::write(cpu.join("cpu.cfs_quota_us"), quota.to_string())?;
                }
            }
        }
        for folder in self.folders() {
            fs::write(folder.join("cgroup.procs"), pid.to_string())?;
        }
        Ok(())
    }

    fn folders(&self) -> Vec<&Path> {
        match &self.kind {
            Kind::Unified(folder) => vec![folder],
            Kind::Separate { memory, cpu, account } => {
                let mut all: Vec<&Path> = vec![memory, cpu];
                all.extend(account.as_deref());
                all
            }
        }
    }

    /// Whether the kernel has ended a process of it for lack of memory.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        let (file, key) = match &self.kind {
            Kind::Unified(folder) => (folder.join("memory.events"), "oom_kill"),
            Kind::Separate { memory, .. } => (memory.join("memory.oom_control"), "oom_kill"),
        };
        value_of(&file, key).is_some_and(|count| count > 0)
    }

    /// What it has used, as far as there is a group.
    pub(crate) fn used(&self) -> Used {
        #[expect(clippy::cast_precision_loss, reason = "2^53 nanoseconds are 104 days")]
        let seconds = |number: u64, a_second: f64| number as f64 / a_second;
        match &self.kind {
            Kind::Unified(folder) => {
                let cpu = folder.join("cpu.stat");
                let inactive = value_of(&folder.join("memory.stat"), "inactive_file").unwrap_or(0);
                Used {
                    cpu_seconds: value_of(&cpu, "usage_usec").map(|time| seconds(time, 1e6)),
                    throttled_seconds: value_of(&cpu, "throttled_usec").map(|time| seconds(time, 1e6)),
                    memory_bytes: number(&folder.join("memory.current"))
                        .map(|bytes| bytes.saturating_sub(inactive)),
                    memory_limit_bytes: number(&folder.join("memory.max")),
                }
            }
            Kind::Separate { memory, cpu, account } => {
                let inactive = value_of(&memory.join("memory.stat"), "total_inactive_file").unwrap_or(0);
                let account = account.as_ref().map(|folder| folder.join("cpuacct.usage"));
                Used {
                    cpu_seconds: account
                        .and_then(|file| number(&file))
                        .map(|time| seconds(time, 1e9)),
                    throttled_seconds: value_of(&cpu.join("cpu.stat"), "throttled_time")
                        .map(|time| seconds(time, 1e9)),
                    memory_bytes: number(&memory.join("memory.usage_in_bytes"))
                        .map(|bytes| bytes.saturating_sub(inactive)),
                    // No limit is shown as nearly all that there could be.
                    memory_limit_bytes: number(&memory.join("memory.limit_in_bytes"))
                        .filter(|bytes| *bytes < 1 << 60),
                }
            }
        }
    }

    /// Removes it; one that still has processes stays.
    pub(crate) fn remove(&self) {
        for folder in self.folders() {
            // It is there no more, or a process in it has not quite ended: the next one of this name takes it over.
            let _ = fs::remove_dir(folder);
        }
    }
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// A number in a file of lines `KEY NUMBER`.
fn value_of(file: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_two_is_below_our_own_group() {
        let mount = tempfile::tempdir().unwrap();
        fs::write(mount.path().join("cgroup.controllers"), "cpu memory").unwrap();
        fs::create_dir_all(mount.path().join("system.slice/weir.service")).unwrap();
        let groups = Groups::below(mount.path(), "0::/system.slice/weir.service\n", "a/b").unwrap();
        let folder = mount.path().join("system.slice/weir.service/weir-a-b");
        assert_eq!(groups, Groups::Unified(folder.clone()));
        let group = groups.of("x");
        group.limit(42, 0.25, Some(64 << 20)).unwrap();
        let read = |name: &str| fs::read_to_string(folder.join("x").join(name)).unwrap();
        assert_eq!(read("memory.max"), (64 << 20).to_string());
        assert_eq!(read("cpu.max"), "25000 100000");
        assert_eq!(read("cgroup.procs"), "42");
        fs::write(folder.join("x/memory.events"), "low 0\noom 1\noom_kill 1\n").unwrap();
        assert!(group.ran_out_of_memory());
        fs::write(
            folder.join("x/cpu.stat"),
            "usage_usec 1500000\nthrottled_usec 250000\n",
        )
        .unwrap();
        fs::write(folder.join("x/memory.current"), "1000\n").unwrap();
        fs::write(folder.join("x/memory.stat"), "anon 5\ninactive_file 300\n").unwrap();
        assert_eq!(
            group.used(),
            Used {
                cpu_seconds: Some(1.5),
                throttled_seconds: Some(0.25),
                memory_bytes: Some(700),
                memory_limit_bytes: Some(64 << 20),
            }
        );
    }

    #[test]
    fn where_nothing_may_be_made_there_are_no_groups() {
        let mount = tempfile::tempdir().unwrap();
        assert_eq!(
            Groups::below(mount.path(), "", "x"),
            None,
            "a plain folder is no hierarchy"
        );
        assert_eq!(
            Groups::below(Path::new("/proc/none"), "4:memory:/\n3:cpu:/\n", "x"),
            None
        );
    }
}
