//! Response times of a cluster: what was told in events, and what our own gateways saw.

use std::time::Duration;

use weir_persist::{Aggregate, AggregateKind, EventQuery, PersistError};
use weir_plan::sla::Reading;

use crate::{state::State, traffic};

/// Readings of every gateway of a cluster in the last `interval_s` seconds: the mean of the events of that time
/// (Vamp's rule; they may be anybody's), and what gateways counted if requests came. Who reads takes the slower.
pub(super) async fn readings(
    state: &State,
    deployment: &str,
    cluster: &str,
    interval_s: u32,
    now_ms: u64,
) -> Result<Vec<Reading>, PersistError> {
    let prefix = format!("{deployment}/{cluster}/");
    let gateways = state.gateways().await?;
    let names = gateways
        .iter()
        .map(|gateway| gateway.name.as_str())
        .filter(|name| name.strip_prefix(&prefix).is_some_and(|port| !port.contains('/')));
    let measured = traffic::measured(state, Duration::from_secs(u64::from(interval_s))).await;
    let mut readings = Vec::new();
    for name in names {
        let query = EventQuery {
            tags: vec![format!("gateways:{name}"), "metrics:responseTime".to_owned()],
            from_ms: Some(now_ms.saturating_sub(u64::from(interval_s).saturating_mul(1_000))),
            ..EventQuery::default()
        };
        let of = |kind| Aggregate { kind, field: None };
        if let Some(mean_ms) = state
            .persist
            .aggregate(&query, &of(AggregateKind::Average))
            .await?
        {
            let count = state.persist.aggregate(&query, &of(AggregateKind::Count)).await?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count is a whole number and far below 2^53"
            )]
            let count = count.unwrap_or_default() as u64;
            readings.push(Reading {
                gateway: name.to_owned(),
                mean_ms,
                count,
                source: "events",
            });
        }
        let seen = measured.as_ref().and_then(|measured| measured.get(name));
        if let Some(seen) = seen.filter(|seen| seen.whole.response_time_ms > 0.0) {
            readings.push(Reading {
                gateway: name.to_owned(),
                mean_ms: seen.whole.response_time_ms,
                count: 1,
                source: "gateways",
            });
        }
    }
    Ok(readings)
}
