//! The demo with an end: three phases, each checked to the request.

use std::time::{Duration, Instant};

use anyhow::anyhow;

use super::{
    GATEWAY, Stage,
    counts::Counts,
    load::{FIREFOX_ONE_IN, is_firefox},
};
use crate::{
    failure::Failure,
    output::Table,
    traffic::{self, GatewayTraffic},
    tree,
    verb::{condition, route::Change},
    wait,
};

/// Requests in which the share must be exact.
const BATCH: u64 = 50;
/// Longest time until a change is acknowledged.
const ACKNOWLEDGED: Duration = Duration::from_secs(10);
/// Longest time until the proxy's own figures have arrived.
const FIGURES: Duration = Duration::from_secs(10);
/// Between two looks.
const POLL: Duration = Duration::from_millis(50);
/// Versions, in the order of the shares below.
const VERSIONS: [&str; 2] = ["1", "2"];

/// One state of the gateway.
#[derive(Clone, Copy, Debug)]
struct Phase {
    name: &'static str,
    /// Percent for each version.
    weights: [u32; 2],
    /// Condition of the second version's route.
    condition: Option<&'static str>,
}

const PHASES: [Phase; 3] = [
    Phase {
        name: "80/20 as deployed",
        weights: [80, 20],
        condition: None,
    },
    Phase {
        name: "50/50 by weight",
        weights: [50, 50],
        condition: None,
    },
    Phase {
        name: "Firefox to demo:2",
        weights: [50, 50],
        condition: Some("User-Agent == Firefox"),
    },
];

impl Phase {
    /// Requests of a batch that each version must get.
    fn expected(&self) -> [u64; 2] {
        let firefox = match self.condition {
            Some(_) => (0..BATCH).filter(|number| is_firefox(*number)).count() as u64,
            None => 0,
        };
        let [first, second] = self
            .weights
            .map(|percent| (BATCH - firefox) * u64::from(percent) / 100);
        [first, second + firefox]
    }
}

/// What a phase showed.
#[derive(Debug)]
struct Outcome {
    phase: Phase,
    requests: u64,
    exact: u64,
    batches: u64,
    clients: Counts,
    gateway: [u64; 2],
    acknowledged: Option<Duration>,
}

impl Outcome {
    /// What is wrong, if anything is.
    fn fault(&self) -> Option<String> {
        let [first, second] = self.phase.expected();
        let clients = [self.clients.of(VERSIONS[0]), self.clients.of(VERSIONS[1])];
        if self.clients.failed > 0 {
            let reason = self.clients.reason.as_deref().unwrap_or("no reason known");
            Some(format!("{} requests failed ({reason})", self.clients.failed))
        } else if self.exact < self.batches {
            Some(format!(
                "{} of {} times {BATCH} requests were not split {first}/{second} (in all {})",
                self.batches - self.exact,
                self.batches,
                self.clients.sentence()
            ))
        } else if self.gateway != clients {
            Some(format!(
                "the gateway counted {}/{} where clients saw {}/{}",
                self.gateway[0], self.gateway[1], clients[0], clients[1]
            ))
        } else {
            None
        }
    }
}

/// Runs all phases in about `duration` and judges them.
pub(crate) async fn run(stage: &Stage, duration: Duration) -> Result<(), Failure> {
    let phases = u32::try_from(PHASES.len()).unwrap_or(1);
    let requests =
        u64::from(stage.rate) * u64::try_from((duration / phases).as_millis()).unwrap_or(0) / 1_000;
    let batches = (requests / BATCH).max(1);
    debug_assert_eq!(
        BATCH % FIREFOX_ONE_IN,
        0,
        "each batch has the same number of Firefox users"
    );
    let mut outcomes = Vec::new();
    let mut before = [0; 2];
    for (index, phase) in PHASES.iter().enumerate() {
        let outcome = one(stage, *phase, batches, before).await?;
        before = [before[0] + outcome.gateway[0], before[1] + outcome.gateway[1]];
        stage.context.output.note(&format!(
            "{}/{} {}: {}",
            index + 1,
            PHASES.len(),
            phase.name,
            outcome.clients.sentence()
        ))?;
        outcomes.push(outcome);
    }
    let traffic = traffic::read(&stage.context.client, None, traffic::WINDOW_S).await?;
    let output = stage.context.output;
    output.note(&format!("\n{}", traffic::render(&traffic, output.color)))?;
    output.print(&format!("\n{}", summary(&outcomes, output.color)))?;
    let faults: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| Some(format!("{}: {}", outcome.phase.name, outcome.fault()?)))
        .collect();
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Failure::Other(anyhow!("{}", faults.join("; "))))
    }
}

