//! Step 5 of the routing order: from a route to one of its instances.
//!
//! **Invariants.** An instance whose checks fail, that is draining, or that was tried takes nothing. The turns of a route are
//! exact over all workers, also while an instance starts slowly: only its own turns are handed on.
//!
//! **Absent.** No choice among routes: that is done when this begins.

use std::{net::IpAddr, sync::atomic::Ordering};

use weir_model::Balance;

use crate::table::{Endpoints, Route};

/// The instance that a client's cookie names, if it takes requests.
pub(super) fn remembered(endpoints: &Endpoints, value: &[u8], now_ms: u64) -> Option<usize> {
    let (index, endpoint) = endpoints
        .all
        .iter()
        .take(endpoints.serving)
        .enumerate()
        .find(|(_, endpoint)| endpoint.lookup.as_deref() == Some(value))?;
    (!endpoint.live.is_ill() && !endpoint.live.is_ejected(now_ms)).then_some(index)
}

/// Step 5: which instance, of those that were not tried. One whose checks fail takes nothing. Those that could not be
/// reached lately are passed over while there are others.
pub(super) fn pick(
    endpoints: &Endpoints,
    route: &Route,
    source: IpAddr,
    tried: u64,
    now_ms: u64,
) -> Option<usize> {
    let serving = endpoints.all.get(..endpoints.serving)?;
    let untried =
        |index: &usize| u32::try_from(*index).map_or(true, |index| index >= 64 || tried & (1 << index) == 0);
    let able = |index: &usize| {
        untried(index)
            && serving
                .get(*index)
                .is_some_and(|endpoint| !endpoint.live.is_ill())
    };
    // Seldom taken paths last: nearly always every instance is well and untried.
    let usable = |index: &usize| {
        able(index)
            && serving
                .get(*index)
                .is_some_and(|endpoint| !endpoint.live.is_ejected(now_ms))
    };
    let all = || 0..serving.len();
    let count = all().filter(usable).count();
    if count == 0 {
        let count = all().filter(able).count();
        return by_balance(endpoints, route, source, count, all().filter(able));
    }
    let picked = by_balance(endpoints, route, source, count, all().filter(usable))?;
    let slow_start_ms = endpoints.slow_start_ms;
    if slow_start_ms == 0
        || count < 2
        || !matches!(endpoints.balance, Balance::RoundRobin | Balance::LeastRequests)
    {
        return Some(picked);
    }
    if serving.get(picked)?.live.is_warm_enough(slow_start_ms, now_ms) {
        return Some(picked);
    }
    // One of those that have their full share takes it.
    let warm = |index: &usize| {
        usable(index)
            && serving
                .get(*index)
                .is_some_and(|endpoint| !endpoint.live.is_warming(slow_start_ms, now_ms))
    };
    let count = all().filter(warm).count();
    if count == 0 {
        return Some(picked);
    }
    if endpoints.balance == Balance::RoundRobin {
        // By a count of its own: the turns of the others stay even.
        let skipped = usize::try_from(serving.get(picked)?.live.skipped()).unwrap_or(0);
        return all().filter(warm).nth(skipped % count);
    }
    by_balance(endpoints, route, source, count, all().filter(warm))
}

fn by_balance(
    endpoints: &Endpoints,
    route: &Route,
    source: IpAddr,
    count: usize,
    mut usable: impl Iterator<Item = usize>,
) -> Option<usize> {
    if count < 2 {
        return usable.next();
    }
    match endpoints.balance {
        Balance::First => usable.next(),
        Balance::RoundRobin => {
            #[expect(clippy::cast_possible_truncation, reason = "the remainder is below a usize")]
            let turn = (route.live.balance.next() % count as u64) as usize;
            usable.nth(turn)
        }
        Balance::LeastRequests => {
            // Equals take turns: the search begins elsewhere each time.
            #[expect(clippy::cast_possible_truncation, reason = "the remainder is below a usize")]
            let turn = (route.live.balance.next() % count as u64) as usize;
            usable.enumerate().min_by_key(|(order, index)| {
                let load = endpoints
                    .all
                    .get(*index)
                    .map_or(0, |e| e.live.in_flight.load(Ordering::Relaxed));
                (load, (order + count - turn) % count)
            })
        }
        .map(|(_, index)| index),
        // Rendezvous hashing: a client moves only if its own instance goes.
        Balance::Source => usable.max_by_key(|index| {
            endpoints
                .all
                .get(*index)
                .map_or(0, |endpoint| rendezvous(source, endpoint.id.as_str()))
        }),
    }
}

/// Equal on every agent and in every version: FNV-1a (64 bit) over address and instance, mixed once.
fn rendezvous(source: IpAddr, instance: &str) -> u64 {
    let address = match source {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in address.iter().chain(instance.as_bytes()) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 32;
    hash.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
