//! The PROXY protocol, versions 1 and 2: who the client was, told by whoever relayed its connection
//! (HAProxy, `doc/proxy-protocol.txt`).
//!
//! **Invariants.** Reading never panics and never takes more than [`HEADER_BYTES_MAX`]. A listener that expects the
//! header serves nothing without it: a client could otherwise claim any address by leaving it out.

use std::{
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use thiserror::Error;
use tokio::{io::AsyncReadExt as _, net::TcpStream};

/// Longest header that is read, in bytes: version 1 is at most 107, version 2 with many extensions stays below.
pub(crate) const HEADER_BYTES_MAX: usize = 1024;

const V1_BYTES_MAX: usize = 107;
const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Why the bytes are not a header.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// They do not begin as one.
    #[error("the connection does not begin with a PROXY protocol header")]
    Missing,
    /// They begin as one and go on wrongly.
    #[error("the PROXY protocol header is malformed: {0}")]
    Malformed(&'static str),
    /// It is longer than is read.
    #[error("the PROXY protocol header is longer than {HEADER_BYTES_MAX} bytes")]
    TooLong,
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// (client, address that it connected to); `None`: the relay speaks for itself (health checks).
    pub(crate) addresses: Option<(SocketAddr, SocketAddr)>,
    /// Bytes that the header takes.
    pub(crate) length: usize,
}

/// Version that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

/// Reads a header at the beginning of `bytes`; `None`: more bytes are needed.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    let common = bytes.len().min(V2_SIGNATURE.len());
    if bytes.get(..common) == V2_SIGNATURE.get(..common) && common > 0 {
        // The first bytes of both versions differ, so this is version 2 or nothing.
        return if common == V2_SIGNATURE.len() {
            read_v2(bytes)
        } else {
            Ok(None)
        };
    }
    let prefix = b"PROXY ";
    let common = bytes.len().min(prefix.len());
    if bytes.get(..common) != prefix.get(..common) {
        return Err(HeaderError::Missing);
    }
    read_v1(bytes)
}

/// Why no header could be received.
#[derive(Debug, Error)]
pub(crate) enum ReceiveError {
    /// What came is none.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The connection ended or broke before it was complete.
    #[error("the connection ended within the PROXY protocol header")]
    Ended,
    /// It could not be read from.
    #[error("the connection could not be read from")]
    Read(#[source] io::Error),
}

/// Receives the header that a connection begins with, and not a byte more. What it tells: (client, address that it
/// connected to).
pub(crate) async fn receive(
    stream: &mut TcpStream,
) -> Result<Option<(SocketAddr, SocketAddr)>, ReceiveError> {
    let mut bytes = [0; HEADER_BYTES_MAX];
    let mut taken = 0;
    loop {
        // Looking first leaves what comes behind the header to whoever reads next.
        let rest = bytes
            .get_mut(taken..)
            .filter(|rest| !rest.is_empty())
            .ok_or(HeaderError::TooLong)?;
        let seen = stream.peek(rest).await.map_err(ReceiveError::Read)?;
        if seen == 0 {
            return Err(ReceiveError::Ended);
        }
        let header = read(bytes.get(..taken + seen).unwrap_or_default())?;
        // A header that is not complete is all that there is so far.
        let end = header.map_or(taken + seen, |header| header.length);
        let of_header = bytes.get_mut(taken..end).unwrap_or_default();
        stream.read_exact(of_header).await.map_err(ReceiveError::Read)?;
        taken = end;
        if let Some(header) = header {
            return Ok(header.addresses);
        }
    }
}

fn read_v1(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    let Some(end) = memchr::memmem::find(
        bytes.get(..bytes.len().min(V1_BYTES_MAX)).unwrap_or_default(),
        b"\r\n",
    ) else {
        return if bytes.len() < V1_BYTES_MAX {
            Ok(None)
        } else {
            Err(HeaderError::Malformed("the line does not end"))
        };
    };
    let line = bytes.get(..end).unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| HeaderError::Malformed("it is not text"))?;
    let length = end + 2;
    let mut words = line.split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        return Ok(Some(Header {
            addresses: None,
            length,
        }));
    }
    let address = |text: Option<&str>| -> Result<IpAddr, HeaderError> {
        let address: IpAddr = text
            .and_then(|text| text.parse().ok())
            .ok_or(HeaderError::Malformed("an address is wrong"))?;
        match (family, address) {
            ("TCP4", IpAddr::V4(_)) | ("TCP6", IpAddr::V6(_)) => Ok(address),
            _ => Err(HeaderError::Malformed("the address is of another family")),
        }
    };
    let (from, to) = (address(words.next())?, address(words.next())?);
    let port = |text: Option<&str>| -> Result<u16, HeaderError> {
        text.filter(|text| !text.starts_with('+'))
            .and_then(|text| text.parse().ok())
            .ok_or(HeaderError::Malformed("a port is wrong"))
    };
    let (from_port, to_port) = (port(words.next())?, port(words.next())?);
    if words.next().is_some() {
        return Err(HeaderError::Malformed("there are too many words"));
    }
    Ok(Some(Header {
        addresses: Some((SocketAddr::new(from, from_port), SocketAddr::new(to, to_port))),
        length,
    }))
}

