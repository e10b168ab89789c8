//! The verbs, a module each.

pub(crate) mod agents;
pub(crate) mod apply;
pub(crate) mod backup;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod condition;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod deploy;
pub(crate) mod describe;
pub(crate) mod diff;
pub(crate) mod emit;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod generate;
pub(crate) mod get;
pub(crate) mod info;
mod input;
mod instances;
pub(crate) mod logs;
pub(crate) mod merge;
pub(crate) mod route;
pub(crate) mod scale;
mod sse;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod top;
pub(crate) mod undeploy;
pub(crate) mod up;
pub(crate) mod update_gateway;
pub(crate) mod weight;

use std::future::Future;

use crate::{
    args::{Cli, Command},
    client::Client,
    demo,
    failure::Failure,
    output::Output,
};

/// What verbs that talk to control need.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// Control.
    pub(crate) client: Client,
    /// Where answers go.
    pub(crate) output: Output,
}

/// Does what was typed.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    let output = Output::new(&cli.global);
    match cli.command {
        Command::Up(up) => return wide(up::run(up, cli.global, output)),
        Command::Demo(demo) => return wide(demo::run(demo, cli.global, output)),
        Command::Restore(restore) => return narrow(backup::restore(restore, output)),
        Command::DemoService(service) => return narrow(demo::service::run(service)),
        Command::Check(check) => return check::run(&check, output),
        Command::Completions(completions) => return completions::run(&completions, output),
        Command::Version => return output.print(concat!("CLI version: ", env!("CARGO_PKG_VERSION"))),
        _ => {}
    }
    let context = Context {
        client: Client::new(&cli.global)?,
        output,
    };
    narrow(async move {
        match cli.command {
            Command::Apply(apply) => apply::run(&context, &apply).await,
            Command::Get(get) => get::run(&context, &get).await,
            Command::Describe(describe) => describe::run(&context, &describe).await,
            Command::Inspect(inspect) => get::inspect(&context, &inspect).await,
            Command::Create(create) => create::create(&context, &create).await,
            Command::Update(update) => create::update(&context, &update).await,
            Command::Diff(diff) => diff::run(&context, &diff).await,
            Command::Generate(generate) => generate::run(&context, &generate).await,
            Command::UpdateGateway(update) => update_gateway::run(&context, update).await,
            Command::Emit(emit) => emit::run(&context, &emit).await,
            Command::Delete(delete) => delete::run(&context, &delete).await,
            Command::Deploy(deploy) => deploy::run(&context, &deploy).await,
            Command::Merge(merge) => merge::run(&context, merge).await,
            Command::Status(status) => status::run(&context, &status).await,
            Command::Logs(logs) => logs::run(&context, &logs).await,
            Command::Exec(exec) => exec::run(&context, &exec).await,
            Command::Undeploy(undeploy) => undeploy::run(&context, &undeploy).await,
            Command::Scale(scale) => scale::run(&context, &scale).await,
            Command::Weight(weight) => weight::run(&context, &weight).await,
            Command::Condition(condition) => condition::run(&context, &condition).await,
            Command::Top(top) => top::run(&context, &top).await,
            Command::Events(events) => events::run(&context, &events).await,
            Command::Backup(asked) => backup::backup(&context, &asked).await,
            Command::Agents => agents::run(&context).await,
            Command::Token(token) => token::run(&context, &token).await,
            Command::Info => info::run(&context).await,
            Command::Check(_)
            | Command::Completions(_)
            | Command::Version
            | Command::Up(_)
            | Command::Demo(_)
            | Command::Restore(_)
            | Command::DemoService(_) => Ok(()),
        }
    })
}

/// Runs on this thread.
fn narrow(future: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(Box::pin(future))
}

/// Runs on several threads, for the verbs that are servers.
fn wide(future: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let result = runtime.block_on(Box::pin(future));
    // Whatever still runs was asked to end long ago.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result
}
