//! How long a request may wait for what.

use std::time::Duration;

use weir_model::{Millis, RouteTimeouts};

use crate::{config::Timeouts, worker::Context};

/// Bounds of waiting of one request: its route's, else those of the gateways before it, else the configuration's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    connect_ms: u32,
    first_byte_ms: u32,
    client_idle_ms: u32,
    server_idle_ms: u32,
    tunnel_ms: u32,
    /// Coarse milliseconds of the proxy's clock at which the whole request must have ended; [`u64::MAX`]: never.
    ends_at_ms: u64,
}

impl Waits {
    /// Those of the configuration.
    pub(crate) fn configured(timeouts: &Timeouts) -> Self {
        Self {
            connect_ms: ms(timeouts.connect),
            first_byte_ms: ms(timeouts.server),
            client_idle_ms: ms(timeouts.client_idle),
            server_idle_ms: ms(timeouts.server),
            tunnel_ms: ms(timeouts.tunnel),
            ends_at_ms: u64::MAX,
        }
    }

    /// Puts a route's in their place, as far as it has any; the request began now.
    pub(crate) fn replace(&mut self, own: &RouteTimeouts, now_ms: u64) {
        let set = |wait: &mut u32, own: Option<Millis>| {
            if let Some(own) = own {
                *wait = ms(own.duration());
            }
        };
        set(&mut self.connect_ms, own.connect);
        set(&mut self.first_byte_ms, own.first_byte);
        set(&mut self.client_idle_ms, own.idle);
        set(&mut self.server_idle_ms, own.idle);
        set(&mut self.tunnel_ms, own.tunnel);
        if let Some(request) = own.request {
            self.ends_at_ms = now_ms.saturating_add(u64::from(ms(request.duration())));
        }
    }

    /// For a connection.
    pub(crate) fn connect(&self, context: &Context) -> Duration {
        self.left(self.connect_ms, context)
    }

    /// For the first byte of the answer.
    pub(crate) fn first_byte(&self, context: &Context) -> Duration {
        self.left(self.first_byte_ms, context)
    }

    /// For the client to send or take more.
    pub(crate) fn client_idle(&self, context: &Context) -> Duration {
        self.left(self.client_idle_ms, context)
    }

    /// For the instance to send more of its answer.
    pub(crate) fn server_idle(&self, context: &Context) -> Duration {
        self.left(self.server_idle_ms, context)
    }

    /// For either side of a tunnel, which may last longer than any request.
    pub(crate) fn tunnel(&self) -> Duration {
        Duration::from_millis(u64::from(self.tunnel_ms))
    }

    /// Whether the time of the whole request is over.
    pub(crate) fn is_over(&self, context: &Context) -> bool {
        self.ends_at_ms <= context.now_ms()
    }

    fn left(&self, limit_ms: u32, context: &Context) -> Duration {
        let mut limit_ms = u64::from(limit_ms);
        if self.ends_at_ms != u64::MAX {
            limit_ms = limit_ms.min(self.ends_at_ms.saturating_sub(context.now_ms()));
        }
        Duration::from_millis(limit_ms)
    }
}

/// At most 49 days; longer is as good as for ever.
fn ms(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
