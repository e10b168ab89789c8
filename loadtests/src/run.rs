//! Rounds: every target in turn, again and again, so that a machine that slows down slows all of them.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    Compare,
    case::{Case, Measure},
    client::{self, Load},
    measure::{self, Cpu, Spread},
    report::{self, Figures, Results, Row},
    target::{Backend, Running, Target},
};

/// Prints the cases.
#[expect(clippy::print_stdout, reason = "that is what the command is for")]
pub(crate) fn list() -> anyhow::Result<()> {
    for case in Case::all()? {
        println!("{:<12} {}", case.name, case.title);
    }
    Ok(())
}

/// Runs the comparison and reports it.
pub(crate) fn compare(options: &Compare) -> anyhow::Result<()> {
    let agent = match &options.agent {
        Some(agent) => agent.clone(),
        None => build_agent()?,
    };
    let cpus = std::thread::available_parallelism()?.get();
    if cpus < 2 {
        bail!("two processors are needed: one for the proxy alone");
    }
    let others = format!("1-{}", cpus - 1);
    pin_to(&others)?;
    let mut targets = Target::installed(&agent)?;
    targets.retain(|target| {
        target.name == "weir"
            || options.targets.is_empty()
            || options.targets.iter().any(|name| name == target.name)
    });
    let all = Case::all()?;
    for name in &options.cases {
        if !all.iter().any(|case| case.name == *name) {
            bail!("there is no case `{name}`; `cases` lists them");
        }
    }
    let wanted = |case: &&Case| {
        options.cases.is_empty()
            || options.cases.contains(&case.name)
            || all.iter().any(|other| {
                options.cases.contains(&other.name) && other.baseline.as_deref() == Some(case.name.as_str())
            })
    };
    let cases: Vec<&Case> = all.iter().filter(wanted).collect();
    let rounds = if options.quick { 3 } else { options.rounds.max(1) };
    let divisor = if options.quick { 10 } else { 1 };
    let bar = ProgressBar::new((rounds * cases.len()) as u64).with_style(ProgressStyle::with_template(
        "{bar:30} {pos}/{len} {msg} ({elapsed}, {eta} to go)",
    )?);

    let mut figures: BTreeMap<(String, &'static str), Vec<Figures>> = BTreeMap::new();
    for round in 0..rounds {
        for case in &cases {
            bar.set_message(format!("round {}, {}", round + 1, case.name));
            let backend = Backend::start(case.body_bytes, &others)?;
            for target in &targets {
                if case.baseline.is_some() && target.name != "weir" {
                    continue;
                }
                let Some(running) = target.start(case, backend.address)? else {
                    continue;
                };
                let seen = measure_one(case, &running, divisor)
                    .with_context(|| format!("case {}, target {}", case.name, target.name))?;
                figures
                    .entry((case.name.clone(), target.name))
                    .or_default()
                    .push(seen);
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();

    let results = summarise(&cases, &targets, &figures);
    report::table(&results);
    if let Some(file) = &options.json {
        fs::write(file, serde_json::to_vec_pretty(&results)?)
            .with_context(|| format!("writing {}", file.display()))?;
    }
    if let Some(file) = &options.svg {
        fs::write(file, report::chart(&results)).with_context(|| format!("writing {}", file.display()))?;
    }
    let errors: u64 = results.cases.iter().map(|row| row.errors).sum();
    if errors > 0 {
        bail!("{errors} requests failed: the figures mean nothing");
    }
    Ok(())
}

fn measure_one(case: &Case, running: &Running, divisor: u64) -> anyhow::Result<Figures> {
    let requests = match case.measure {
        Measure::Cpu => (case.requests / divisor).max(case.connections as u64 * 4),
        Measure::Memory | Measure::Resident => case.requests,
    };
    let load = Load {
        to: running.address,
        connections: case.connections,
        requests,
        keep_alive: case.keep_alive,
        body_bytes: case.body_bytes,
        certificate: running.certificate.clone(),
        http2: case.http2,
        resume: case.resume,
        websocket: case.websocket,
        requests_per_second: case.requests_per_second,
        lengths_differ: false,
        at_once: match case.measure {
            Measure::Cpu | Measure::Resident => case.connections,
            // Buffers of requests under way are not what an idle connection holds.
            Measure::Memory => 16,
        },
    };
    match case.measure {
        Measure::Cpu => {
            // Warm: pools filled, code touched.
            client::run(Load {
                requests: requests / 10 + 1,
                ..load.clone()
            })?;
            let swapping = Swapping::start(case, running);
            let before = Cpu::of(&running.processes)?;
            let began = Instant::now();
            let seen = client::run(load)?;
            let took = began.elapsed();
            let cpu = Cpu::of(&running.processes)?.since(&before);
            drop(swapping);
            #[expect(clippy::cast_precision_loss, reason = "counts of a run are small")]
            let per_request = |time: Duration| time.as_secs_f64() * 1e6 / seen.requests as f64;
            #[expect(clippy::cast_precision_loss, reason = "as above")]
            Ok(Figures {
                value: per_request(cpu.total),
                user: per_request(cpu.user),
                system: per_request(cpu.system),
                rate: seen.requests as f64 / took.as_secs_f64(),
                p50_us: seen.latency_us.value_at_quantile(0.5) as f64,
                p99_us: seen.latency_us.value_at_quantile(0.99) as f64,
                errors: seen.errors,
            })
        }
        Measure::Resident => {
            let seen = client::run(load)?;
            // What it allocated for the first connection may come back a moment later.
            std::thread::sleep(Duration::from_secs(1));
            #[expect(clippy::cast_precision_loss, reason = "memory of a process is small")]
            let value = measure::resident(&running.processes)? as f64 / 1024.0;
            Ok(Figures {
                value,
                errors: seen.errors,
                ..Figures::default()
            })
        }
        Measure::Memory => {
            let before = measure::resident(&running.processes)?;
            let seen = client::run(load)?;
            // Idle connections may give memory back a moment later.
            std::thread::sleep(Duration::from_secs(1));
            let after = measure::resident(&running.processes)?;
            #[expect(clippy::cast_precision_loss, reason = "counts of a run are small")]
            let value = after.saturating_sub(before) as f64 / seen.open.len().max(1) as f64;
            Ok(Figures {
                value,
                errors: seen.errors,
                ..Figures::default()
            })
        }
    }
}

/// Changes the configuration again and again until dropped.
struct Swapping {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Swapping {
    fn start(case: &Case, running: &Running) -> Option<Self> {
        let (path, text) = running
            .configuration
            .clone()
            .filter(|_| case.swaps_per_second > 0)?;
        let pause = Duration::from_secs(1) / case.swaps_per_second;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut other = false;
            while !stopped.load(Ordering::Relaxed) {
                other = !other;
                let text = if other {
                    text.replace("90%", "80%").replace("10%", "20%")
                } else {
                    text.clone()
                };
                let _ = replace(&path, &text);
                std::thread::sleep(pause);
            }
        });
        Some(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Swapping {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn replace(path: &std::path::Path, text: &str) -> std::io::Result<()> {
    let next = path.with_extension("next");
    fs::write(&next, text)?;
    fs::rename(next, path)
}

fn summarise(
    cases: &[&Case],
    targets: &[Target],
    figures: &BTreeMap<(String, &'static str), Vec<Figures>>,
) -> Results {
    let mut rows = Vec::new();
    for case in cases {
        let Some(ours) = figures.get(&(case.name.clone(), "weir")) else {
            continue;
        };
        let mut peers: Vec<(String, String, &Vec<Figures>)> = targets
            .iter()
            .filter(|target| target.name != "weir")
            .filter_map(|target| {
                let theirs = figures.get(&(case.name.clone(), target.name))?;
                Some((target.name.to_owned(), target.version.clone(), theirs))
            })
            .collect();
        if let Some(baseline) = &case.baseline
            && let Some(theirs) = figures.get(&(baseline.clone(), "weir"))
        {
            peers.push((format!("weir {baseline}"), String::new(), theirs));
        }
        for (peer, peer_version, theirs) in peers {
            // Round by round: both saw the machine in the same mood.
            let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a.value / b.value).collect();
            let spread = |pick: fn(&Figures) -> f64, of: &[Figures]| {
                Spread::of(&of.iter().map(pick).collect::<Vec<_>>())
            };
            let (Some(ratio), Some(own), Some(other)) = (
                Spread::of(&ratios),
                spread(|f| f.value, ours),
                spread(|f| f.value, theirs),
            ) else {
                continue;
            };
            rows.push(Row {
                case: case.name.clone(),
                title: case.title.clone(),
                unit: match case.measure {
                    Measure::Cpu => "µs of CPU per request",
                    Measure::Memory => "bytes per connection",
                    Measure::Resident => "KiB",
                },
                peer,
                peer_version,
                ours: own,
                theirs: other,
                cpu_ratio: ratio,
                ours_user: spread(|f| f.user, ours),
                ours_system: spread(|f| f.system, ours),
                ours_rate: spread(|f| f.rate, ours),
                ours_p50_us: spread(|f| f.p50_us, ours),
                theirs_p50_us: spread(|f| f.p50_us, theirs),
                ours_p99_us: spread(|f| f.p99_us, ours),
                theirs_p99_us: spread(|f| f.p99_us, theirs),
                errors: ours.iter().chain(theirs).map(|f| f.errors).sum(),
            });
        }
    }
    Results {
        machine: machine(),
        commit: output("git", &["rev-parse", "--short", "HEAD"]),
        versions: targets
            .iter()
            .map(|target| (target.name.to_owned(), target.version.clone()))
            .collect(),
        cases: rows,
    }
}

fn machine() -> String {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| Some(line.split(':').nth(1)?.trim()))
        .unwrap_or("unknown processor");
    // All of the machine's, not only those that this process was pinned to.
    let count = processors
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {count} processors, Linux {}", kernel.trim())
}

fn output(program: &str, arguments: &[&str]) -> String {
    Command::new(program)
        .args(arguments)
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}

/// Keeps the clients off the proxy's processor.
fn pin_to(cpus: &str) -> anyhow::Result<()> {
    let status = Command::new("taskset")
        .args(["-a", "-p", "-c", cpus, &std::process::id().to_string()])
        .stdout(std::process::Stdio::null())
        .status()
        .context("taskset (util-linux) is needed")?;
    if !status.success() {
        bail!("the clients could not be pinned to processors {cpus}");
    }
    Ok(())
}

pub(crate) fn build_agent() -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "-p", "weir-agent", "--bin", "weir-agent"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status()
        .context("building the agent")?;
    if !status.success() {
        bail!("the agent could not be built");
    }
    let ours = std::env::current_exe()?;
    let folder = ours.parent().context("no folder")?;
    let release = if folder.ends_with("release") {
        folder.to_owned()
    } else {
        folder.parent().context("no folder")?.join("release")
    };
    Ok(release.join("weir-agent"))
}
