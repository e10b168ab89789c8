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

#[derive(Default)]
struct State {
    /// Milliseconds of the coarse clock; [`NEVER`]: nothing is waited for.
    deadline_ms: Cell<u64>,
    expired: Cell<bool>,
    idle: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    abort: RefCell<Option<AbortHandle>>,
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
    pub(crate) fn open(self: &Connections, clock: Rc<super::Context>) -> Connection {
        let state = Rc::new(State {
            deadline_ms: Cell::new(NEVER),
            ..State::default()
        });
        let key = self.states.borrow_mut().insert(Rc::clone(&state));
        Connection {
            state,
            key,
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

    /// Ends up to `count` connections that wait for a next request.
    pub(crate) fn close_idle(&self, count: usize) {
        let idle: Vec<AbortHandle> = self
            .states
            .borrow()
            .iter()
            .filter(|(_, state)| state.idle.get())
            .filter_map(|(_, state)| state.abort.borrow().clone())
            .take(count)
            .collect();
        for abort in idle {
            abort.abort();
        }
    }

    /// Ends every connection; how many.
    pub(crate) fn close_all(&self) -> usize {
        let all: Vec<AbortHandle> = self
            .states
            .borrow()
            .iter()
            .filter_map(|(_, state)| state.abort.borrow().clone())
            .collect();
        for abort in &all {
            abort.abort();
        }
        all.len()
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

    /// Says whether the connection waits for a next request, and so may be ended at leave-taking.
    pub(crate) fn set_idle(&self, idle: bool) {
        self.state.idle.set(idle);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.states.borrow_mut().try_remove(self.key);
        super::subtract(&self.clock.figures.connections_open, 1);
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
