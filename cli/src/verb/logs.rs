//! `weir logs`: what instances write.

use clap::Args;
use futures::{StreamExt as _, stream::FuturesUnordered};
use serde_json::Value;

use super::{
    Context,
    instances::{Place, find},
    sse::Events,
};
use crate::{failure::Failure, output::Format, signals::Signals, tree};

/// Show what instances wrote, or follow what they write.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weir logs shop/front/front:1\n  weir logs shop --follow --lines 10")]
pub(crate) struct Logs {
    /// Which instances: as much of the name as is needed
    #[arg(value_name = "DEPLOYMENT[/CLUSTER[/SERVICE[/INSTANCE]]]")]
    what: String,
    /// Stay and print lines as they come, until the instances end
    #[arg(short, long)]
    follow: bool,
    /// How many past lines of each instance, at most 1000
    #[arg(short = 'n', long, default_value_t = 100, value_name = "COUNT")]
    lines: u64,
}

pub(crate) async fn run(context: &Context, logs: &Logs) -> Result<(), Failure> {
    let places = find(context, &logs.what).await?;
    let named = places.len() > 1;
    let lines = logs.lines.to_string();
    let query = [("lines", lines.as_str())];
    if !logs.follow {
        for place in &places {
            let found = context.client.get(&place.path("logs"), &query).await?;
            for line in found.as_array().into_iter().flatten() {
                show(context, place, line, named)?;
            }
        }
        return Ok(());
    }
    let query = [("lines", lines.as_str()), ("follow", "true")];
    let mut signals = Signals::new()?;
    let mut streams = Vec::with_capacity(places.len());
    for place in &places {
        let response = context.client.stream(&place.path("logs"), &query).await?;
        streams.push((place, Events::new(response)));
    }
    let mut waiting: FuturesUnordered<_> = streams
        .into_iter()
        .map(|(place, events)| next(place, events))
        .collect();
    loop {
        let came = tokio::select! {
            came = waiting.next() => came,
            () = signals.next() => return Ok(()),
        };
        let Some((place, events, event)) = came else {
            return Ok(());
        };
        match event? {
            Some((name, line)) if name == "log" => show(context, place, &line, named)?,
            Some((name, _)) if name == "end" => {
                context
                    .output
                    .note(&format!("instance {} has ended", place.instance))?;
                continue;
            }
            Some(_) => {}
            None => continue,
        }
        waiting.push(next(place, events));
    }
}

/// The next event of one of them.
async fn next(
    place: &Place,
    mut events: Events,
) -> (&Place, Events, Result<Option<(String, Value)>, Failure>) {
    let event = events.next().await;
    (place, events, event)
}

fn show(context: &Context, place: &Place, line: &Value, named: bool) -> Result<(), Failure> {
    if context.output.format == Format::Json {
        let mut line = line.clone();
        if let Some(fields) = line.as_object_mut() {
            fields.insert("instance".to_owned(), place.instance.clone().into());
        }
        return context.output.print(&line.to_string());
    }
    let text = tree::text(line, "/text");
    // What an instance writes must not steer the terminal.
    let text: String = text
        .chars()
        .map(|char| {
            if char.is_control() && char != '\t' {
                ' '
            } else {
                char
            }
        })
        .collect();
    context.output.print(&match named {
        true => format!("{}  {text}", place.instance),
        false => text,
    })
}
