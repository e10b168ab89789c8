//! Results for people and programs.

use std::{collections::BTreeMap, fmt::Write as _};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::measure::Spread;

/// What one round of one target gave.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// What the case measures.
    pub(crate) value: f64,
    pub(crate) user: f64,
    pub(crate) system: f64,
    pub(crate) rate: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) errors: u64,
}

/// Results of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: String,
    pub(crate) commit: String,
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) cases: Vec<Row>,
}

/// One case against one peer.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) title: String,
    pub(crate) unit: &'static str,
    pub(crate) peer: String,
    pub(crate) peer_version: String,
    pub(crate) ours: Spread,
    pub(crate) theirs: Spread,
    /// Ours divided by theirs, round by round (CPU, or memory where the case measures that).
    pub(crate) cpu_ratio: Spread,
    pub(crate) ours_user: Option<Spread>,
    pub(crate) ours_system: Option<Spread>,
    pub(crate) ours_rate: Option<Spread>,
    pub(crate) ours_p50_us: Option<Spread>,
    pub(crate) theirs_p50_us: Option<Spread>,
    pub(crate) ours_p99_us: Option<Spread>,
    pub(crate) theirs_p99_us: Option<Spread>,
    pub(crate) errors: u64,
}

/// Prints the results.
#[expect(clippy::print_stdout, reason = "that is what the command is for")]
pub(crate) fn table(results: &Results) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header([
        "case",
        "peer",
        "ours / theirs",
        "min",
        "max",
        "ours",
        "theirs",
        "p99 µs",
        "theirs",
        "errors",
    ]);
    for row in &results.cases {
        let p99 = |spread: &Option<Spread>| {
            spread.map_or_else(String::new, |spread| format!("{:.0}", spread.median))
        };
        table.add_row([
            row.case.clone(),
            row.peer.clone(),
            format!("{:.2}", row.cpu_ratio.median),
            format!("{:.2}", row.cpu_ratio.min),
            format!("{:.2}", row.cpu_ratio.max),
            format!("{:.1}", row.ours.median),
            format!("{:.1}", row.theirs.median),
            p99(&row.ours_p99_us),
            p99(&row.theirs_p99_us),
            row.errors.to_string(),
        ]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    println!(
        "CPU in µs per request (idle: bytes per connection; cold: KiB), medians; {}",
        results.machine
    );
    for (name, version) in &results.versions {
        println!("  {name}: {version}");
    }
}

/// The ratios as bars around 1.
pub(crate) fn chart(results: &Results) -> String {
    const ROW: usize = 26;
    const LEFT: f64 = 230.0;
    const UNIT: f64 = 260.0;
    let height = 50 + ROW * results.cases.len();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"760\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"10\" y=\"20\" font-weight=\"bold\">Ours divided by theirs: left of the line is cheaper (median, whisker from least to most)</text>\n"
    );
    let x = |ratio: f64| LEFT + ratio.min(1.9) * UNIT;
    for (index, row) in results.cases.iter().enumerate() {
        let y = 36 + index * ROW;
        let mid = y + 8;
        let colour = if row.cpu_ratio.median <= 1.0 {
            "#2a9d8f"
        } else {
            "#c0392b"
        };
        let _ = writeln!(
            svg,
            "<text x=\"10\" y=\"{}\">{} / {}</text><rect x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"16\" fill=\"{colour}\"/>\
             <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{mid}\" y2=\"{mid}\" stroke=\"#333\"/><text x=\"{:.1}\" y=\"{}\">{:.2}</text>",
            y + 13,
            row.case,
            row.peer,
            row.cpu_ratio.median.min(1.9) * UNIT,
            x(row.cpu_ratio.min),
            x(row.cpu_ratio.max),
            x(row.cpu_ratio.max) + 6.0,
            y + 13,
            row.cpu_ratio.median,
        );
    }
    let _ = writeln!(
        svg,
        "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"28\" y2=\"{height}\" stroke=\"#0b5c7a\" stroke-dasharray=\"4\"/>\n</svg>",
        x(1.0)
    );
    svg
}
