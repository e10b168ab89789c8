//! Frames: the figures of now, and those of the last minute for who was away.
//!
//! **Invariants.** Figures are cumulative since the start of the process (`started_at_ms`), so a frame that is lost loses
//! nothing but resolution. Frames are kept only while somebody asks for them, at most [`KEPT_MAX`] and at most
//! [`KEPT_BYTES_MAX`] of memory: an agent that nobody asks pays nothing.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval};
use weir_model::{Frame, GatewayFrame};
use weir_proxy::Proxy;

use crate::status::Status;

/// Between two frames.
const PERIOD: Duration = Duration::from_secs(1);
/// Most frames that are kept: a minute.
const KEPT_MAX: usize = 60;
/// Most memory for them, in bytes, estimated.
const KEPT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Frames are kept this long after somebody asked.
const ASKED_LATELY: Duration = Duration::from_secs(5 * 60);
/// A frame that comes this soon after the last one that is kept is told and not kept, in milliseconds.
const FRESH_MS: u64 = 500;
/// Memory of a route or an instance without its latency, in bytes, about.
const ENTRY_BYTES: usize = 256;

/// Frames of one agent.
#[derive(Debug)]
pub(crate) struct Frames {
    proxy: Proxy,
    status: Arc<Status>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Oldest first, each with its size in bytes.
    frames: VecDeque<(Arc<Frame>, usize)>,
    bytes: usize,
    asked: Option<Instant>,
}

impl Frames {
    pub(crate) fn new(proxy: Proxy, status: Arc<Status>) -> Self {
        Self {
            proxy,
            status,
            kept: Mutex::default(),
        }
    }

    /// The figures of now.
    pub(crate) fn now(&self) -> Frame {
        let mut frame = self.proxy.frame();
        frame.stale_ms = Some(self.status.acknowledgement().stale_ms);
        frame
    }

    /// Every frame after that time (milliseconds since the Unix epoch) that is kept, the newest one of now.
    pub(crate) fn since(&self, at_ms: u64) -> Vec<Arc<Frame>> {
        let now = self.take();
        let kept = self.lock();
        let mut frames: Vec<Arc<Frame>> = kept
            .frames
            .iter()
            .filter(|(frame, _)| frame.at_ms > at_ms && frame.at_ms < now.at_ms)
            .map(|(frame, _)| Arc::clone(frame))
            .collect();
        frames.push(now);
        frames
    }

    /// The figures of now, and those of about `window` before, if they are known.
    pub(crate) fn window(&self, window: Duration) -> (Arc<Frame>, Option<Arc<Frame>>) {
        let now = self.take();
        let begins = now
            .at_ms
            .saturating_sub(u64::try_from(window.as_millis()).unwrap_or(u64::MAX));
        let kept = self.lock();
        let before = kept
            .frames
            .iter()
            .map(|(frame, _)| frame)
            .filter(|frame| frame.at_ms < now.at_ms);
        let base = before
            .clone()
            .rev()
            .find(|frame| frame.at_ms <= begins)
            .or(before.clone().next());
        (now, base.map(Arc::clone))
    }

    /// Keeps a frame each second while somebody asks. Does not end.
    pub(crate) async fn sample(&self) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let is_asked = self
                .lock()
                .asked
                .is_some_and(|asked| asked.elapsed() < ASKED_LATELY);
            if is_asked {
                self.keep();
            } else {
                *self.lock() = Kept::default();
            }
        }
    }

    /// Somebody asks: a frame of now.
    fn take(&self) -> Arc<Frame> {
        self.lock().asked = Some(Instant::now());
        self.keep()
    }

    fn keep(&self) -> Arc<Frame> {
        let frame = Arc::new(self.now());
        self.lock().add(frame)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Adds a frame, unless the last one is hardly older; gives it back.
    fn add(&mut self, frame: Arc<Frame>) -> Arc<Frame> {
        if let Some((last, _)) = self.frames.back()
            && frame.at_ms < last.at_ms.saturating_add(FRESH_MS)
        {
            // The clock may have been set back.
            if frame.at_ms >= last.at_ms {
                return frame;
            }
            *self = Self {
                asked: self.asked,
                ..Self::default()
            };
        }
        let bytes = size(&frame);
        if bytes <= KEPT_BYTES_MAX {
            self.bytes += bytes;
            self.frames.push_back((Arc::clone(&frame), bytes));
        }
        while self.frames.len() > KEPT_MAX || self.bytes > KEPT_BYTES_MAX {
            let Some((_, bytes)) = self.frames.pop_front() else {
                break;
            };
            self.bytes -= bytes;
        }
        frame
    }
}

