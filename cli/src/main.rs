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
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing can be done when even that cannot be shown.
            let _ = error.print();
            let legacy = std::env::args_os().any(|argument| argument == "--legacy-exit-codes");
            return exit(legacy, u8::try_from(error.exit_code()).unwrap_or(1));
        }
    };
    let legacy = cli.global.legacy_exit_codes;
    match verb::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            exit(legacy, failure.exit_code())
        }
    }
}

fn exit(legacy: bool, code: u8) -> ExitCode {
    match legacy {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(code),
    }
}
