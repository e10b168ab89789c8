//! `weir`: the program people type.
//!
//! **Job.** Every verb of the REST interface ([`verb`]), and everything in one process: `weir up`, `weir demo`.
//!
//! **Invariants.** Data goes to standard output, errors to standard error; exit codes have a meaning
//! ([`failure`]). Verbs need nothing but the REST interface.
//!
//! **Absent.** No logic of its own about artifacts or traffic: control decides, agents measure, this prints.

mod args;
mod client;
mod demo;
mod duration;
mod failure;
mod kind;
mod live;
mod logs;
mod output;
mod process;
mod signals;
mod stack;
mod traffic;
mod tree;
mod verb;
mod wait;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match verb::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            ExitCode::from(failure.exit_code())
        }
    }
}
