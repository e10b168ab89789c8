//! Which ports instances of this driver have.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, Ipv6Addr, TcpListener},
    ops::RangeInclusive,
};

/// Ports given away and the place from which the next is sought.
///
/// The search goes round the range, so that a port that was just given up is not used again soon: gateways
/// may still know its old owner.
#[derive(Debug)]
pub(crate) struct Ports {
    range: RangeInclusive<u16>,
    next: u16,
    used: BTreeSet<u16>,
}

impl Ports {
    /// `seed` decides where in the range the search begins: drivers of one host that share a range then
    /// rarely want the same port at the same moment.
    pub(crate) fn new(range: RangeInclusive<u16>, seed: u64) -> Ports {
        let length = u64::from(range.end().saturating_sub(*range.start())) + 1;
        let offset = u16::try_from(seed % length).expect("the length of a range of u16 is at most 65536");
        let next = range.start().saturating_add(offset);
        Ports {
            range,
            next,
            used: BTreeSet::new(),
        }
    }

    /// A port of the range that nobody has; `None`: there is none.
    pub(crate) fn assign(&mut self, free: impl Fn(u16) -> bool) -> Option<u16> {
        for _ in self.range.clone() {
            let port = self.next;
            self.next = if port >= *self.range.end() {
                *self.range.start()
            } else {
                port + 1
            };
            if port != 0 && !self.used.contains(&port) && free(port) {
                self.used.insert(port);
                return Some(port);
            }
        }
        None
    }

    /// Takes this port; whether nobody had it.
    pub(crate) fn claim(&mut self, port: u16, free: impl Fn(u16) -> bool) -> bool {
        !self.used.contains(&port) && free(port) && self.used.insert(port)
    }

    /// Notes the port of an instance that was found again.
    pub(crate) fn hold(&mut self, port: u16) {
        self.used.insert(port);
    }

    /// Gives a port up.
    pub(crate) fn release(&mut self, port: u16) {
        self.used.remove(&port);
    }
}

/// Whether nobody listens at this port of this host, on whatever address: binding the unspecified address
/// fails if any other of its family is bound.
pub(crate) fn free(port: u16) -> bool {
    let taken = |bound: io::Result<TcpListener>| {
        bound.is_err_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
            )
        })
    };
    !taken(TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
        && !taken(TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_is_given_once_and_then_none() {
        let mut ports = Ports::new(100..=104, 3);
        ports.hold(101);
        let given: Vec<u16> = std::iter::from_fn(|| ports.assign(|port| port != 102)).collect();
        assert_eq!(given, [103, 104, 100]);
        ports.release(104);
        assert_eq!(ports.assign(|_| true), Some(102), "goes on from where it was");
        assert_eq!(ports.assign(|_| true), Some(104));
        assert_eq!(ports.assign(|_| true), None);
    }

    #[test]
    fn the_ends_of_the_numbers_are_no_trap() {
        let mut ports = Ports::new(65_534..=65_535, u64::MAX);
        assert!(ports.assign(|_| true).is_some());
        assert!(ports.assign(|_| true).is_some());
        assert_eq!(ports.assign(|_| true), None);
        let mut all = Ports::new(0..=65_535, 0);
        assert_eq!(all.assign(|_| true), Some(1), "0 is not a port");
    }

    #[test]
    fn a_claimed_port_is_claimed_once() {
        let mut ports = Ports::new(100..=104, 0);
        assert!(!ports.claim(80, |_| false));
        assert!(ports.claim(80, |_| true));
        assert!(!ports.claim(80, |_| true));
        ports.release(80);
        assert!(ports.claim(80, |_| true));
    }

    #[test]
    fn a_port_with_a_listener_on_any_address_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!free(port));
    }
}
