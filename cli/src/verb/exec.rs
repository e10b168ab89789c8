//! `weir exec`: a command inside of an instance.

use std::io::{IsTerminal as _, Read as _, Write as _};

use clap::Args;
use serde_json::json;

use super::{Context, instances::find, sse::Events};
use crate::{failure::Failure, signals::Signals, tree};

/// Longest input in bytes.
const INPUT_BYTES_MAX: u64 = 1024 * 1024;

/// Run a command inside of an instance, where the driver can.
///
/// What the command writes is written here; a command that fails is a failure of this program. Of several instances the
/// first is taken.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir exec shop/front/front:1 -- env\n  echo 'select 1' | weir exec -i shop/db -- psql"
)]
pub(crate) struct Exec {
    /// Which instance: as much of the name as is needed
    #[arg(value_name = "DEPLOYMENT[/CLUSTER[/SERVICE[/INSTANCE]]]")]
    what: String,
    /// Give the command what is read from standard input, up to 1 MiB
    #[arg(short, long)]
    input: bool,
    /// Program and arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(crate) async fn run(context: &Context, exec: &Exec) -> Result<(), Failure> {
    let mut places = find(context, &exec.what).await?;
    let place = places.remove(0);
    let mut body = json!({"command": exec.command});
    if exec.input && !std::io::stdin().is_terminal() {
        let mut text = String::new();
        std::io::stdin()
            .lock()
            .take(INPUT_BYTES_MAX)
            .read_to_string(&mut text)?;
        body["input"] = text.into();
    }
    let mut signals = Signals::new()?;
    let response = context.client.stream_of(&place.path("exec"), &body).await?;
    let mut events = Events::new(response);
    loop {
        let event = tokio::select! {
            event = events.next() => event?,
            () = signals.next() => return Ok(()),
        };
        let Some((name, data)) = event else {
            return Err(Failure::Other(anyhow::anyhow!(
                "the stream ended before the command did"
            )));
        };
        match name.as_str() {
            "output" => {
                let text = tree::text(&data, "/text");
                if tree::text(&data, "/stream") == "stderr" {
                    std::io::stderr().lock().write_all(text.as_bytes())?;
                } else {
                    let mut out = std::io::stdout().lock();
                    out.write_all(text.as_bytes())?;
                    out.flush()?;
                }
            }
            "end" => {
                return match data.pointer("/code").and_then(serde_json::Value::as_i64) {
                    Some(0) => Ok(()),
                    Some(code) => Err(Failure::Other(anyhow::anyhow!(
                        "the command ended with code {code}"
                    ))),
                    None => Err(Failure::Other(anyhow::anyhow!(
                        "it is not known how the command ended"
                    ))),
                };
            }
            _ => {}
        }
    }
}
