//! `weir-agent`: the edge process.

use std::{io::Write as _, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use weir_agent::{Config, check, environment};
use weir_model::AgentId;

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
    Run(Run),
    /// Checks a document of gateways or a snapshot without serving it. Exit code 1 if it has faults.
    Check {
        /// YAML or JSON.
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Run {
    /// The store: file:PATH (a document of gateways), embedded:PATH, weir://HOST:PORT.
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
    /// Where /status, /metrics, /frames and /health are served; there is no authentication.
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
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = logging(&cli).and_then(|()| match cli.command {
        Command::Run(run) => serve(run).map(|()| ExitCode::SUCCESS),
        Command::Check { file } => checked(&file),
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

fn checked(file: &std::path::Path) -> anyhow::Result<ExitCode> {
    let shown = file.display();
    match check::file(file) {
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

fn serve(run: Run) -> anyhow::Result<()> {
    let vamp = environment::from_vamp(|name| std::env::var(name).ok());
    let url = run.store.or(vamp.store).context(
        "no store is given: --store URL or WEIR_STORE (file:PATH, embedded:PATH, weir://HOST:PORT)",
    )?;
    let drain = Duration::from_secs(run.drain);
    let mut proxy = weir_proxy::Config {
        virtual_hosts: run.virtual_hosts,
        ..weir_proxy::Config::default()
    };
    if let Some(workers) = run.workers {
        proxy.workers = workers;
    }
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
        if let Some(prefix) = run.prefix.or(vamp.prefix) {
            config.prefix = prefix;
        }
        let ended = ended()?;
        weir_agent::run(config, ended, drain).await?;
        anyhow::Ok(())
    })
}

/// Ready at the first SIGTERM or SIGINT; a second one ends the process at once.
fn ended() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let (first, ready) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut first = Some(first);
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {
                    tracing::info!("SIGHUP does nothing: changes are followed without it");
                    continue;
                }
            }
            match first.take() {
                Some(first) => {
                    tracing::info!("ending: connections may finish; a second signal ends at once");
                    let _ = first.send(());
                }
                None => std::process::exit(130),
            }
        }
    });
    Ok(async move {
        let _ = ready.await;
    })
}
