//! Who the client is, where proxies before this one tell of it.

use std::net::{IpAddr, SocketAddr};

use crate::{condition::RequestView, network::Network};

/// Whether a sender's word on the way of a request counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Nobody is asked: what is said is passed on, and believed by nobody here.
    Unasked,
    /// The sender is one of those that are trusted.
    Trusted,
    /// It is not.
    Distrusted,
}

impl Trust {
    /// In a peer, if these are trusted.
    pub(crate) fn of(trusted: &[Network], peer: IpAddr) -> Self {
        if trusted.is_empty() {
            Self::Unasked
        } else if is_in(trusted, peer) {
            Self::Trusted
        } else {
            Self::Distrusted
        }
    }
}

/// The client: the peer, or if that is trusted the right-most address of `X-Forwarded-For` that is not. What is not
/// an address ends the search: whoever wrote it did not know.
pub(crate) fn client<R: RequestView>(request: &R, peer: IpAddr, trusted: &[Network]) -> IpAddr {
    if Trust::of(trusted, peer) != Trust::Trusted {
        return peer;
    }
    let mut client = peer;
    let elements = (0..request.header_count())
        .rev()
        .map(|index| request.header(index))
        .filter(|(name, _)| name.eq_ignore_ascii_case(b"x-forwarded-for"))
        .flat_map(|(_, value)| value.rsplit(|byte| *byte == b','));
    for element in elements {
        let Some(address) = address(element.trim_ascii()) else {
            break;
        };
        client = address;
        if !is_in(trusted, address) {
            break;
        }
    }
    client
}

fn is_in(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// An address, which some proxies write with a port.
fn address(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?;
    text.parse::<IpAddr>()
        .ok()
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
        .or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::client;
    use crate::condition::RequestView;

    struct Lines(&'static [&'static str]);

    impl RequestView for Lines {
        fn method(&self) -> &[u8] {
            b"GET"
        }
        fn target(&self) -> &[u8] {
            b"/"
        }
        fn header_count(&self) -> usize {
            self.0.len()
        }
        fn header(&self, index: usize) -> (&[u8], &[u8]) {
            (b"X-Forwarded-For", self.0[index].as_bytes())
        }
        fn source(&self) -> IpAddr {
            [0, 0, 0, 0].into()
        }
        fn destination(&self) -> IpAddr {
            [0, 0, 0, 0].into()
        }
        fn destination_port(&self) -> u16 {
            0
        }
    }

    #[test]
    fn the_right_most_address_that_is_not_trusted_is_the_client() {
        let trusted = [
            "10.0.0.0/8".parse().expect("network"),
            "fd00::/8".parse().expect("network"),
        ];
        for (peer, lines, expected) in [
            ("10.0.0.1", &["1.1.1.1"] as &[&str], "1.1.1.1"),
            ("10.0.0.1", &["6.6.6.6, 1.1.1.1, 10.0.0.2"], "1.1.1.1"),
            (
                "10.0.0.1",
                &["6.6.6.6", "1.1.1.1", "10.0.0.2,10.0.0.3"],
                "1.1.1.1",
            ),
            ("10.0.0.1", &["10.0.0.9, 10.0.0.2"], "10.0.0.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["1.1.1.1:4711"], "1.1.1.1"),
            ("fd00::1", &["[2001:db8::1]:80"], "2001:db8::1"),
            ("fd00::1", &["::ffff:9.9.9.9"], "9.9.9.9"),
            ("9.9.9.9", &["1.1.1.1"], "9.9.9.9"),
        ] {
            let lines: &'static [&'static str] = Box::leak(lines.to_vec().into_boxed_slice());
            let found = client(&Lines(lines), peer.parse().expect("address"), &trusted);
            assert_eq!(found.to_string(), expected, "{peer} {lines:?}");
        }
        let nobody = client(&Lines(&["1.1.1.1"]), [10, 0, 0, 1].into(), &[]);
        assert_eq!(nobody.to_string(), "10.0.0.1");
    }
}
