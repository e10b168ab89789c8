//! The connections of a worker: coarse time limits without timers, and leave-taking.
//!
//! A timer per wait costs more than the wait of a small request. Here a wait only writes its deadline into a
//! cell; four times a second one task looks over all connections of the worker and wakes the late ones.

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use pin_project_lite::pin_project;
use slab::Slab;
use tokio::task::AbortHandle;

/// Between two looks over the connections: a wait ends up to this much late.
pub(crate) const TICK: Duration = Duration::from_millis(250);

const NEVER: u64 = u64::MAX;

/// A wait was longer than its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Elapsed;

/// What a connection is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// A request, or what comes before the first.
    #[default]
    Busy,
    /// It waits for a request.
    Idle,
    /// Bytes both ways, for as long as either side likes.
    Tunnel,
    /// It had its last answer, or its requests are told of on their own.
    Over,
}

/// What was cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) all: usize,
    /// TCP and upgraded connections among them.
    pub(crate) tunnels: usize,
}

#[derive(Default)]
struct State {
    /// Milliseconds of the coarse clock; [`NEVER`]: nothing is waited for.
    deadline_ms: Cell<u64>,
    expired: Cell<bool>,
    /// Milliseconds of the coarse clock when it was opened.
    opened_ms: Cell<u64>,
    /// The same when it began to wait for a request.
    idle_since_ms: Cell<u64>,
    phase: Cell<Phase>,
    /// It had a request.
    is_used: Cell<bool>,
    /// It is to end as soon as no request is under way.
    shall_end: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    abort: RefCell<Option<AbortHandle>>,
}

impl State {
    fn can_be_asked(&self) -> bool {
        self.phase.get() == Phase::Idle && !self.shall_end.get()
    }
}

/// All connections of a worker.
#[derive(Default)]
pub(crate) struct Connections {
    now_ms: Cell<u64>,
    states: Rc<RefCell<Slab<Rc<State>>>>,
    gone: Rc<tokio::sync::Notify>,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections")
            .field("open", &self.states.borrow().len())
            .finish_non_exhaustive()
    }
}

impl Connections {
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    pub(crate) fn len(&self) -> usize {
        self.states.borrow().len()
    }

    /// A new connection.
    pub(crate) fn open(&self, clock: Rc<super::Context>) -> Connection {
        self.enter(clock, false)
    }

    /// A stream of a connection: with times of its own, but not counted as a connection.
    pub(crate) fn open_stream(&self, clock: Rc<super::Context>) -> Connection {
        self.enter(clock, true)
    }

    fn enter(&self, clock: Rc<super::Context>, is_stream: bool) -> Connection {
        let state = Rc::new(State {
            deadline_ms: Cell::new(NEVER),
            opened_ms: Cell::new(self.now_ms()),
            ..State::default()
        });
        let key = self.states.borrow_mut().insert(Rc::clone(&state));
        Connection {
            state,
            key,
            is_stream,
            states: Rc::clone(&self.states),
            gone: Rc::clone(&self.gone),
            clock,
        }
    }

