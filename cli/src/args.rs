//! What can be typed.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{duration, output::Format, verb};

/// Exit codes, as the help shows them.
const EXIT_CODES: &str = "Exit codes: 0 success, 1 general, 2 usage, 3 not found, 4 validation, \
5 server error, 6 timeout or no connection.";

/// Release software versions to real traffic, and take them back.
///
/// Start with `weir demo` (everything in one process, with traffic), or `weir up` and then
/// `weir deploy FILE`.
#[derive(Debug, Parser)]
#[command(name = "weir", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    /// Options that every verb has.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every verb has.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every verb")]
pub(crate) struct Global {
    /// Address of control; may end in `/` or `/api/v1`
    #[arg(
        long,
        global = true,
        env = "VAMP_HOST",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    pub(crate) host: String,
    /// Access token (also: environment variable VAMP_API_TOKEN)
    #[arg(
        long,
        global = true,
        env = "WEIR_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    pub(crate) token: Option<String>,
    /// File with the access token; unlike an option, nobody sees it in the list of processes
    #[arg(
        long,
        global = true,
        env = "WEIR_TOKEN_FILE",
        value_name = "FILE",
        conflicts_with = "token"
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// Certificates (PEM) that may have signed control's; default: those of the system
    #[arg(long, global = true, env = "WEIR_CA_FILE", value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Namespace, when control has another one than its default
    #[arg(long, global = true, env = "VAMP_NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// Longest wait for an answer, and for whatever `--wait` waits for
    #[arg(long, global = true, default_value = "30s", value_parser = duration::parse, value_name = "DURATION")]
    pub(crate) timeout: Duration,
    /// How to print what was found
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value = "table",
        value_name = "FORMAT"
    )]
    pub(crate) output: Format,
    /// The same as -o json
    #[arg(long, global = true, conflicts_with = "output")]
    pub(crate) json: bool,
    /// Never use colours (also: environment variable NO_COLOR)
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
    /// Print data and errors only
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Exit with 0 whatever happens, as Vamp's second command line did
    #[arg(long, global = true)]
    pub(crate) legacy_exit_codes: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Apply(verb::apply::Apply),
    #[command(visible_alias = "list")]
    Get(verb::get::Get),
    Describe(verb::describe::Describe),
    Inspect(verb::get::Inspect),
    Create(verb::create::Create),
    Update(verb::create::Update),
    Diff(verb::diff::Diff),
    Generate(verb::generate::Generate),
    #[command(visible_alias = "remove")]
    Delete(verb::delete::Delete),
    Deploy(verb::deploy::Deploy),
    Merge(verb::merge::Merge),
    Status(verb::status::Status),
    Undeploy(verb::undeploy::Undeploy),
    Scale(verb::scale::Scale),
    Weight(verb::weight::Weight),
    Condition(verb::condition::Condition),
    UpdateGateway(verb::update_gateway::UpdateGateway),
    Top(verb::top::Top),
    Events(verb::events::Events),
    Emit(verb::emit::Emit),
    Logs(verb::logs::Logs),
    Exec(verb::exec::Exec),
    /// List the gateway agents and which generation they serve
    Agents,
    #[command(visible_alias = "validate")]
    Check(verb::check::Check),
    Token(verb::token::Token),
    Backup(verb::backup::Backup),
    Restore(verb::backup::Restore),
    /// Show version and parts of control
    Info,
    /// Show the version of this program
    Version,
    Up(verb::up::Up),
    Demo(crate::demo::Demo),
    Completions(verb::completions::Completions),
    #[command(hide = true)]
    DemoService(crate::demo::service::DemoService),
}

/// Where the parts of a whole in one process listen.
#[derive(Clone, Debug, Args)]
pub(crate) struct Ports {
    /// Ports for gateways that ask for none, first to last
    #[arg(long, default_value = "40000-45000", value_parser = port_range, value_name = "FIRST-LAST")]
    pub(crate) gateway_ports: (u16, u16),
    /// Ports for instances, first to last
    #[arg(long, default_value = "45001-49000", value_parser = port_range, value_name = "FIRST-LAST")]
    pub(crate) instance_ports: (u16, u16),
    /// Address on which gateways are also reached by host name (virtual hosts)
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) virtual_hosts: Option<SocketAddr>,
}

/// Reads `40000-45000`.
fn port_range(text: &str) -> Result<(u16, u16), String> {
    let wrong = || format!("`{text}` is not a range of ports; write it as 40000-45000");
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let first: u16 = first.trim().parse().map_err(|_| wrong())?;
    let last: u16 = last.trim().parse().map_err(|_| wrong())?;
    if first == 0 || first > last {
        return Err(wrong());
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::{Cli, port_range};

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn ranges_of_ports() {
        assert_eq!(port_range("40000-45000"), Ok((40000, 45000)));
        for wrong in ["", "1", "9-8", "0-5", "1-70000", "a-b"] {
            assert!(port_range(wrong).is_err(), "{wrong}");
        }
    }
}
