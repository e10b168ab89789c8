//! `weir-control`: the control service.

mod agents;

use std::{
    io::{IsTerminal as _, Write as _},
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};
use weir_control::{
    Checks, Config, Control, DockerFlags, EventFlags, LogFeed, Origins, Quota, Storage, TlsFiles,
};

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
    /// Make a token with the role admin, for whoever lost theirs. Control must not run meanwhile.
    AdminToken(AdminToken),
    /// Check a file of artifacts without a server; every document needs its `kind`.
    Check {
        /// File, or - for standard input
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    agents: agents::Agents,
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
    /// PostgreSQL database for artifacts and events instead of one in the data folder:
    /// postgres://USER:PASSWORD@HOST/DATABASE; several controls may share it
    #[arg(long, env = "WEIR_DATABASE", value_name = "URL", hide_env_values = true)]
    database: Option<String>,
    /// Store that carries snapshots to agents: etcd://, consul://, zk:// or weir://HOST:PORT, embedded:PATH; default:
    /// embedded, in the data folder
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
    /// Name or address under which services reach gateways; default: with --docker the address of this host that
    /// containers reach, else 127.0.0.1
    #[arg(long, env = "WEIR_GATEWAY_HOST", value_name = "HOST")]
    gateway_host: Option<String>,
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
    /// Make processors and memory of scales limits for processes as well, where control may make control groups
    #[arg(long, env = "WEIR_LIMIT_PROCESSES")]
    limit_processes: bool,
    /// Let pages from any origin use the API in browsers, not only those of this host
    #[arg(long, env = "WEIR_ANY_ORIGIN")]
    any_origin: bool,
    /// Let everybody do everything, without asking for a token
    #[arg(long, env = "WEIR_NO_AUTHENTICATION")]
    no_authentication: bool,
    /// File for the admin's token that the first start makes; default: it is printed
    #[arg(long, env = "WEIR_ADMIN_TOKEN_FILE", value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
    /// Certificate of the API (a PEM file with the chain): https instead of http. Read again when it changes
    #[arg(long, env = "WEIR_TLS_CERTIFICATE", value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Private key of that certificate (a PEM file)
    #[arg(long, env = "WEIR_TLS_KEY", value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// HOST, HOST:PORT, or * that /proxy/host/... may reach beside what is managed here; may be repeated
    #[arg(
        long = "proxy-host",
        env = "WEIR_PROXY_HOSTS",
        value_name = "HOST",
        value_delimiter = ','
    )]
    proxy_hosts: Vec<String>,
    /// Seconds without an event after which a stream says that it is alive
    #[arg(long, env = "WEIR_SSE_HEARTBEAT", value_name = "SECONDS", default_value_t = 15,
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    sse_heartbeat: u64,
    #[command(flatten)]
    deploying: Deploying,
    /// Events.
    #[command(flatten)]
    events: EventFlags,
    /// Log as JSON
    #[arg(long, env = "WEIR_LOG_JSON")]
    log_json: bool,
    /// Containers.
    #[command(flatten)]
    docker: DockerFlags,
}

/// How instances come and go, and how many there may be.
#[derive(Debug, Args)]
struct Deploying {
    /// Longest time in seconds for requests under way to end before their instance is stopped
    #[arg(
        long,
        env = "WEIR_DRAIN_TIMEOUT",
        value_name = "SECONDS",
        default_value_t = 30
    )]
    drain_timeout: u64,
    /// Seconds after which an instance whose health checks fail is replaced; 0: never
    #[arg(
        long,
        env = "WEIR_UNHEALTHY_TIMEOUT",
        value_name = "SECONDS",
        default_value_t = 60
    )]
    unhealthy_timeout: u64,
    /// Replace instances when their processors change
    #[arg(long, env = "WEIR_CHECK_CPU")]
    check_cpu: bool,
    /// Replace instances when their memory changes
    #[arg(long, env = "WEIR_CHECK_MEMORY")]
    check_memory: bool,
    /// Replace instances when their health checks change
    #[arg(long, env = "WEIR_CHECK_HEALTH_CHECKS")]
    check_health_checks: bool,
    /// Most instances of all deployments together
    #[arg(long, env = "WEIR_QUOTA_INSTANCES", value_name = "COUNT")]
    quota_instances: Option<u64>,
    /// Most processors of all deployments together
    #[arg(long, env = "WEIR_QUOTA_CPU", value_name = "PROCESSORS")]
    quota_cpu: Option<f64>,
    /// Most memory of all deployments together, in megabytes
    #[arg(long, env = "WEIR_QUOTA_MEMORY", value_name = "MEGABYTES")]
    quota_memory: Option<f64>,
    /// Refuse deployments that together ask for more than the driver has
    #[arg(long, env = "WEIR_ENFORCE_CAPACITY")]
    enforce_capacity: bool,
    /// Seconds between two looks at the promises (SLAs) of clusters; 0: never
    #[arg(long, env = "WEIR_SLA_PERIOD", value_name = "SECONDS", default_value_t = 5)]
    sla_period: u64,
}

