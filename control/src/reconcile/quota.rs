//! Whether what somebody asks for may be had, before anything is started.

use std::time::Duration;

use tokio::time::timeout;
use weir_artifact::Deployment;
use weir_plan::{Allocation, Room, allocation, fits};

use super::settings;
use crate::{
    error::OperationError,
    state::{State, Transaction},
};

/// Longest answer of the driver; who does not know in time does not refuse.
const CAPACITY_MAX: Duration = Duration::from_secs(2);

/// Refuses a deployment that asks for more than there may be. One that asks for no more than it did before is let
/// through, so that a smaller quota never stands in the way of a change of weights.
pub(crate) async fn check(
    tx: &Transaction<'_>,
    before: Option<&Deployment>,
    wanted: &Deployment,
) -> Result<(), OperationError> {
    let settings = settings(tx.state());
    let now = allocation(wanted, &settings);
    if before.is_some_and(|before| is_no_more(&now, &allocation(before, &settings))) {
        return Ok(());
    }
    let others = tx.deployments().await?;
    let rooms = rooms(tx.state()).await;
    fits(wanted, &others, &tx.state().config.quota, &rooms, &settings).map_err(OperationError::Problems)
}

fn is_no_more(now: &Allocation, before: &Allocation) -> bool {
    let (now, before) = (now.wanted, before.wanted);
    now.instances <= before.instances && now.cpu <= before.cpu && now.memory_mb <= before.memory_mb
}

/// What the driver has, as far as it counts.
pub(crate) async fn rooms(state: &State) -> Vec<Room> {
    let enforced = state.config.enforce_capacity;
    if !enforced && !state.driver.capabilities().limits {
        return Vec::new();
    }
    let Ok(Ok(capacities)) = timeout(CAPACITY_MAX, state.driver.capacity()).await else {
        return Vec::new();
    };
    capacities
        .into_iter()
        .map(|capacity| Room {
            driver: capacity.driver,
            deployable_types: capacity.deployable_types,
            total: enforced.then_some((capacity.cpu, capacity.memory_mb)),
            largest: (capacity.largest_cpu, capacity.largest_memory_mb),
        })
        .collect()
}