    /// Moves the clock and wakes the late.
    pub(crate) fn tick(&self, now_ms: u64) {
        self.now_ms.set(now_ms);
        for (_, state) in self.states.borrow().iter() {
            if state.deadline_ms.get() <= now_ms && !state.expired.replace(true) {
                let waker = state.waker.borrow_mut().take();
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
    }

    /// How many wait for a request and were not asked to end.
    pub(crate) fn idle(&self) -> usize {
        let states = self.states.borrow();
        states.iter().filter(|(_, state)| state.can_be_asked()).count()
    }

    /// Asks up to `count` connections that wait for a request to end; how many. Those that had none yet are left in
    /// peace for `fresh_ms`: their first one is nearly here. So are those that had one within `lively_ms`.
    pub(crate) fn close_idle(&self, count: usize, fresh_ms: u64, lively_ms: u64) -> usize {
        let now_ms = self.now_ms();
        let states = self.states.borrow();
        let old = states
            .iter()
            .map(|(_, state)| state)
            .filter(|state| state.can_be_asked())
            .filter(|state| {
                if state.is_used.get() {
                    now_ms.saturating_sub(state.idle_since_ms.get()) >= lively_ms
                } else {
                    now_ms.saturating_sub(state.opened_ms.get()) >= fresh_ms
                }
            });
        let mut asked = 0;
        for state in old.take(count) {
            asked += 1;
            state.shall_end.set(true);
            let waker = state.waker.borrow_mut().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        asked
    }

    /// Ends every connection that is left; what was cut by that. One that waits for a request or had its last
    /// answer is not cut.
    pub(crate) fn close_all(&self) -> Cut {
        let mut cut = Cut::default();
        let all: Vec<AbortHandle> = self
            .states
            .borrow()
            .iter()
            .inspect(|(_, state)| match state.phase.get() {
                Phase::Idle | Phase::Over => {}
                Phase::Busy => cut.all += 1,
                Phase::Tunnel => {
                    cut.all += 1;
                    cut.tunnels += 1;
                }
            })
            .filter_map(|(_, state)| state.abort.borrow().clone())
            .collect();
        for abort in &all {
            abort.abort();
        }
        cut
    }

    /// Waits until one more connection is gone.
    pub(crate) async fn one_gone(&self) {
        self.gone.notified().await;
    }
}

/// One connection's handle. Dropping it ends its entry.
pub(crate) struct Connection {
    state: Rc<State>,
    key: usize,
    is_stream: bool,
    states: Rc<RefCell<Slab<Rc<State>>>>,
    gone: Rc<tokio::sync::Notify>,
    clock: Rc<super::Context>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Gives the worker the means to end it.
    pub(crate) fn abort_by(&self) -> impl FnOnce(AbortHandle) + use<> {
        let state = Rc::clone(&self.state);
        move |abort| *state.abort.borrow_mut() = Some(abort)
    }

    /// Waits at most `limit` (and up to a [`TICK`] more). One wait at a time.
    pub(crate) fn within<F: Future>(&self, limit: Duration, future: F) -> Within<'_, F> {
        self.touch(limit);
        self.state.expired.set(false);
        Within {
            state: &self.state,
            future,
        }
    }

    /// Gives the running wait `limit` from now.
    pub(crate) fn touch(&self, limit: Duration) {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(NEVER);
        self.state
            .deadline_ms
            .set(self.clock.now_ms().saturating_add(limit));
    }

    /// Says whether the connection waits for a request. One that does must look at [`Connection::shall_end`] whenever
    /// it is woken.
    pub(crate) fn set_idle(&self, idle: bool) {
        if idle {
            self.state.phase.set(Phase::Idle);
            self.state.idle_since_ms.set(self.clock.now_ms());
        } else {
            self.state.phase.set(Phase::Busy);
            self.state.is_used.set(true);
        }
    }

    /// As [`Connection::set_idle`], for a connection whose requests are streams that are told of on their own.
    pub(crate) fn set_carrying(&self, carrying: bool) {
        if carrying {
            self.state.phase.set(Phase::Over);
            self.state.is_used.set(true);
        } else if self.state.phase.replace(Phase::Idle) != Phase::Idle {
            self.state.idle_since_ms.set(self.clock.now_ms());
        }
    }

    /// From now on it carries bytes both ways.
    pub(crate) fn set_tunnel(&self) {
        self.state.phase.set(Phase::Tunnel);
    }

    /// The last answer was sent: nothing is lost by its end.
    pub(crate) fn set_over(&self) {
        self.state.phase.set(Phase::Over);
    }

    /// Whether it is to end unless a request is there already.
    pub(crate) fn shall_end(&self) -> bool {
        self.state.shall_end.get()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.states.borrow_mut().try_remove(self.key);
        if !self.is_stream {
            super::subtract(&self.clock.figures.connections_open, 1);
        }
        self.gone.notify_waiters();
        self.gone.notify_one();
    }
}

pin_project! {
    /// See [`Connection::within`].
    pub(crate) struct Within<'a, F> {
        state: &'a State,
        #[pin]
        future: F,
    }

    impl<'a, F> PinnedDrop for Within<'a, F> {
        fn drop(this: Pin<&mut Self>) {
            this.state.deadline_ms.set(NEVER);
        }
    }
}

impl<F: Future> Future for Within<'_, F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(context) {
            return Poll::Ready(Ok(output));
        }
        if this.state.expired.get() {
            return Poll::Ready(Err(Elapsed));
        }
        let mut waker = this.state.waker.borrow_mut();
        match &mut *waker {
            Some(waker) if waker.will_wake(context.waker()) => {}
            waker => *waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}
