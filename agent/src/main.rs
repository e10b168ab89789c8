//! `weir-agent`: the edge process.

mod flags;
mod options;

use std::{
    io::Write as _, net::SocketAddr, num::NonZeroU32, path::PathBuf, process::ExitCode, time::Duration,
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tracing_subscriber::EnvFilter;
use weir_agent::{
    Agent, Config, check, environment,
    handover::{self, Inherited, Successor},
};
use weir_model::AgentId;
use weir_proxy::{AccessLog, LogOutput};

/// The edge of Weir: serves gateways and follows a store for changes.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What to log, as a filter of `tracing` (`info`, `weir_agent=debug,info`).
    #[arg(long, global = true, env = "WEIR_LOG", default_value = "info")]
    log: String,
    /// How to log.
    #[arg(long, global = true, env = "WEIR_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves gateways until SIGTERM or SIGINT.
    Run(Box<Run>),
    /// Replaces the agent of a data folder by the program that is now in its place, without a refused connection.
    Upgrade {
        /// Folder of the agent.
        #[arg(
            long,
            env = "WEIR_DATA",
            value_name = "DIR",
            default_value = "/var/lib/weir-agent"
        )]
        data: PathBuf,
        /// Seconds to wait for the new process.
        #[arg(long, value_name = "SECONDS", default_value_t = 60)]
        wait: u64,
    },
    /// Checks a document of gateways, or what a store has published, without serving it. Exit code 1 if it has faults.
    Check {
        /// A file (YAML or JSON), or the address of a store as for `run --store`.
        what: String,
        /// What the store's keys begin with.
        #[arg(long, env = "WEIR_PREFIX", default_value = Config::PREFIX_DEFAULT)]
        prefix: String,
    },
}

#[derive(Debug, Args)]
struct Run {
    /// The store: etcd://HOST:PORT, consul://HOST:PORT, zk://HOST:PORT, weir://HOST:PORT, embedded:PATH or file:PATH (a
    /// document of gateways); see docs/stores.md.
    /// Default: what Vamp's VAMP_KEY_VALUE_STORE_TYPE and _CONNECTION say.
    #[arg(long, env = "WEIR_STORE", value_name = "URL")]
    store: Option<String>,
    /// What the store's keys begin with. Default: from Vamp's VAMP_KEY_VALUE_STORE_PATH, else vamp/default.
    #[arg(long, env = "WEIR_PREFIX")]
    prefix: Option<String>,
    /// Folder of the agent's id and the last good snapshot.
    #[arg(
        long,
        env = "WEIR_DATA",
        value_name = "DIR",
        default_value = "/var/lib/weir-agent"
    )]
    data: PathBuf,
    /// Where /status, /stats, /metrics, /frames and /health are served.
    #[arg(long, env = "WEIR_ADMIN", value_name = "ADDR", default_value_t = Config::ADMIN_DEFAULT)]
    admin: SocketAddr,
    /// HOST:PORT under which control reaches the admin address. Default: that address.
    #[arg(long, env = "WEIR_ADVERTISE", value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Worker threads. Default: one per processor.
    #[arg(long, env = "WEIR_WORKERS")]
    workers: Option<usize>,
    /// Where requests are told apart by their Host header. Default: virtual hosts are not served.
    #[arg(long, env = "WEIR_VIRTUAL_HOSTS", value_name = "ADDR")]
    virtual_hosts: Option<SocketAddr>,
    /// The agent's id. Default: the one in the data folder, made at the first start.
    #[arg(long, env = "WEIR_AGENT_ID")]
    id: Option<AgentId>,
    /// Seconds that connections have to finish at the end.
    #[arg(long, env = "WEIR_DRAIN", value_name = "SECONDS", default_value_t = 30)]
    drain: u64,
    /// Seconds before that in which /health answers 503 and connections are still accepted.
    #[arg(long, env = "WEIR_DRAIN_DELAY", value_name = "SECONDS", default_value_t = 0)]
    drain_delay: u64,
    /// Idle connections that are ended per second at the end; more if the time is short.
    #[arg(long, env = "WEIR_DRAIN_RATE", value_name = "N", default_value = "1000")]
    drain_rate: NonZeroU32,
    /// File to which a record of each request is appended; `-`: standard output. SIGUSR1 and SIGHUP open it anew.
    #[arg(long, env = "WEIR_ACCESS_LOG", value_name = "FILE|-")]
    access_log: Option<PathBuf>,
    /// How the records look.
    #[arg(long, env = "WEIR_ACCESS_LOG_FORMAT", default_value = "json")]
    access_log_format: AccessLogFormat,
    /// Log one request in N.
    #[arg(long, env = "WEIR_ACCESS_LOG_SAMPLE", value_name = "N", default_value = "1")]
    access_log_sample: NonZeroU32,
    /// Count the time in which a connection waited for its next request in Tq and Tt, as Vamp did.
    #[arg(long, env = "WEIR_ACCESS_LOG_IDLE_TIME")]
    access_log_idle_time: bool,
    #[command(flatten)]
    flags: flags::Flags,
    #[command(flatten)]
    options: options::Options,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AccessLogFormat {
    /// An object per level crossed, with Vamp's fields.
    Json,
    /// A line per request, as Apache writes it and a little more.
    Combined,
}

