//! What is kept of one agent.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use weir_model::{Acknowledgement, Frame};

use super::{
    clients::Unread,
    in_flight::Busy,
    past::{Past, Totals},
};
use crate::state::now_ms;

/// Frames that are kept of an agent: two minutes.
pub(super) const FRAMES_MAX: usize = 120;

/// What is kept of one agent.
#[derive(Clone, Debug)]
pub(super) struct AgentLog {
    pub(super) acknowledgement: Acknowledgement,
    /// Whether its key is in the store: its lease is not over.
    pub(super) live: bool,
    /// Requests under way; `None` while that is not known.
    pub(super) busy: Option<Busy>,
    /// When its figures were read last, and attempts since that failed.
    pub(super) reached_at_ms: Option<u64>,
    pub(super) failed: u32,
    /// Why the last attempt failed; `None`: it did not.
    pub(super) problem: Option<String>,
    /// It refused the token when it was asked last.
    is_denied: bool,
    /// Until then it is not asked again, unless it starts anew.
    put_off: Option<Instant>,
    /// How long its store was silent when it answered last, in milliseconds; `None` if it did not say.
    pub(super) stale_ms: Option<u64>,
    /// When it was asked for that, milliseconds since the Unix epoch by the clock of control.
    stale_asked_at_ms: u64,
    /// What was told of it last.
    pub(super) told: Condition,
    /// Of the runs before.
    pub(super) past: Past,
    /// Oldest first, all of one run.
    frames: VecDeque<Arc<Frame>>,
}

/// What there is to tell of an agent beyond its figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Condition {
    /// Its store does not answer it.
    pub(super) is_stale: bool,
    /// It does not answer.
    pub(super) is_unreachable: bool,
}

/// An agent that did not answer so often in a row is not reachable: one answer may be late.
const FAILED_MAX: u32 = 2;
/// Pause after an agent has refused the token: only a person can change that.
const DENIED_PAUSE: Duration = Duration::from_secs(30);
/// Figures that were read so long ago, in milliseconds, say nothing about now.
const FRESH_MS: u64 = 10_000;

impl AgentLog {
    /// How it is now.
    pub(super) fn condition(&self) -> Condition {
        Condition {
            is_stale: self.stale_ms.is_some_and(|stale_ms| stale_ms > 0),
            is_unreachable: self.failed >= FAILED_MAX || self.is_denied,
        }
    }

    pub(super) fn new(acknowledgement: Acknowledgement) -> Self {
        Self {
            acknowledgement,
            live: true,
            busy: None,
            reached_at_ms: None,
            failed: 0,
            problem: None,
            is_denied: false,
            put_off: None,
            stale_ms: None,
            stale_asked_at_ms: 0,
            told: Condition::default(),
            past: Past::default(),
            frames: VecDeque::new(),
        }
    }

    /// It says what it serves, under a lease.
    pub(super) fn acknowledged(&mut self, acknowledgement: Acknowledgement) {
        let before = &self.acknowledgement;
        if (before.started_at_ms, &before.admin) != (acknowledgement.started_at_ms, &acknowledgement.admin) {
            // It may ask for another token now.
            self.put_off = None;
        }
        self.acknowledgement = acknowledgement;
        self.live = true;
    }

    /// It answered a question that was asked then.
    pub(super) fn answered(&mut self, frames: Vec<Frame>, asked_at_ms: u64) {
        (self.failed, self.problem) = (0, None);
        (self.is_denied, self.put_off) = (false, None);
        if let Some(newest) = frames.last() {
            self.busy = Busy::of(newest, asked_at_ms);
            self.reached_at_ms = Some(now_ms());
            self.heard_of_its_store(newest.stale_ms, asked_at_ms);
        }
        for frame in frames {
            self.add(Arc::new(frame));
        }
    }

    /// How long its store is silent, as it said when it was asked then. Answers may overtake each other.
    pub(super) fn heard_of_its_store(&mut self, stale_ms: Option<u64>, asked_at_ms: u64) {
        if asked_at_ms >= self.stale_asked_at_ms {
            (self.stale_ms, self.stale_asked_at_ms) = (stale_ms, asked_at_ms);
        }
    }

