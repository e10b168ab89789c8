//! `weir demo`: two versions of a service, a gateway that splits between them, and traffic, all here.

mod counts;
mod load;
mod phases;
mod ports;
pub(crate) mod service;
mod watch;

use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use clap::Args;
use reqwest::Method;

use crate::{
    args::Global,
    client::Client,
    duration,
    failure::{Failure, Source},
    logs,
    output::Output,
    process::{self, ProcessId},
    signals::Signals,
    stack::{Settings, Stack},
    verb::{Context, deploy, up::program},
};
use load::Load;

/// The blueprint as it is shipped.
const BLUEPRINT: &str = include_str!("../../../examples/demo/demo.yaml");
/// Port of the gateway in it.
const SHIPPED_PORT: &str = "9050";
/// Name of the deployment.
const DEPLOYMENT: &str = "demo";
/// The gateway that splits.
const GATEWAY: &str = "demo/front/web";
/// Variable that marks the processes of one demo; they end when it is gone.
pub(crate) const MARK: &str = "WEIR_DEMO_PROCESS";
/// Longest time until everything runs.
const START: Duration = Duration::from_secs(30);
/// Longest time for instances to be gone after they were stopped.
const GONE: Duration = Duration::from_secs(5);

/// See it work: two versions, traffic and a gateway, all in this process.
///
/// Everything is on free loopback ports and in a temporary folder; nothing is left behind. With --for, the
/// share of traffic is changed twice and every request is counted: the exit code is 0 only if the traffic
/// was split exactly as intended and no request failed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weir demo\n  weir demo --for 20s\n  weir demo --rate 200 --workers 2")]
pub(crate) struct Demo {
    /// Run through three phases in about this time, check them, and end
    #[arg(long = "for", value_parser = duration::parse, value_name = "DURATION")]
    duration: Option<Duration>,
    /// Threads of the proxy
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// Requests per second
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
}

/// What the parts of the demo share.
#[derive(Debug)]
struct Stage {
    context: Context,
    load: Load,
    /// External gateway.
    port: u16,
    rate: u32,
}

pub(crate) async fn run(demo: Demo, global: Global, output: Output) -> Result<(), Failure> {
    let logs = logs::init("error");
    let mut signals = Signals::new()?;
    let folder = tempfile::Builder::new()
        .prefix("weir-demo-")
        .tempdir()
        .context("cannot make a temporary folder")?;
    let ports = ports::Block::find()?;
    let own = ProcessId::own();
    let stack = Box::pin(Stack::start(&Settings {
        data_dir: folder.path().to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
        gateway_address: [127, 0, 0, 1].into(),
        gateway_host: "127.0.0.1".to_owned(),
        docker: weir_control::Docker::Off,
        virtual_hosts: None,
        workers: Some(usize::from(demo.workers)),
        limit_processes: false,
        events: weir_control::Retention::default(),
        keep_instances: false,
        gateway_ports: ports.gateways(),
        instance_ports: ports.instances(),
        authentication: false,
        logs,
    }))
    .await?;

    // The demo has a server of its own: host, token and namespace are for others.
    let client = Client::new(&Global {
        host: stack.api(),
        token: None,
        token_file: None,
        namespace: None,
        ..global
    });
    let interrupted = tokio::select! {
        result = Box::pin(async {
            let stage = Stage {
                context: Context { client: client?, output },
                load: Load::new(ports.external())?,
                port: ports.external(),
                rate: demo.rate,
            };
            play(&stage, &own, demo.duration).await
        }) => Some(result),
        () = signals.next() => None,
    };
    let finished = interrupted.unwrap_or_else(|| match demo.duration {
        None => Ok(()),
        Some(_) => Err(Failure::Other(anyhow!("interrupted"))),
    });
    let _ = output.note("Stopping everything ...");
    let forced = tokio::select! {
        () = Box::pin(stack.shutdown()) => false,
        () = signals.next() => true,
    };
    let cleaned = clean(&own, forced).await;
    drop(folder);
    finished?;
    cleaned?;
    if demo.duration.is_some() {
        output.note("All processes are gone. The demo did what it says.")?;
    }
    Ok(())
}

