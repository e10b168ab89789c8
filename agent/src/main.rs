//! `weir-agent`: the edge process.

mod flags;

use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tracing_subscriber::EnvFilter;
use weir_agent::{
    Agent, Config, check, environment,
    handover::{self, Inherited, Successor},
};

/// The edge of Weir: serves gateways and follows a store for changes.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What to log, as a filter of `tracing` (`info`, `weir_agent=debug,info`). Default: info; of `check` nothing.
    #[arg(long, global = true, env = "WEIR_LOG", value_name = "FILTER")]
    log: Option<String>,
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
    Run(Box<flags::Run>),
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
    // What `check` finds is its output.
    let usual = if matches!(cli.command, Command::Check { .. }) {
        "off"
    } else {
        "info"
    };
    let log = cli.log.as_deref().unwrap_or(usual);
    let filter = EnvFilter::try_new(log).with_context(|| format!("`{log}` is not a log filter"))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Colours are for people alone.
        .with_ansi(std::io::stderr().is_terminal())
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

fn serve(run: flags::Run) -> anyhow::Result<()> {
    let successor = Successor::of_this_process();
    let inherited = Inherited::receive()?;
    let vamp = environment::from_vamp(|name| std::env::var(name).ok())?;
    let (delay, drain) = run.leave();
    // The proxy's workers have threads of their own; what is left is little.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let config = run.settings(&vamp)?;
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
