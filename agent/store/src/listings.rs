//! For stores that do not remember changes: what recent listings showed, and what has changed since.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{Change, Entry, Revision};

/// Most listings that a watch can begin at.
const LISTINGS_MAX: usize = 64;
/// Most keys of them together.
const KEYS_MAX: usize = 200_000;

/// Keys and when each was last changed.
pub(crate) type Places = BTreeMap<String, Revision>;

/// The recent listings of a store.
#[derive(Debug, Default)]
pub(crate) struct Listings {
    recent: Mutex<VecDeque<Listing>>,
}

#[derive(Debug)]
struct Listing {
    prefix: String,
    at: Revision,
    places: Arc<Places>,
}

impl Listings {
    /// Keeps what a listing showed.
    pub(crate) fn remember(&self, prefix: &str, at: Revision, entries: &[Entry]) {
        let places = entries
            .iter()
            .map(|entry| (entry.key.clone(), entry.revision))
            .collect();
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|listing| listing.prefix != prefix || listing.at != at);
        recent.push_back(Listing {
            prefix: prefix.to_owned(),
            at,
            places: Arc::new(places),
        });
        let mut keys: usize = recent.iter().map(|listing| listing.places.len()).sum();
        while recent.len() > 1 && (recent.len() > LISTINGS_MAX || keys > KEYS_MAX) {
            let oldest = recent.pop_front();
            keys -= oldest.map_or(0, |listing| listing.places.len());
        }
    }

    /// What the listing of that prefix and revision showed, if it is still known.
    pub(crate) fn recall(&self, prefix: &str, at: Revision) -> Option<Arc<Places>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let listing = recent
            .iter()
            .find(|listing| listing.prefix == prefix && listing.at == at)?;
        Some(Arc::clone(&listing.places))
    }
}

/// What became of keys that were at `told` if they are now as `now` says, at the store's place `at`: writes
/// in their order, then removals. `told` is brought up to date.
pub(crate) fn changes(told: &mut Places, now: Vec<Entry>, at: Revision) -> Vec<Change> {
    let places: Places = now
        .iter()
        .map(|entry| (entry.key.clone(), entry.revision))
        .collect();
    let mut changes: Vec<Change> = now
        .into_iter()
        .filter(|entry| told.get(&entry.key) != Some(&entry.revision))
        .map(Change::Put)
        .collect();
    changes.sort_by_key(Change::revision);
    let gone = told.keys().filter(|key| !places.contains_key(*key));
    changes.extend(gone.map(|key| Change::Deleted {
        key: key.clone(),
        revision: at,
    }));
    *told = places;
    changes
}

#[cfg(test)]
mod tests {
    use super::{Listings, Places, changes};
    use crate::{Change, Entry, Revision};

    fn entry(key: &str, revision: u64) -> Entry {
        Entry {
            key: key.to_owned(),
            value: bytes::Bytes::new(),
            revision: Revision(revision),
        }
    }

    #[test]
    fn what_changed_between_two_looks_is_told_once() {
        let mut told = Places::new();
        let first = changes(&mut told, vec![entry("a", 5), entry("b", 3)], Revision(6));
        assert_eq!(first, [Change::Put(entry("b", 3)), Change::Put(entry("a", 5))]);
        let second = changes(&mut told, vec![entry("b", 3), entry("c", 8)], Revision(9));
        let gone = Change::Deleted {
            key: "a".to_owned(),
            revision: Revision(9),
        };
        assert_eq!(second, [Change::Put(entry("c", 8)), gone]);
        assert!(changes(&mut told, vec![entry("b", 3), entry("c", 8)], Revision(10)).is_empty());
    }

    #[test]
    fn listings_are_bounded() {
        let listings = Listings::default();
        for at in 0..1000 {
            listings.remember("p", Revision(at), &[entry("p/a", at)]);
        }
        assert!(listings.recall("p", Revision(0)).is_none());
        assert!(listings.recall("q", Revision(999)).is_none());
        let newest = listings.recall("p", Revision(999)).expect("the newest is kept");
        assert_eq!(newest.get("p/a"), Some(&Revision(999)));
    }
}
