//! `weir events`: what happened, and what happens.

use clap::Args;
use futures::StreamExt as _;
use serde_json::Value;

use super::Context;
use crate::{
    failure::Failure,
    output::{Format, Table},
    signals::Signals,
    tree,
};

/// Show what happened, newest last, or follow what happens.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weir events --tag gateways:shop/9050\n  \
    weir events --follow --type synchronization\n  weir events --follow -o json")]
pub(crate) struct Events {
    /// Stay and print events as they come
    #[arg(short, long)]
    follow: bool,
    /// Only events with this tag; may be repeated, all must be there
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Only events of this type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// How many past events
    #[arg(short = 'n', long, default_value_t = 30, value_name = "COUNT")]
    last: usize,
}

/// Longest line of a stream in bytes; a longer one ends it.
const LINE_MAX: usize = 4 * 1024 * 1024;

pub(crate) async fn run(context: &Context, events: &Events) -> Result<(), Failure> {
    let mut query: Vec<(&str, &str)> = events.tag.iter().map(|tag| ("tag", tag.as_str())).collect();
    query.extend(events.kind.as_deref().map(|kind| ("type", kind)));
    if events.follow {
        return follow(context, &query).await;
    }
    let mut past = Vec::new();
    let mut page = 1;
    while past.len() < events.last {
        let number = page.to_string();
        let mut with_page = query.clone();
        with_page.push(("page", &number));
        with_page.push(("per_page", "30"));
        let value = context.client.get("/events", &with_page).await?;
        let Value::Array(some) = value else { break };
        let count = some.len();
        past.extend(some);
        if count < 30 {
            break;
        }
        page += 1;
    }
    past.truncate(events.last);
    past.reverse();
    match context.output.format {
        Format::Yaml | Format::Json => context.output.tree(&Value::Array(past)),
        Format::Name => {
            let ids: String = past
                .iter()
                .map(|event| format!("{}\n", tree::text(event, "/id")))
                .collect();
            context.output.print(&ids)
        }
        Format::Table => {
            let mut table = Table::new(&["TIME", "TYPE", "TAGS", "VALUE"]);
            for event in &past {
                table.row(cells(event).to_vec());
            }
            context.output.table(&table)
        }
    }
}

/// Longest value shown in a table, in characters.
const VALUE_SHOWN_MAX: usize = 80;

fn cells(event: &Value) -> [String; 4] {
    let tags: Vec<String> = tree::elements(event, "/tags").map(tree::scalar).collect();
    let value: String = tree::text(event, "/value")
        .chars()
        .take(VALUE_SHOWN_MAX)
        .collect();
    [
        tree::text(event, "/timestamp"),
        tree::text(event, "/type"),
        // `a:b` is also indexed as `a`: only the longer says something.
        tags.iter()
            .filter(|tag| {
                !tags.iter().any(|other| {
                    other
                        .strip_prefix(tag.as_str())
                        .is_some_and(|rest| rest.starts_with(':'))
                })
            })
            .cloned()
            .collect::<Vec<_>>()
            .join(" "),
        value,
    ]
}

async fn follow(context: &Context, query: &[(&str, &str)]) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let response = context.client.stream("/events/stream", query).await?;
    let mut bytes = response.bytes_stream();
    let mut buffer: Vec<u8> = Vec::new();
    loop {
        let chunk = tokio::select! {
            chunk = bytes.next() => chunk,
            () = signals.next() => return Ok(()),
        };
        let Some(chunk) = chunk else {
            return Err(Failure::Other(anyhow::anyhow!("the server ended the stream")));
        };
        let chunk = chunk.map_err(|error| {
            Failure::Other(anyhow::Error::new(error.without_url()).context("the stream of events broke off"))
        })?;
        buffer.extend_from_slice(&chunk);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            if let Some(event) = data(&line) {
                show(context, &event)?;
            }
        }
        if buffer.len() > LINE_MAX {
            return Err(Failure::Other(anyhow::anyhow!(
                "an event is longer than {LINE_MAX} bytes"
            )));
        }
    }
}

/// The event of a `data:` line; comments, names and empty lines give nothing.
fn data(line: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(line).ok()?;
    serde_json::from_str(text.strip_prefix("data:")?.trim()).ok()
}

fn show(context: &Context, event: &Value) -> Result<(), Failure> {
    match context.output.format {
        Format::Json => {
            let line = serde_json::to_string(event).map_err(anyhow::Error::new)?;
            context.output.print(&line)
        }
        Format::Yaml => context
            .output
            .print(&format!("---\n{}", weir_artifact::write::yaml(event))),
        Format::Name => context.output.print(&tree::text(event, "/id")),
        Format::Table => context.output.print(&cells(event).join("  ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{cells, data};

    #[test]
    fn only_data_lines_are_events() {
        assert_eq!(
            data(b"data: {\"type\":\"event\"}\n"),
            Some(json!({"type": "event"}))
        );
        assert_eq!(data(b"data:{}\r\n"), Some(json!({})));
        for other in [
            &b": heartbeat\n"[..],
            b"event: event\n",
            b"\n",
            b"data: {\n",
            b"\xff\n",
        ] {
            assert_eq!(data(other), None);
        }
    }

    #[test]
    fn expanded_tags_are_left_out() {
        let event =
            json!({"tags": ["gateways:a", "gateways", "deployed"], "type": "event", "value": {"a": 1}});
        assert_eq!(cells(&event)[2], "gateways:a deployed");
        assert_eq!(cells(&event)[3], "{\"a\":1}");
    }
}