/// Waits until no process of this demo is left; ends what does not go.
async fn clean(own: &ProcessId, forced: bool) -> Result<(), Failure> {
    let began = Instant::now();
    let mark = own.to_string();
    let mut left = process::with_variable(MARK, &mark);
    while !left.is_empty() && !forced && began.elapsed() < GONE {
        tokio::time::sleep(Duration::from_millis(20)).await;
        left = process::with_variable(MARK, &mark);
    }
    if left.is_empty() {
        return Ok(());
    }
    for process in &left {
        process::kill(process);
    }
    if forced {
        return Err(Failure::Other(anyhow!("ended at once by a second signal")));
    }
    let pids: Vec<String> = left.iter().map(|process| process.pid.to_string()).collect();
    Err(Failure::Other(anyhow!(
        "instances were still running after everything was stopped and had to be killed: process {}",
        pids.join(", ")
    )))
}

/// Deploys, then watches or checks.
async fn play(stage: &Stage, own: &ProcessId, duration: Option<Duration>) -> Result<(), Failure> {
    let began = Instant::now();
    let source = Source {
        name: "examples/demo/demo.yaml".to_owned(),
        text: blueprint(own, stage.port)?.into(),
    };
    let client = &stage.context.client;
    client
        .send(Method::POST, "/deployments", source.text.to_string())
        .await
        .map_err(|error| source.blame(error))?;
    deploy::done(client, DEPLOYMENT, START).await?;
    watch::ready(stage, START).await?;
    introduce(stage, began.elapsed())?;
    match duration {
        Some(duration) => Box::pin(phases::run(stage, duration)).await,
        None => Box::pin(watch::run(stage)).await,
    }
}

/// The shipped blueprint with the places of this run.
fn blueprint(own: &ProcessId, port: u16) -> anyhow::Result<String> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let program = program
        .to_str()
        .filter(|path| !path.contains(['\n', '\'']))
        .context("the path of this program cannot be written into a command line")?;
    Ok(BLUEPRINT
        .replace("$WEIR_BIN", &format!("'{program}'"))
        .replace("$DEMO_PROCESS", &own.to_string())
        .replace(&format!("{SHIPPED_PORT}:"), &format!("{port}:")))
}

/// Addresses, and what to try.
fn introduce(stage: &Stage, took: Duration) -> Result<(), Failure> {
    let api = stage.context.client.root();
    let weir = format!("{} --host {api}", program());
    let port = stage.port;
    stage.context.output.note(&format!(
        "Two versions of a service are up after {ms} ms, with two processes each.\n\n  \
         Gateway  http://127.0.0.1:{port}/  (80% to demo:1, 20% to demo:2)\n  \
         API      {api}/api/v1\n  \
         UI       {api}/\n\n\
         Try, in another terminal:\n  \
         half and half:      {weir} weight {GATEWAY} demo:1=50 demo:2=50\n  \
         Firefox to demo:2:  {weir} condition {GATEWAY} demo:2 \"User-Agent == Firefox\"\n  \
         demo:2 away:        {weir} weight {GATEWAY} demo:1=100 demo:2=0 && {weir} undeploy demo --service demo:2\n",
        ms = took.as_millis(),
    ))
}

#[cfg(test)]
mod tests {
    use crate::process::ProcessId;

    #[test]
    fn the_shipped_blueprint_has_every_placeholder() {
        let own = ProcessId::own();
        let text = super::blueprint(&own, 12_345).unwrap();
        let text: String = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .map(|line| format!("{line}\n"))
            .collect();
        assert!(!text.contains('$'), "{text}");
        assert_eq!(text.matches("demo-service --version").count(), 2, "{text}");
        assert_eq!(text.matches(&own.to_string()).count(), 2, "{text}");
        assert!(text.contains("  12345: front/web"), "{text}");
        weir_artifact::read::deploy_request(&text).unwrap();
    }
}
