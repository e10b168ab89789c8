//! What goes wrong in a schedule, and the dice that decide when.

/// A generator of numbers that is the same everywhere (xorshift).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        (self.roll() >> 11) % limit
    }

    pub(super) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// How often what goes wrong, in percent; each schedule has its own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// An instance exits as soon as it runs.
    pub(super) exits_at_once: u64,
    /// An instance never becomes healthy.
    pub(super) never_healthy: u64,
    /// In thousandths of a tick: an instance dies, is removed, renamed or stopped by somebody, or falls ill.
    pub(super) dies_later: u64,
    /// A start fails.
    pub(super) start_fails: u64,
    /// Of those, for good.
    pub(super) undefined: u64,
    /// The driver goes away for some ticks.
    pub(super) driver_down: u64,
    /// Control ends at any step.
    pub(super) killed: u64,
    /// Agents do not look at the store.
    pub(super) silent_agents: u64,
    /// Agents do not tell their requests.
    pub(super) mute_agents: u64,
    /// The store cannot be read by control.
    pub(super) store_away: u64,
    /// Calls of the driver, publications and agents take another tick.
    pub(super) slow: u64,
    /// Somebody changes scale or definition.
    pub(super) changes: u64,
}

impl Faults {
    /// A mixture of its own for each schedule: some faults often, some never.
    pub(super) fn of(dice: &mut Dice) -> Self {
        let mut often = |most: u64| if dice.percent(50) { dice.below(most) + 1 } else { 0 };
        Self {
            exits_at_once: often(40),
            never_healthy: often(30),
            dies_later: often(40),
            start_fails: often(40),
            undefined: often(20),
            driver_down: often(6),
            killed: often(15),
            silent_agents: often(80),
            mute_agents: often(50),
            store_away: often(40),
            slow: often(60),
            changes: often(8),
        }
    }
}