async fn one(stage: &Stage, phase: Phase, batches: u64, before: [u64; 2]) -> Result<Outcome, Failure> {
    let acknowledged = change(stage, phase).await?;
    let mut clients = Counts::default();
    let mut exact = 0;
    for batch in 0..batches {
        let counts = stage.load.send(batch * BATCH, BATCH, stage.rate).await;
        if [counts.of(VERSIONS[0]), counts.of(VERSIONS[1])] == phase.expected() {
            exact += 1;
        }
        clients.add(&counts);
    }
    let total = before.iter().sum::<u64>() + clients.total();
    let after = figures(stage, total).await?;
    Ok(Outcome {
        phase,
        requests: batches * BATCH,
        exact,
        batches,
        clients,
        gateway: [
            after[0].saturating_sub(before[0]),
            after[1].saturating_sub(before[1]),
        ],
        acknowledged,
    })
}

/// Brings the gateway to the phase's state; the time until the agent acknowledged, if anything changed.
async fn change(stage: &Stage, phase: Phase) -> Result<Option<Duration>, Failure> {
    let client = &stage.context.client;
    let began = Instant::now();
    let mut change = Change::begin(client, GATEWAY).await?;
    for path in change.routes() {
        let second = path.contains("demo:2");
        let route = change.route(&path);
        let percent = phase.weights[usize::from(second)];
        route["weight"] = tree::percent(percent * 100).into();
        if second && phase.condition.is_some() {
            condition::set(route, phase.condition, None);
        }
    }
    let Some(wanted) = change.store(client).await? else {
        return Ok(None);
    };
    let state = wait::acknowledged(client, &wanted, ACKNOWLEDGED).await?;
    if !state.complete() {
        return Err(Failure::TimedOut(format!("{}: {}", phase.name, state.sentence())));
    }
    Ok(Some(began.elapsed()))
}

/// The proxy's own count for each version, once all `total` requests are in it or the time is over.
async fn figures(stage: &Stage, total: u64) -> Result<[u64; 2], Failure> {
    let began = Instant::now();
    loop {
        let traffic = traffic::read(&stage.context.client, Some(GATEWAY), traffic::WINDOW_S).await?;
        let counts = traffic.gateways.first().map_or([0; 2], by_version);
        if counts.iter().sum::<u64>() >= total || began.elapsed() >= FIGURES {
            return Ok(counts);
        }
        tokio::time::sleep(POLL).await;
    }
}

fn by_version(gateway: &GatewayTraffic) -> [u64; 2] {
    VERSIONS.map(|version| {
        let name = format!("demo:{version}");
        gateway
            .routes
            .iter()
            .filter(|route| route.name.split('/').any(|part| part == name))
            .map(|route| route.requests)
            .sum()
    })
}

fn summary(outcomes: &[Outcome], color: bool) -> String {
    let mut table = Table::new(&[
        "PHASE",
        "REQUESTS",
        "INTENDED",
        "CLIENTS SAW",
        "GATEWAY COUNTED",
        "EXACT BY 50",
        "FAILED",
        "ACKNOWLEDGED MS",
        "RESULT",
    ]);
    for outcome in outcomes {
        let [first, second] = outcome.phase.expected();
        table.row(vec![
            outcome.phase.name.to_owned(),
            outcome.requests.to_string(),
            format!("{}/{}", first * outcome.batches, second * outcome.batches),
            format!(
                "{}/{}",
                outcome.clients.of(VERSIONS[0]),
                outcome.clients.of(VERSIONS[1])
            ),
            format!("{}/{}", outcome.gateway[0], outcome.gateway[1]),
            format!("{}/{}", outcome.exact, outcome.batches),
            outcome.clients.failed.to_string(),
            outcome
                .acknowledged
                .map(|time| time.as_millis().to_string())
                .unwrap_or_default(),
            if outcome.fault().is_none() { "ok" } else { "WRONG" }.to_owned(),
        ]);
    }
    table.render(color)
}

#[cfg(test)]
mod tests {
    use super::{Counts, Outcome, PHASES};

    #[test]
    fn expected_shares_of_a_batch() {
        assert_eq!(
            PHASES.map(|phase| phase.expected()),
            [[40, 10], [25, 25], [20, 30]]
        );
    }

    #[test]
    fn one_request_too_few_is_a_fault() {
        let outcome = |first: u64, second: u64, gateway| Outcome {
            phase: PHASES[0],
            requests: 50,
            exact: u64::from(first == 40 && second == 10),
            batches: 1,
            clients: Counts {
                versions: [("1".to_owned(), first), ("2".to_owned(), second)].into(),
                failed: 50 - first - second,
                reason: None,
            },
            gateway,
            acknowledged: None,
        };
        assert_eq!(outcome(40, 10, [40, 10]).fault(), None);
        assert!(
            outcome(41, 9, [41, 9])
                .fault()
                .unwrap()
                .contains("not split 40/10")
        );
        assert!(
            outcome(40, 10, [40, 11])
                .fault()
                .unwrap()
                .contains("counted 40/11")
        );
        assert!(
            outcome(40, 9, [40, 9])
                .fault()
                .unwrap()
                .contains("1 requests failed")
        );
    }
}
