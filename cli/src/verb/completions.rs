//! `weir completions`: what a shell needs to complete commands.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::{args::Cli, failure::Failure, output::Output};

/// Print the completion script of a shell.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir completions bash > ~/.local/share/bash-completion/completions/weir")]
pub(crate) struct Completions {
    /// Which shell
    shell: Shell,
}

pub(crate) fn run(completions: &Completions, output: Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(completions.shell, &mut Cli::command(), "weir", &mut script);
    output.print(&String::from_utf8_lossy(&script))
}
