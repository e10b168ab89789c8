//! How a leader shows that it lives, and how others find out that it does not.
//!
//! A lease is the cheapest sign: the store keeps the time, and nothing is written. Consul keeps a session for 10 s at least
//! and notices its end only after twice its length; there the leader writes its key again and again, and the others judge
//! by their own clocks for how long it has been the same. No clock is compared with another one: whoever finds the key at
//! one place for [`TTL`] knows that it was written before that, and the leader's own time began before it wrote.

use std::time::Duration;

use tokio::time::Instant;
use weir_store::{LeaseId, Revision, Store};

use super::TTL;

/// How a leader shows that it lives.
#[derive(Debug)]
pub(super) enum Sign {
    /// It renews a lease that its key is bound to.
    Lease(LeaseId),
    /// It writes its key again.
    Key,
}

/// Whether the store ends a lease soon after its time.
pub(super) fn is_by_lease(store: &dyn Store) -> bool {
    let can = store.capabilities();
    can.lease_ttl_min <= TTL && can.lease_factor_max <= 1
}

/// For how long a key has been the same while the store answered, by the clock of this process.
#[derive(Debug, Default)]
pub(super) struct Silence {
    place: Option<Revision>,
    lasted: Duration,
    /// When it was seen last; `None` if the store did not answer since: its leader could not write then, either.
    seen: Option<Instant>,
}

impl Silence {
    /// The store has answered that the key is there. How long it has been, at least.
    pub(super) fn seen_at(&mut self, place: Revision, now: Instant) -> Duration {
        if self.place == Some(place) {
            self.lasted += self.seen.map_or(Duration::ZERO, |seen| now - seen);
        } else {
            self.place = Some(place);
            self.lasted = Duration::ZERO;
        }
        self.seen = Some(now);
        self.lasted
    }

    /// The store did not answer.
    pub(super) fn interrupted(&mut self) {
        self.seen = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;
    use weir_store::Revision;

    use super::Silence;

    #[test]
    fn silence_is_counted_at_one_place_while_the_store_answers() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let mut silence = Silence::default();
        let mut seen = |place, seconds| silence.seen_at(Revision(place), after(seconds)).as_secs();
        assert_eq!((seen(7, 1), seen(7, 2), seen(7, 4)), (0, 1, 3));
        assert_eq!((seen(8, 5), seen(8, 7)), (0, 2), "it was written");
        assert_eq!((seen(7, 8), seen(7, 9)), (0, 1), "back is another place, too");
        silence.interrupted();
        let mut seen = |place, seconds| silence.seen_at(Revision(place), after(seconds)).as_secs();
        assert_eq!((seen(7, 60), seen(7, 61)), (1, 2), "the outage does not count");
    }
}
