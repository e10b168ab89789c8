//! Gateways by slot, in parts that tables share: a table that differs in one gateway has one part of its own.

use std::sync::Arc;

use super::Gateway;

/// Gateways of a part: a change copies so many pointers, and one for each other part.
const PART: usize = 64;

type Place = Option<Arc<Gateway>>;

/// A slot without a gateway is one that was removed lately.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots(Vec<Arc<[Place; PART]>>);

impl Slots {
    /// The gateway in a slot.
    pub(super) fn get(&self, slot: u32) -> Option<&Arc<Gateway>> {
        let slot = slot as usize;
        self.0.get(slot / PART)?.get(slot % PART)?.as_ref()
    }

    /// Puts a gateway into a slot, or takes it out.
    pub(super) fn set(&mut self, slot: u32, gateway: Place) {
        let slot = slot as usize;
        while self.0.len() <= slot / PART {
            self.0.push(Arc::new([const { None }; PART]));
        }
        if let Some(part) = self.0.get_mut(slot / PART)
            && let Some(place) = Arc::make_mut(part).get_mut(slot % PART)
        {
            *place = gateway;
        }
    }

    /// What the slots hold that differ: here and in `after`. Shared parts cost a comparison of pointers.
    pub(super) fn changes<'s>(
        &'s self,
        after: &'s Self,
    ) -> impl Iterator<Item = (Option<&'s Arc<Gateway>>, Option<&'s Arc<Gateway>>)> {
        let parts = (0..self.0.len().max(after.0.len()))
            .map(|index| (self.0.get(index), after.0.get(index)))
            .filter(|(one, other)| !is_same(*one, *other));
        parts
            .flat_map(|(one, other)| (0..PART).map(move |index| (place(one, index), place(other, index))))
            .filter(|(one, other)| !is_same(*one, *other))
    }
}

fn place(part: Option<&Arc<[Place; PART]>>, index: usize) -> Option<&Arc<Gateway>> {
    part?.get(index)?.as_ref()
}

fn is_same<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}