fn read_v2(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    let Some((fixed, rest)) = bytes.split_at_checked(16) else {
        return Ok(None);
    };
    let (Some(version_command), Some(family), Some([high, low])) =
        (fixed.get(12), fixed.get(13), fixed.get(14..16))
    else {
        return Ok(None);
    };
    if version_command >> 4 != 2 {
        return Err(HeaderError::Malformed("the version is not 2"));
    }
    let payload = usize::from(u16::from_be_bytes([*high, *low]));
    let length = 16 + payload;
    if length > HEADER_BYTES_MAX {
        return Err(HeaderError::TooLong);
    }
    let Some(payload) = rest.get(..payload) else {
        return Ok(None);
    };
    let addresses = match version_command & 0x0f {
        0 => None,
        1 => match family {
            0x11 => Some(v4(payload).ok_or(HeaderError::Malformed("the addresses are cut short"))?),
            0x21 => Some(v6(payload).ok_or(HeaderError::Malformed("the addresses are cut short"))?),
            // Unix sockets, datagrams, unspecified: to be taken as the relay's own connection.
            _ => None,
        },
        _ => return Err(HeaderError::Malformed("the command is not known")),
    };
    Ok(Some(Header { addresses, length }))
}

fn v4(payload: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let from: [u8; 4] = payload.get(0..4)?.try_into().ok()?;
    let to: [u8; 4] = payload.get(4..8)?.try_into().ok()?;
    let ports = ports(payload.get(8..12)?)?;
    Some((
        SocketAddr::new(Ipv4Addr::from(from).into(), ports.0),
        SocketAddr::new(Ipv4Addr::from(to).into(), ports.1),
    ))
}

fn v6(payload: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let from: [u8; 16] = payload.get(0..16)?.try_into().ok()?;
    let to: [u8; 16] = payload.get(16..32)?.try_into().ok()?;
    let ports = ports(payload.get(32..36)?)?;
    Some((
        SocketAddr::new(Ipv6Addr::from(from).into(), ports.0),
        SocketAddr::new(Ipv6Addr::from(to).into(), ports.1),
    ))
}

fn ports(bytes: &[u8]) -> Option<(u16, u16)> {
    let [a, b, c, d] = bytes else { return None };
    Some((u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])))
}

