//! How a list of gateways differs from the one before it.

use std::{collections::HashSet, ops::Range, sync::Arc};

use weir_model::Gateway;

/// Places at which two lists differ, by identity: what a reader kept is not looked into. Lists that are as long as each
/// other and differ in one place cost a comparison of pointers for each gateway.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// Places of the first list whose gateway the second has not.
    pub(super) gone: Vec<usize>,
    /// Places of the second list whose gateway the first has not.
    pub(super) come: Vec<usize>,
    /// Places between what both lists begin with and what both end with: of the first, of the second.
    pub(super) middle: (Range<usize>, Range<usize>),
}

impl Difference {
    pub(super) fn between(before: &[Arc<Gateway>], after: &[Arc<Gateway>]) -> Self {
        let same = |(one, other): &(&Arc<Gateway>, &Arc<Gateway>)| Arc::ptr_eq(one, other);
        let first = before.iter().zip(after).take_while(same).count();
        let rests = before
            .iter()
            .skip(first)
            .rev()
            .zip(after.iter().skip(first).rev());
        let last = rests.take_while(same).count();
        let middle = (first..before.len() - last, first..after.len() - last);
        let (mut gone, mut come): (Vec<usize>, Vec<usize>) = if before.len() == after.len() {
            let both = middle.0.clone().zip(before.iter().zip(after).skip(first));
            let differing = both.filter(|(_, pair)| !same(pair)).map(|(place, _)| place);
            differing.map(|place| (place, place)).unzip()
        } else {
            (middle.0.clone().collect(), middle.1.clone().collect())
        };
        // What only has another place is neither gone nor new.
        let there = pointers(before, &gone);
        let here = pointers(after, &come);
        gone.retain(|place| {
            before
                .get(*place)
                .is_some_and(|one| !here.contains(&Arc::as_ptr(one)))
        });
        come.retain(|place| {
            after
                .get(*place)
                .is_some_and(|one| !there.contains(&Arc::as_ptr(one)))
        });
        Self { gone, come, middle }
    }
}

fn pointers(all: &[Arc<Gateway>], places: &[usize]) -> HashSet<*const Gateway> {
    let there = places.iter().filter_map(|place| all.get(*place));
    there.map(Arc::as_ptr).collect()
}
