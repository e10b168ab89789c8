//! How answers are printed: data to standard output, in the chosen form.

mod describe;
mod list;
mod table;

use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use serde_json::Value;

pub(crate) use describe::{deployment, gateway, other};
pub(crate) use list::{condition, list, route_label, service_status};
pub(crate) use table::Table;

use crate::{args::Global, failure::Failure, kind::Kind, tree};

/// How to print what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// As Vamp prints artifacts.
    Yaml,
    /// For programs.
    Json,
    /// `kind/name`, a line each.
    Name,
}

/// Where and how to print.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// Form of data.
    pub(crate) format: Format,
    /// Whether standard output may have colours.
    pub(crate) color: bool,
    /// Data and errors only.
    pub(crate) quiet: bool,
}

impl Output {
    /// As the options and the terminal say.
    pub(crate) fn new(global: &Global) -> Self {
        let plain = global.no_color || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            format: if global.json { Format::Json } else { global.output },
            color: !plain && io::stdout().is_terminal(),
            quiet: global.quiet,
        }
    }

    /// Prints data.
    pub(crate) fn print(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        if !text.is_empty() && !text.ends_with('\n') {
            out.write_all(b"\n")?;
        }
        out.flush()?;
        Ok(())
    }

    /// Prints what was done, for people. Not a part of data: goes to standard error when data is for programs.
    pub(crate) fn note(&self, text: &str) -> Result<(), Failure> {
        if self.quiet {
            return Ok(());
        }
        if self.format == Format::Table {
            return self.print(text);
        }
        // A note that cannot be shown changes nothing.
        let _ = writeln!(io::stderr().lock(), "{}", text.trim_end_matches('\n'));
        Ok(())
    }

    /// Prints a table with a bold header.
    pub(crate) fn table(&self, table: &Table) -> Result<(), Failure> {
        self.print(&table.render(self.color))
    }

    /// Prints a tree as YAML or JSON.
    pub(crate) fn tree(&self, value: &Value) -> Result<(), Failure> {
        match self.format {
            Format::Json => {
                let text = serde_json::to_string_pretty(value).map_err(anyhow::Error::new)?;
                self.print(&text)
            }
            Format::Yaml | Format::Table | Format::Name => self.print(&weir_artifact::write::yaml(value)),
        }
    }

    /// Prints artifacts of one kind.
    pub(crate) fn artifacts(&self, kind: Kind, artifacts: &[Value]) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.table(&list(kind, artifacts)),
            Format::Name => {
                let lines: String = artifacts
                    .iter()
                    .map(|artifact| format!("{kind}/{}\n", tree::name(artifact)))
                    .collect();
                self.print(&lines)
            }
            Format::Yaml | Format::Json => self.tree(&Value::Array(artifacts.to_vec())),
        }
    }
}
