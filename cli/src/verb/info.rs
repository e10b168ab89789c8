//! `weir info`: version and parts of control.

use std::fmt::Write as _;

use super::Context;
use crate::{failure::Failure, output::Format, tree};

pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let info = context.client.get("/info", &[]).await?;
    match context.output.format {
        Format::Yaml | Format::Json => return context.output.tree(&info),
        Format::Name => return context.output.print(context.client.root()),
        Format::Table => {}
    }
    let mut text = String::new();
    for (label, pointer) in [
        ("Message:", "/message"),
        ("Version:", "/version"),
        ("Instance:", "/uuid"),
        ("Running since:", "/running_since"),
        ("Artifacts:", "/persistence/database/type"),
        ("Store:", "/key_value/type"),
        ("Events:", "/pulse/type"),
        ("Instances by:", "/container_driver/type"),
    ] {
        let value = tree::text(&info, pointer);
        if !value.is_empty() {
            let _ = writeln!(text, "{label:<16}{value}");
        }
    }
    let _ = writeln!(text, "{:<16}{}", "Address:", context.client.root());
    let _ = writeln!(text, "{:<16}{}", "This program:", env!("CARGO_PKG_VERSION"));
    context.output.print(&text)
}
