//! The demo without an end: traffic, and the table of what it does.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::anyhow;

use super::{DEPLOYMENT, GATEWAY, Stage, counts::Counts};
use crate::{
    failure::Failure,
    live::{Keys, Screen},
    traffic::{self, Traffic},
};

/// Requests that are counted together.
const BATCH: u64 = 50;
/// Between two looks while waiting.
const POLL: Duration = Duration::from_millis(25);

/// Waits until the agent serves every instance behind both gateways.
pub(crate) async fn ready(stage: &Stage, at_most: Duration) -> Result<(), Failure> {
    let began = Instant::now();
    let external = format!("{DEPLOYMENT}/{}", stage.port);
    loop {
        let traffic = traffic::read(&stage.context.client, None, traffic::WINDOW_S).await?;
        if serves(&traffic, &external) && serves(&traffic, GATEWAY) {
            return Ok(());
        }
        if began.elapsed() >= at_most {
            return Err(Failure::TimedOut(format!(
                "the gateways are not served after {at_most:?}:\n{}",
                traffic::render(&traffic, false)
            )));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn serves(traffic: &Traffic, name: &str) -> bool {
    traffic.gateways.iter().any(|gateway| {
        gateway.name == name
            && !gateway.agents.is_empty()
            && gateway.agents.iter().all(|agent| agent.current)
            && !gateway.routes.is_empty()
            && gateway.routes.iter().all(|route| {
                route.acknowledged == Some(route.intended)
                    && (name != GATEWAY
                        || route.instances.len() == 2
                            && route
                                .instances
                                .iter()
                                .all(|instance| instance.healthy != Some(false)))
            })
    })
}

/// What the clients have seen.
#[derive(Debug, Default)]
struct Seen {
    all: Counts,
    last: Counts,
}

/// Sends traffic and draws the table until something ends it.
pub(crate) async fn run(stage: &Stage) -> Result<(), Failure> {
    let seen = Mutex::new(Seen::default());
    let mut keys = Keys::new();
    tokio::select! {
        never = traffic_without_end(stage, &seen) => never,
        drawn = draw(stage, &seen) => drawn,
        () = keys.quit() => Ok(()),
    }
}

async fn traffic_without_end(stage: &Stage, seen: &Mutex<Seen>) -> Result<(), Failure> {
    let mut number = 0;
    loop {
        let counts = stage.load.send(number, BATCH, stage.rate).await;
        number += BATCH;
        let mut seen = seen
            .lock()
            .map_err(|_| Failure::Other(anyhow!("the counts were lost")))?;
        seen.all.add(&counts);
        seen.last = counts;
    }
}

async fn draw(stage: &Stage, seen: &Mutex<Seen>) -> Result<(), Failure> {
    let output = stage.context.output;
    let mut screen = Screen::new();
    let period = Duration::from_secs(if screen.in_place() { 1 } else { 5 });
    let mut ticks = tokio::time::interval(period);
    loop {
        ticks.tick().await;
        let traffic = traffic::read(&stage.context.client, None, traffic::WINDOW_S).await?;
        let mut block = traffic::render(&traffic, output.color);
        let clients = seen.lock().map_or_else(
            |_| String::new(),
            |seen| {
                if seen.all.total() == 0 {
                    return "\nThe first requests are on their way.\n".to_owned();
                }
                format!(
                    "\nClients saw {}; of the last {BATCH}: {}.\n",
                    seen.all.sentence(),
                    seen.last.sentence()
                )
            },
        );
        block.push_str(&clients);
        if screen.in_place() {
            block.push_str("q or Ctrl-C ends the demo.\n");
        }
        screen.draw(&block)?;
    }
}