fn size(frame: &Frame) -> usize {
    let of_gateway = |gateway: &GatewayFrame| {
        let routes = gateway.routes.iter().map(|route| {
            let buckets = route.latency.0.len()
                + route
                    .instances
                    .iter()
                    .map(|instance| instance.latency.0.len())
                    .sum::<usize>();
            (1 + route.instances.len()) * ENTRY_BYTES + buckets * size_of::<(u64, u64)>()
        });
        ENTRY_BYTES + routes.sum::<usize>()
    };
    frame.gateways.iter().map(of_gateway).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_model::{
        AgentId, Frame, GatewayFrame, GatewayName, Generation, LatencyCounts, OutcomeCounts, RouteFrame,
        RouteName,
    };

    use super::{KEPT_BYTES_MAX, KEPT_MAX, Kept};

    fn frame(at_ms: u64, buckets: u64) -> Arc<Frame> {
        Arc::new(Frame {
            agent: AgentId::new("edge").unwrap(),
            started_at_ms: 0,
            at_ms,
            generation: Generation(1),
            digest: None,
            stale_ms: None,
            departed: None,
            gateways: vec![GatewayFrame {
                name: GatewayName::new("shop").unwrap(),
                requests: at_ms,
                unrouted: 0,
                routes: vec![RouteFrame {
                    name: RouteName::new("a").unwrap(),
                    requests: at_ms,
                    by_condition: 0,
                    by_cookie: 0,
                    in_flight: 0,
                    retries: 0,
                    outcomes: OutcomeCounts::default(),
                    bytes_in: 0,
                    bytes_out: 0,
                    latency: LatencyCounts((0..buckets).map(|value| (value, 1)).collect()),
                    instances: Vec::new(),
                }],
            }],
        })
    }

    #[test]
    fn memory_is_bounded_by_number_and_by_size() {
        let mut kept = Kept::default();
        for second in 1..=200 {
            kept.add(frame(second * 1_000, 1));
        }
        assert_eq!(kept.frames.len(), KEPT_MAX);
        assert_eq!(kept.frames.front().unwrap().0.at_ms, 141_000);
        for second in 201..=230 {
            kept.add(frame(second * 1_000, 100_000));
            assert!(kept.bytes <= KEPT_BYTES_MAX);
        }
        assert!(kept.frames.len() < 15, "{}", kept.frames.len());
        let sum: usize = kept.frames.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(sum, kept.bytes);
        // One that is too large for all of it is told and not kept.
        let large = kept.add(frame(240_000, 2_000_000));
        assert_eq!(large.at_ms, 240_000);
        assert!(kept.bytes <= KEPT_BYTES_MAX);
    }

    #[test]
    fn a_clock_that_was_set_back_begins_anew() {
        let mut kept = Kept::default();
        kept.add(frame(10_000, 1));
        kept.add(frame(10_050, 1));
        assert_eq!(kept.frames.len(), 1, "as good as the last one");
        kept.add(frame(5_000, 1));
        assert_eq!(kept.frames.len(), 1);
        assert_eq!(kept.frames.front().unwrap().0.at_ms, 5_000);
    }
}
