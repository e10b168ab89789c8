//! What routing sees of a request.

use std::net::{IpAddr, SocketAddr};

use crate::{condition::RequestView, http::head::Request};

/// What routing sees of a request.
pub(super) struct View<'r, 'h, 'b> {
    pub(super) request: &'r Request<'h, 'b>,
    pub(super) source: IpAddr,
    pub(super) local: SocketAddr,
}

impl RequestView for View<'_, '_, '_> {
    fn method(&self) -> &[u8] {
        self.request.method()
    }

    fn target(&self) -> &[u8] {
        self.request.target()
    }

    fn header_count(&self) -> usize {
        self.request.header_count()
    }

    fn header(&self, index: usize) -> (&[u8], &[u8]) {
        self.request.header(index)
    }

    fn source(&self) -> IpAddr {
        self.source
    }

    fn destination(&self) -> IpAddr {
        self.local.ip()
    }

    fn destination_port(&self) -> u16 {
        self.local.port()
    }
}
