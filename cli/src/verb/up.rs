//! `weir up`: control, a gateway agent and a store in this process.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use anyhow::anyhow;
use clap::Args;
use weir_control::{DockerFlags, EventFlags};

use super::{Context, apply};
use crate::{
    args::{Global, Ports},
    client::Client,
    failure::{Failure, Source},
    logs,
    output::Output,
    signals::Signals,
    stack::{Settings, Stack},
};

/// Run control, a gateway agent and a store in this process.
///
/// For a laptop or a single edge host. Everything durable is in the data folder: after any end, also
/// kill -9, the next start goes on from there. Ctrl-C stops it (twice: at once).
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir up\n  weir up --data ./data --listen 127.0.0.1:9090 -f artifacts/\n  \
    weir up --gateway-address 0.0.0.0 --virtual-hosts 0.0.0.0:80\n\n\
    The variable WEIR_LOG sets what is logged: warn, info, weir_control=debug, ..."
)]
pub(crate) struct Up {
    /// Folder of everything durable; default: $XDG_DATA_HOME/weir or ~/.local/share/weir
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address of the API and the UI
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Address on which gateways listen; default: with --docker all addresses, so that containers reach them, else
    /// 127.0.0.1
    #[arg(long, value_name = "ADDRESS")]
    gateway_address: Option<IpAddr>,
    /// Name or address under which services reach gateways; default: with --docker the address of this host that
    /// containers reach, else 127.0.0.1
    #[arg(long, value_name = "HOST")]
    gateway_host: Option<String>,
    /// Threads of the proxy; default: one per processor
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// Let everybody who reaches the API do everything. Without this, an API on an address that is not a
    /// loopback address asks for a token
    #[arg(long)]
    no_authentication: bool,
    /// Leave instances running when this stops; the next start finds them again
    #[arg(long)]
    keep_instances: bool,
    /// Make processors and memory of scales limits for processes as well, where this may make control groups
    #[arg(long, env = "WEIR_LIMIT_PROCESSES")]
    limit_processes: bool,
    /// File or folder to apply at the start; may be repeated
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<String>,
    /// Ports and virtual hosts.
    #[command(flatten)]
    ports: Ports,
    /// Containers.
    #[command(flatten)]
    docker: DockerFlags,
    /// Events.
    #[command(flatten)]
    events: EventFlags,
}

pub(crate) async fn run(up: Up, global: Global, output: Output) -> Result<(), Failure> {
    let logs = logs::init("warn");
    let mut signals = Signals::new()?;
    let data_dir = match &up.data {
        Some(folder) => folder.clone(),
        None => default_data_dir()?,
    };
    // Faulty files are found before anything runs.
    let mut sources = Vec::new();
    for file in &up.files {
        sources.extend(Source::read_all(file)?);
    }
    let settings = Settings {
        data_dir: data_dir.clone(),
        listen: up.listen,
        gateway_address: up.gateway_address.unwrap_or(if up.docker.is_asked_for() {
            IpAddr::from([0, 0, 0, 0])
        } else {
            IpAddr::from([127, 0, 0, 1])
        }),
        gateway_host: match up.gateway_host {
            Some(host) => host,
            None => up.docker.gateway_host().await?,
        },
        docker: up.docker.choice(),
        virtual_hosts: up.ports.virtual_hosts,
        workers: up.workers.map(usize::from),
        keep_instances: up.keep_instances,
        limit_processes: up.limit_processes,
        events: up.events.retention(),
        gateway_ports: up.ports.gateway_ports,
        instance_ports: up.ports.instance_ports,
        authentication: !up.listen.ip().is_loopback() && !up.no_authentication,
        logs,
    };
    let stack = Box::pin(Stack::start(&settings)).await?;
    let told = tell(&stack, &settings, &output);
    let token_file = settings
        .authentication
        .then(|| settings.admin_token_file())
        .filter(|_| global.token.is_none() && global.token_file.is_none());
    let api = stack.api();
    let running = async {
        told?;
        let context = Context {
            client: Client::new(&Global {
                host: api,
                token_file: token_file.or(global.token_file),
                ..global
            })?,
            output,
        };
        for source in &sources {
            apply::one(&context, source).await?;
        }
        std::future::pending().await
    };
    let result = tokio::select! {
        result = running => result,
        () = signals.next() => Ok(()),
    };
    output.note(if up.keep_instances {
        "Stopping; instances stay. Ctrl-C again ends at once."
    } else {
        "Stopping, with all instances. Ctrl-C again ends at once."
    })?;
    tokio::select! {
        () = Box::pin(stack.shutdown()) => result,
        () = signals.next() => Err(Failure::Other(anyhow!(
            "ended before everything was stopped; the next start on {} finds what still runs",
            data_dir.display()
        ))),
    }
}

/// `$XDG_DATA_HOME/weir` or `~/.local/share/weir`.
fn default_data_dir() -> Result<PathBuf, Failure> {
    let variable = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    variable("XDG_DATA_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".local/share")))
        .map(|folder| folder.join("weir"))
        .ok_or_else(|| {
            Failure::Usage("neither XDG_DATA_HOME nor HOME is set; name a folder with --data".to_owned())
        })
}

fn tell(stack: &Stack, settings: &Settings, output: &Output) -> Result<(), Failure> {
    let api = stack.api();
    let weir = program();
    let mut host = if api == "http://127.0.0.1:8080" {
        String::new()
    } else {
        format!(" --host {api}")
    };
    let mut access = String::new();
    if settings.authentication {
        let file = settings.admin_token_file();
        host.push_str(&format!(" --token-file {}", file.display()));
        access = format!("\n  admin token {}", file.display());
    }
    output.note(&format!(
        "Weir {version} is up; Ctrl-C stops it.\n\n  \
         API and UI  {api}\n  \
         data        {data}{access}\n  \
         store       {store}  (for further agents on this host)\n  \
         metrics     http://{admin}/metrics\n\n\
         Next, in another terminal:\n  \
         {weir}{host} deploy FILE --wait\n  \
         {weir}{host} top\n  \
         {weir}{host} --help\n",
        version = env!("CARGO_PKG_VERSION"),
        data = settings.data_dir.display(),
        store = stack.store(),
        admin = stack.admin(),
    ))
}

/// This program as it was called, so that shown commands can be pasted.
pub(crate) fn program() -> String {
    std::env::args()
        .next()
        .filter(|name| {
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte))
        })
        .unwrap_or_else(|| "weir".to_owned())
}