/// Appends a header that tells of a client and the address that it connected to.
pub(crate) fn write(version: Version, client: SocketAddr, to: SocketAddr, into: &mut Vec<u8>) {
    // One family for both: a mapped address says the same.
    let same_family = client.is_ipv4() == to.is_ipv4();
    let as_v6 = |address: SocketAddr| match address.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    match version {
        Version::V1 => {
            let _ = if same_family {
                let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
                write!(
                    into,
                    "PROXY {family} {} {} {} {}\r\n",
                    client.ip(),
                    to.ip(),
                    client.port(),
                    to.port()
                )
            } else {
                write!(
                    into,
                    "PROXY TCP6 {} {} {} {}\r\n",
                    as_v6(client),
                    as_v6(to),
                    client.port(),
                    to.port()
                )
            };
        }
        Version::V2 => {
            into.extend_from_slice(&V2_SIGNATURE);
            into.push(0x21);
            match (client.ip(), to.ip()) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    into.extend_from_slice(&[0x11, 0, 12]);
                    into.extend_from_slice(&from.octets());
                    into.extend_from_slice(&to.octets());
                }
                _ => {
                    into.extend_from_slice(&[0x21, 0, 36]);
                    into.extend_from_slice(&as_v6(client).octets());
                    into.extend_from_slice(&as_v6(to).octets());
                }
            }
            into.extend_from_slice(&client.port().to_be_bytes());
            into.extend_from_slice(&to.port().to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::{Header, HeaderError, Version, read, write};

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("address")
    }

    #[test]
    fn version_1_is_read() {
        let bytes = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET /";
        let expected = Header {
            addresses: Some((address("192.168.0.1:56324"), address("192.168.0.11:443"))),
            length: 47,
        };
        assert_eq!(read(bytes), Ok(Some(expected)));
        assert_eq!(
            read(b"PROXY UNKNOWN ffff:f...f\r\n"),
            Ok(Some(Header {
                addresses: None,
                length: 26
            }))
        );
    }

    #[test]
    fn what_is_no_header_is_refused() {
        assert_eq!(read(b"GET / HTTP/1.1\r\n"), Err(HeaderError::Missing));
        assert_eq!(read(b"PROXYTCP4"), Err(HeaderError::Missing));
        assert!(matches!(
            read(b"PROXY TCP4 ::1 ::1 1 2\r\n"),
            Err(HeaderError::Malformed(_))
        ));
        assert!(matches!(
            read(b"PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n"),
            Err(HeaderError::Malformed(_))
        ));
        assert!(matches!(
            read(b"PROXY TCP4 1.2.3.4 1.2.3.4 1 +9\r\n"),
            Err(HeaderError::Malformed(_))
        ));
        assert!(matches!(
            read(&[b"PROXY ".as_slice(), &[b'a'; 200]].concat()),
            Err(HeaderError::Malformed(_))
        ));
        let mut long = super::V2_SIGNATURE.to_vec();
        long.extend_from_slice(&[0x21, 0x11, 0xff, 0xff]);
        assert_eq!(read(&long), Err(HeaderError::TooLong));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_every_part_of_it_needs_more(
            v2 in any::<bool>(), from in any::<std::net::SocketAddr>(), to in any::<std::net::SocketAddr>(),
        ) {
            let version = if v2 { Version::V2 } else { Version::V1 };
            let plain = |address: SocketAddr| SocketAddr::new(address.ip(), address.port());
            let (from, to) = (plain(from), plain(to));
            let mut bytes = Vec::new();
            write(version, from, to, &mut bytes);
            for end in 1..bytes.len() {
                prop_assert_eq!(read(&bytes[..end]), Ok(None));
            }
            let header = read(&bytes).expect("a header").expect("whole");
            prop_assert_eq!(header.length, bytes.len());
            let (read_from, read_to) = header.addresses.expect("addresses");
            prop_assert_eq!(read_from.ip().to_canonical(), from.ip().to_canonical());
            prop_assert_eq!((read_from.port(), read_to.port()), (from.port(), to.port()));
        }

        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let mut signed = super::V2_SIGNATURE.to_vec();
            signed.extend_from_slice(&bytes);
            let _ = read(&signed);
        }
    }
}
