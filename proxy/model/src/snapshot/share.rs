//! Gateways that are equal to those of before become the same allocations.

use std::{collections::HashMap, sync::Arc};

use crate::Gateway;

/// These gateways; those that are equal to one of `before` as the same allocation.
pub(super) fn with(before: &[Arc<Gateway>], gateways: Vec<Gateway>) -> Vec<Arc<Gateway>> {
    let mut by_name = None;
    // Where the next one is if nothing came or went.
    let mut place = 0;
    let mut same = |gateway: &Gateway| {
        let is_it = |at: usize| before.get(at).is_some_and(|old| old.name == gateway.name);
        let at = if is_it(place) {
            place
        } else {
            let by_name = by_name.get_or_insert_with(|| {
                let named = before.iter().enumerate();
                named
                    .map(|(at, old)| (old.name.as_str(), at))
                    .collect::<HashMap<_, _>>()
            });
            *by_name.get(gateway.name.as_str())?
        };
        place = at + 1;
        before.get(at).filter(|old| ***old == *gateway)
    };
    gateways
        .into_iter()
        .map(|gateway| match same(&gateway) {
            Some(old) => Arc::clone(old),
            None => Arc::new(gateway),
        })
        .collect()
}