    /// It did not answer, or not well.
    pub(super) fn unanswered(&mut self, why: Unread) {
        self.failed = self.failed.saturating_add(1);
        self.problem = Some(match why {
            Unread::Denied(reason) => {
                self.is_denied = true;
                self.put_off = Some(Instant::now() + DENIED_PAUSE);
                reason
            }
            Unread::Failed(reason) => reason,
        });
    }

    /// Whether it is not to be asked now.
    pub(super) fn is_put_off(&self) -> bool {
        self.put_off.is_some_and(|until| Instant::now() < until)
    }

    /// Whether its newest figures say something about now.
    pub(super) fn is_fresh(&self) -> bool {
        let reached_at_ms = self.reached_at_ms.unwrap_or(0);
        now_ms().saturating_sub(reached_at_ms) < FRESH_MS
    }

    /// Adds a frame. A frame of another run begins anew; one that is not newer changes nothing.
    pub(super) fn add(&mut self, frame: Arc<Frame>) {
        if let Some(last) = self.frames.back() {
            if last.started_at_ms != frame.started_at_ms {
                self.past.end(last);
                self.past.resume(frame.started_at_ms);
                self.frames.clear();
            } else if last.at_ms >= frame.at_ms {
                return;
            }
        }
        while self.frames.len() >= FRAMES_MAX {
            self.frames.pop_front();
        }
        self.frames.push_back(frame);
    }

    /// Adds what it counted in all its runs, as far as it was seen.
    pub(super) fn add_to(&self, totals: &mut Totals) {
        self.past.add_to(totals);
        if let Some(latest) = self.latest() {
            totals.add(&Totals::of(latest));
        }
    }

    pub(super) fn latest(&self) -> Option<&Arc<Frame>> {
        self.frames.back()
    }

    /// The newest frame that is at least `window_ms` older than the latest. If there is none: `None` when
    /// the run itself is younger (everything that it counted is in the window), else the oldest frame.
    pub(super) fn base(&self, window_ms: u64) -> Option<&Arc<Frame>> {
        let latest = self.frames.back()?;
        let begins_at_ms = latest.at_ms.saturating_sub(window_ms);
        let base = self.frames.iter().rev().find(|frame| frame.at_ms <= begins_at_ms);
        match base {
            None if latest.started_at_ms >= begins_at_ms => None,
            None => self.frames.front(),
            found => found,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_model::{Acknowledgement, AgentId, Frame, Generation};

    use super::{AgentLog, FRAMES_MAX};

    fn frame(started_at_ms: u64, at_ms: u64) -> Arc<Frame> {
        Arc::new(Frame {
            agent: AgentId::new("edge").unwrap(),
            started_at_ms,
            at_ms,
            generation: Generation(1),
            digest: None,
            stale_ms: None,
            gateways: Vec::new(),
            departed: None,
        })
    }

    fn log(frames: &[(u64, u64)]) -> AgentLog {
        let mut log = AgentLog::new(Acknowledgement {
            agent: AgentId::new("edge").unwrap(),
            admin: None,
            generation: Generation(1),
            digest: None,
            seen: Generation(1),
            refused: Vec::new(),
            version: String::new(),
            started_at_ms: 0,
            at_ms: 0,
            stale_ms: 0,
        });
        for (started, at) in frames {
            log.add(frame(*started, *at));
        }
        log
    }

    #[test]
    fn the_base_is_just_outside_the_window() {
        let log = log(&[(1, 1_000), (1, 2_000), (1, 3_000), (1, 4_000)]);
        assert_eq!(log.base(1_500).unwrap().at_ms, 2_000);
        assert_eq!(log.base(1_000).unwrap().at_ms, 3_000);
    }

    #[test]
    fn a_run_that_is_younger_than_the_window_counts_from_nothing() {
        let young = log(&[(500, 1_000), (500, 2_000)]);
        assert!(young.base(10_000).is_none());
        let old = log(&[(500, 100_000), (500, 101_000)]);
        assert_eq!(old.base(10_000).unwrap().at_ms, 100_000, "the rest was not seen");
    }

    #[test]
    fn another_run_begins_anew_and_memory_is_bounded() {
        let mut log = log(&[(1, 1_000), (1, 1_000), (1, 900)]);
        assert_eq!(log.frames.len(), 1);
        for at in 0..500 {
            log.add(frame(2, at));
        }
        assert_eq!(log.frames.len(), FRAMES_MAX);
        log.add(frame(3, 1));
        assert_eq!(log.frames.len(), 1);
    }
}