impl Deploying {
    fn set(&self, config: &mut Config) {
        config.drain_timeout = Duration::from_secs(self.drain_timeout);
        config.unhealthy_timeout = Duration::from_secs(self.unhealthy_timeout);
        config.checks = Checks {
            cpu: self.check_cpu,
            memory: self.check_memory,
            health_checks: self.check_health_checks,
        };
        config.quota = Quota {
            instances: self.quota_instances,
            cpu: self.quota_cpu,
            memory_mb: self.quota_memory,
        };
        config.enforce_capacity = self.enforce_capacity;
        config.sla_period = Duration::from_secs(self.sla_period);
    }
}

#[derive(Debug, Args)]
struct AdminToken {
    /// Folder of the database
    #[arg(
        long,
        env = "WEIR_DATA",
        value_name = "FOLDER",
        default_value = ".weir/control"
    )]
    data: PathBuf,
    /// Name of the token, which must be new
    #[arg(long)]
    name: String,
}

fn main() -> ExitCode {
    match Arguments::parse().verb {
        Verb::Check { file } => check(&file),
        Verb::Run(run) => serve(*run),
        Verb::AdminToken(asked) => admin_token(&asked),
    }
}

fn serve(run: Run) -> ExitCode {
    let filter = || EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let log = if run.log_json {
        log.json().with_filter(filter()).boxed()
    } else {
        log.with_filter(filter()).boxed()
    };
    let logs = LogFeed::new();
    tracing_subscriber::registry()
        .with(log)
        .with(logs.layer().with_filter(filter()))
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = runtime
        .context("the runtime cannot be started")
        .and_then(|runtime| runtime.block_on(until_told(run, logs)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("weir-control: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn until_told(run: Run, logs: LogFeed) -> anyhow::Result<()> {
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
    if let Some(url) = run.database {
        config.storage = Storage::Postgres(url);
    }
    config.listen = run.listen;
    config.prefix = run.prefix.unwrap_or_else(|| format!("vamp/{}", run.namespace));
    config.namespace = run.namespace;
    config.gateway_host = match run.gateway_host {
        Some(host) => host,
        None => run.docker.gateway_host().await?,
    };
    config.docker = run.docker.choice();
    config.limit_processes = run.limit_processes;
    config.gateway_address = run.gateway_address;
    config.gateway_ports = run.gateway_ports;
    config.instance_ports = run.instance_ports;
    config.keep_instances = true;
    config.origins = if run.any_origin {
        Origins::Any
    } else {
        Origins::Local
    };
    config.election = run.share_store.is_some();
    run.agents.apply(&mut config)?;
    config.authentication = !run.no_authentication;
    config.admin_token_file.clone_from(&run.admin_token_file);
    config.tls = run
        .tls_certificate
        .zip(run.tls_key)
        .map(|(certificate, key)| TlsFiles { certificate, key });
    run.deploying.set(&mut config);
    config.events = run.events.retention();
    config.proxied_hosts = run.proxy_hosts;
    config.sse_heartbeat = Duration::from_secs(run.sse_heartbeat);
    config.logs = Some(logs);
    let control = Control::start(config).await?;
    if let Some(token) = control.first_token() {
        match &run.admin_token_file {
            Some(file) => tracing::info!(file = %file.display(), "the admin's token is in this file"),
            None => tell(&format!(
                "This is the admin's token. It is shown this once; keep it, and give it to `weir` as WEIR_TOKEN:\n\n  \
                 {token}\n"
            )),
        }
    }
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

/// Makes a token in the database, without a service.
fn admin_token(asked: &AdminToken) -> ExitCode {
    let made = || -> anyhow::Result<String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let config = Config::new(&asked.data, weir_store::connect("memory:")?);
        runtime.block_on(Control::make_admin_token(config, &asked.name))
    };
    match made() {
        Ok(token) => {
            tell(&token);
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&format!("weir-control: {error:#}"));
            ExitCode::FAILURE
        }
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

/// Writes a line to standard output.
fn tell(line: &str) {
    let mut output = std::io::stdout().lock();
    if writeln!(output, "{line}").and_then(|()| output.flush()).is_err() {
        say("weir-control: standard output is closed; a token was not shown");
    }
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