impl Run {
    fn access_log(&self) -> Option<AccessLog> {
        let path = self.access_log.as_ref()?;
        let output = if path.as_os_str() == "-" {
            LogOutput::Stdout
        } else {
            LogOutput::File(path.clone())
        };
        let format = match self.access_log_format {
            AccessLogFormat::Json => weir_proxy::LogFormat::Json,
            AccessLogFormat::Combined => weir_proxy::LogFormat::Combined,
        };
        Some(AccessLog {
            sample: self.access_log_sample,
            idle_time: self.access_log_idle_time,
            ..AccessLog::new(format, output)
        })
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = logging(&cli).and_then(|()| match cli.command {
        Command::Run(run) => serve(*run).map(|()| ExitCode::SUCCESS),
        Command::Check { what, prefix } => checked(&what, &prefix),
        Command::Upgrade { data, wait } => upgraded(&data, Duration::from_secs(wait)),
    });
    outcome.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "weir-agent: {error:#}");
        ExitCode::FAILURE
    })
}

fn logging(cli: &Cli) -> anyhow::Result<()> {
    let filter =
        EnvFilter::try_new(&cli.log).with_context(|| format!("`{}` is not a log filter", cli.log))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match cli.log_format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(())
}

fn checked(shown: &str, prefix: &str) -> anyhow::Result<ExitCode> {
    let path = std::path::Path::new(shown);
    let outcome = if check::is_store(shown) && !path.exists() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(check::store(shown, prefix))
    } else {
        check::file(path)
    };
    match outcome {
        Ok(sound) => {
            let plural = if sound.gateways == 1 { "" } else { "s" };
            let (kind, gateways) = (sound.kind, sound.gateways);
            writeln!(
                std::io::stdout(),
                "{shown}: a sound {kind} with {gateways} gateway{plural}"
            )?;
            Ok(ExitCode::SUCCESS)
        }
        Err(reasons) => {
            for reason in reasons {
                writeln!(std::io::stderr(), "{shown}: {reason}")?;
            }
            Ok(ExitCode::FAILURE)
        }
    }
}

fn upgraded(data: &std::path::Path, wait: Duration) -> anyhow::Result<ExitCode> {
    let process = handover::ask(data, wait)?;
    writeln!(std::io::stdout(), "process {process} serves {}", data.display())?;
    Ok(ExitCode::SUCCESS)
}

fn serve(run: Run) -> anyhow::Result<()> {
    let successor = Successor::of_this_process();
    let inherited = Inherited::receive()?;
    let vamp = environment::from_vamp(|name| std::env::var(name).ok());
    let access_log = run.access_log();
    let url = run.store.or(vamp.store.clone()).context(
        "no store is given: --store URL or WEIR_STORE (etcd://, consul://, zk:// or weir://HOST:PORT, embedded:PATH, file:PATH)",
    )?;
    let (delay, drain) = (
        Duration::from_secs(run.drain_delay),
        Duration::from_secs(run.drain),
    );
    let mut proxy = weir_proxy::Config {
        virtual_hosts: run.virtual_hosts,
        access_log,
        drain_rate: run.drain_rate,
        ..weir_proxy::Config::default()
    };
    if let Some(workers) = run.workers {
        proxy.workers = workers;
    }
    run.flags.apply(&mut proxy)?;
    // The proxy's workers have threads of their own; what is left is little.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let store = weir_store::connect(&url)?;
        let mut config = Config::new(store, run.data);
        config.id = run.id;
        config.admin = run.admin;
        config.advertise = run.advertise;
        config.proxy = proxy;
        if let Some(prefix) = run.prefix.or(vamp.prefix.clone()) {
            config.prefix = prefix;
        }
        run.options.apply(&vamp, &mut config)?;
        let mut told = signals()?;
        let agent = Box::pin(Agent::take_over(config, inherited)).await?;
        loop {
            match told.recv().await {
                Some(Told::Reopen) => agent.reopen_access_log(),
                Some(Told::Upgrade) => {
                    let offered = Box::pin(agent.offer(&successor)).await;
                    agent.note_upgrade(&offered);
                    match offered {
                        Ok(offered) => {
                            agent.hand_over(offered, drain).await;
                            return Ok(());
                        }
                        Err(error) => {
                            tracing::error!(
                                error = format!("{error:#}"),
                                "nobody takes over: this process serves on"
                            );
                        }
                    }
                }
                Some(Told::End) | None => break,
            }
        }
        agent.leave(delay, drain).await;
        anyhow::Ok(())
    })
}

/// What a signal asks for.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    /// SIGTERM or SIGINT, the first one.
    End,
    /// SIGUSR1 or SIGHUP.
    Reopen,
    /// SIGUSR2.
    Upgrade,
}

/// Waits for signals. The second SIGTERM or SIGINT ends the process at once.
fn signals() -> anyhow::Result<mpsc::Receiver<Told>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut user = signal(SignalKind::user_defined1())?;
    let mut upgrade = signal(SignalKind::user_defined2())?;
    let (tell, told) = mpsc::channel(4);
    tokio::spawn(async move {
        let mut is_ending = false;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {
                    tracing::info!("SIGHUP: the access log is opened anew; changes are followed without it");
                    // If there is no room it was asked for a moment ago.
                    let _ = tell.try_send(Told::Reopen);
                    continue;
                }
                _ = upgrade.recv() => {
                    tracing::info!("SIGUSR2: another process is to take over");
                    let _ = tell.try_send(Told::Upgrade);
                    continue;
                }
                _ = user.recv() => {
                    tracing::info!("SIGUSR1: the access log is opened anew");
                    let _ = tell.try_send(Told::Reopen);
                    continue;
                }
            }
            if std::mem::replace(&mut is_ending, true) {
                std::process::exit(130);
            }
            tracing::info!("ending: connections may finish; a second signal ends at once");
            let _ = tell.send(Told::End).await;
        }
    });
    Ok(told)
}
