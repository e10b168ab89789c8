//! `weir-control`: the control service.

use std::{
    io::{IsTerminal as _, Write as _},
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use weir_control::{Config, Control, Origins};

/// Keeps artifacts, runs instances, and tells gateways what to serve.
#[derive(Debug, Parser)]
#[command(name = "weir-control", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve until SIGTERM or SIGINT. Instances go on running, and are found again by the next run.
    Run(Box<Run>),
    /// Check a file of artifacts without a server; every document needs its `kind`.
    Check {
        /// File, or - for standard input
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Run {
    /// Address of the API
    #[arg(long, env = "WEIR_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Folder of the database and of the instances' files
    #[arg(
        long,
        env = "WEIR_DATA",
        value_name = "FOLDER",
        default_value = ".weir/control"
    )]
    data: PathBuf,
    /// Store that carries snapshots to agents: embedded:PATH, weir://HOST:PORT; default: embedded, in the data folder
    #[arg(long, env = "WEIR_STORE", value_name = "URL")]
    store: Option<String>,
    /// Loopback address on which the store is shared with agents of this host (they take --store weir://ADDRESS)
    #[arg(long, env = "WEIR_SHARE_STORE", value_name = "ADDRESS")]
    share_store: Option<SocketAddr>,
    /// Prefix of every key in the store; default: vamp/NAMESPACE
    #[arg(long, env = "WEIR_PREFIX")]
    prefix: Option<String>,
    /// Namespace
    #[arg(long, env = "WEIR_NAMESPACE", default_value = "default")]
    namespace: String,
    /// Name or address under which services reach gateways
    #[arg(
        long,
        env = "WEIR_GATEWAY_HOST",
        value_name = "HOST",
        default_value = "127.0.0.1"
    )]
    gateway_host: String,
    /// Address on which agents open the ports of gateways
    #[arg(
        long,
        env = "WEIR_GATEWAY_ADDRESS",
        value_name = "ADDRESS",
        default_value = "0.0.0.0"
    )]
    gateway_address: IpAddr,
    /// Ports for gateways that name none
    #[arg(long, env = "WEIR_GATEWAY_PORTS", value_name = "FROM-TO", default_value = "40000-45000", value_parser = ports)]
    gateway_ports: RangeInclusive<u16>,
    /// Ports for instances whose breeds name none
    #[arg(long, env = "WEIR_INSTANCE_PORTS", value_name = "FROM-TO", default_value = "31000-32700", value_parser = ports)]
    instance_ports: RangeInclusive<u16>,
    /// Let pages from any origin use the API in browsers, not only those of this host
    #[arg(long, env = "WEIR_ANY_ORIGIN")]
    any_origin: bool,
    /// Log as JSON
    #[arg(long, env = "WEIR_LOG_JSON")]
    log_json: bool,
}

fn main() -> ExitCode {
    match Arguments::parse().verb {
        Verb::Check { file } => check(&file),
        Verb::Run(run) => serve(*run),
    }
}

fn serve(run: Run) -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    if run.log_json {
        log.json().init();
    } else {
        log.init();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = runtime
        .context("the runtime cannot be started")
        .and_then(|runtime| runtime.block_on(until_told(run)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("weir-control: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn until_told(run: Run) -> anyhow::Result<()> {
    // Before anything is started, so that a signal during the start is not lost.
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
    std::fs::create_dir_all(&run.data)
        .with_context(|| format!("the data folder {} cannot be made", run.data.display()))?;
    let url = run
        .store
        .unwrap_or_else(|| format!("embedded:{}", run.data.join("store.redb").display()));
    let store = tokio::task::spawn_blocking(move || weir_store::connect(&url))
        .await
        .context("opening the store panicked")?
        .context("the store cannot be opened")?;
    let sharing_ends = CancellationToken::new();
    let _ends_with_us = sharing_ends.clone().drop_guard();
    if let Some(address) = run.share_store {
        anyhow::ensure!(
            address.ip().is_loopback(),
            "the store can only be shared on a loopback address, for it asks nobody who they are; {address} is none"
        );
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("the store cannot be shared on {address}"))?;
        let address = listener
            .local_addr()
            .context("the store's address is not known")?;
        tracing::info!(%address, "the store is shared");
        let shared = Arc::clone(&store);
        tokio::spawn(async move {
            if let Err(error) = weir_store::remote::serve(listener, shared, sharing_ends).await {
                tracing::error!(%error, "the store is no longer shared");
            }
        });
    }
    let mut config = Config::new(run.data, store);
    config.listen = run.listen;
    config.prefix = run.prefix.unwrap_or_else(|| format!("vamp/{}", run.namespace));
    config.namespace = run.namespace;
    config.gateway_host = run.gateway_host;
    config.gateway_address = run.gateway_address;
    config.gateway_ports = run.gateway_ports;
    config.instance_ports = run.instance_ports;
    config.keep_instances = true;
    config.origins = if run.any_origin {
        Origins::Any
    } else {
        Origins::Local
    };
    let control = Control::start(config).await?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    tokio::select! {
        () = control.shutdown() => Ok(()),
        _ = terminate.recv() => anyhow::bail!("told to stop twice"),
        _ = interrupt.recv() => anyhow::bail!("told to stop twice"),
    }
}

/// Prints every problem as `FILE:LINE:COLUMN: ...`. Exit code 1 if there are any, 2 if the file cannot be read.
fn check(file: &std::path::Path) -> ExitCode {
    let text = if file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(file)
    };
    let text = match text {
        Ok(text) => text,
        Err(error) => {
            say(&format!(
                "weir-control: {} cannot be read: {error}",
                file.display()
            ));
            return ExitCode::from(2);
        }
    };
    let problems = match weir_artifact::read::requests(&text) {
        Ok(_) => return ExitCode::SUCCESS,
        Err(problems) => problems,
    };
    for mut problem in problems {
        let place = match problem.position.take() {
            Some(position) => format!("{}:{}:{}", file.display(), position.line, position.column),
            None => file.display().to_string(),
        };
        say(&format!("{place}: {}: {problem}", problem.code));
    }
    ExitCode::FAILURE
}

/// Writes a line to standard error; a closed one is nobody's loss.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// `FROM-TO`
fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let wrong = || format!("`{text}` is not a range of ports such as 40000-45000");
    let (from, to) = text.split_once('-').ok_or_else(wrong)?;
    let [from, to] = [from, to].map(|port| port.trim().parse::<u16>().map_err(|_| wrong()));
    match (from?, to?) {
        (from, to) if 0 < from && from <= to => Ok(from..=to),
        _ => Err(wrong()),
    }
}
