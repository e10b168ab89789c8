//! Side by side load tests: what a request costs here and elsewhere.
//!
//! `compare` starts each target (our agent, HAProxy, nginx, Envoy, a bare relay) pinned to one processor, the service and the
//! clients on the others, sends the same requests to each in turn, several rounds, and divides the processor time of the
//! proxy's processes, as the kernel accounts it, by the requests. Ratios of one run are comparable between machines; the
//! absolute figures are not.

mod backend;
mod case;
mod client;
mod connection;
mod measure;
mod relay;
mod report;
mod run;
mod stores;
mod target;
mod websocket;

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand};

/// What a request costs, here and elsewhere.
#[derive(Debug, Parser)]
#[command(name = "weir-loadtests", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs cases against every target that is installed and prints the ratios
    Compare(Compare),
    /// Times changes from the store to the traffic, on every store that is installed
    Stores(stores::Options),
    /// Lists the cases
    Cases,
    /// The service behind the proxies (started by `compare`)
    #[command(hide = true)]
    Backend {
        /// Length of the answer's body
        #[arg(long)]
        body_bytes: usize,
    },
    /// A relay that knows no HTTP: the floor (started by `compare`)
    #[command(hide = true)]
    Relay {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        to: SocketAddr,
    },
}

/// Options of `compare`.
#[derive(Clone, Debug, clap::Args)]
struct Compare {
    /// Only these cases
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// Only these targets: weir, haproxy, nginx, envoy, relay
    #[arg(long = "target", value_name = "NAME")]
    targets: Vec<String>,
    /// Rounds, of which the median counts
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// A tenth of the requests and three rounds: under 90 s
    #[arg(long)]
    quick: bool,
    /// Writes the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the results as a chart
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// An agent that is built already, instead of building it
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Compare(options) => run::compare(&options),
        Command::Stores(options) => {
            let agent = match &options.agent {
                Some(agent) => agent.clone(),
                None => run::build_agent()?,
            };
            stores::run(&options, &agent)
        }
        Command::Cases => run::list(),
        Command::Backend { body_bytes } => backend::serve(body_bytes),
        Command::Relay { listen, to } => relay::serve(listen, to),
    }
}
