//! Cookies by which sticky gateways know clients again.

use super::{Choice, SET_INSTANCE, SET_LEFT, SET_TAKEN, SET_WEIGHTED};
use crate::condition::RequestView;

/// Cookies of a request: name and value of each, in order.
fn cookies<R: RequestView>(request: &R) -> impl Iterator<Item = (&[u8], &[u8])> {
    (0..request.header_count())
        .map(|index| request.header(index))
        .filter(|(name, _)| name.eq_ignore_ascii_case(b"cookie"))
        .flat_map(|(_, value)| value.split(|byte| *byte == b';'))
        .filter_map(|pair| {
            let pair = pair.trim_ascii();
            let equals = memchr::memchr(b'=', pair)?;
            Some((
                pair.get(..equals)?.trim_ascii_end(),
                pair.get(equals + 1..)?.trim_ascii_start(),
            ))
        })
}

/// The first value of a cookie.
pub(super) fn cookie<'a, R: RequestView>(request: &'a R, name: &[u8]) -> Option<&'a [u8]> {
    cookies(request)
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
}

impl Choice {
    /// Values for `Set-Cookie`, one header each.
    pub(crate) fn set_cookies(&self) -> impl Iterator<Item = &[u8]> {
        self.hops().filter(|hop| hop.set != 0).flat_map(|hop| {
            let gateway = self.gateway(hop.gateway);
            let cookies = |index: u16| gateway?.routes.get(usize::from(index))?.cookies.as_ref();
            let chosen = cookies(hop.route);
            let matched = cookies(hop.matched);
            let instance = self
                .endpoint()
                .set_cookie
                .as_deref()
                .filter(|_| hop.set & SET_INSTANCE != 0);
            [
                chosen
                    .filter(|_| hop.set & SET_WEIGHTED != 0)
                    .map(|cookies| &*cookies.set_weighted),
                matched
                    .filter(|_| hop.set & SET_TAKEN != 0)
                    .map(|cookies| &*cookies.set_taken),
                matched
                    .filter(|_| hop.set & SET_LEFT != 0)
                    .map(|cookies| &*cookies.set_left),
                instance,
            ]
            .into_iter()
            .flatten()
        })
    }

    /// Whether any gateway crossed sets cookies, which then must be removed from the request.
    pub(crate) fn strips_cookies(&self) -> bool {
        self.hops().any(|hop| {
            self.gateway(hop.gateway)
                .is_some_and(|gateway| gateway.cookies.is_some())
        })
    }

    /// Whether a cookie is one of those.
    pub(crate) fn is_own_cookie(&self, name: &[u8]) -> bool {
        self.hops().any(|hop| {
            self.gateway(hop.gateway)
                .is_some_and(|gateway| gateway.is_own_cookie(name))
        })
    }
}
