//! The first message of a client of TLS, read without taking part in the handshake (RFC 8446 §4.1.2, §5.1; RFC 6066 §3).
//!
//! **Invariants.** At most [`HELLO_BYTES_MAX`] are looked at, and nothing but the name is taken from them: the instance that
//! ends TLS sees every byte as the client sent it. What has no one reading has none here, so that a client cannot be routed by
//! another name than the one that the instance sees.

/// Longest that comes before the end of the message, in bytes, records' heads included.
pub(crate) const HELLO_BYTES_MAX: usize = 16 * 1024;

const RECORD_HEAD: usize = 5;
const RECORD_BYTES_MAX: usize = 16 * 1024;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
/// Longest name (RFC 1035 §2.3.4).
const NAME_BYTES_MAX: usize = 253;

/// What the bytes so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hello {
    /// The beginning of one: so many bytes are needed at least.
    Partial(usize),
    /// Something else than TLS.
    Other,
    /// A whole one, with the name that it asks for in lower case.
    Whole(Option<String>),
}

/// The bytes are no `ClientHello` that has one reading, or it is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Reads what is at the front of a connection.
pub(crate) fn read(bytes: &[u8]) -> Result<Hello, Malformed> {
    let Some(first) = bytes.first() else {
        return Ok(Hello::Partial(1));
    };
    if *first != HANDSHAKE {
        return Ok(Hello::Other);
    }
    let mut message = Vec::new();
    let mut at = 0;
    loop {
        let Some([kind, major, _, high, low]) = bytes.get(at..at + RECORD_HEAD) else {
            return partial(at + RECORD_HEAD);
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if *kind != HANDSHAKE || *major != 3 || length == 0 || length > RECORD_BYTES_MAX {
            return Err(Malformed);
        }
        let begin = at + RECORD_HEAD;
        at = begin + length;
        if at > HELLO_BYTES_MAX + RECORD_HEAD {
            return Err(Malformed);
        }
        let Some(payload) = bytes.get(begin..at) else {
            // The kind of the message may tell already that it is none.
            let known = bytes.get(begin..).unwrap_or_default();
            return match message.first().or(known.first()) {
                Some(&CLIENT_HELLO) | None => partial(at),
                Some(_) => Err(Malformed),
            };
        };
        message.extend_from_slice(payload);
        let Some([kind, a, b, c]) = message.get(..4) else {
            continue;
        };
        if *kind != CLIENT_HELLO {
            return Err(Malformed);
        }
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        if length > HELLO_BYTES_MAX {
            return Err(Malformed);
        }
        if let Some(hello) = message.get(4..4 + length) {
            return server_name(hello).map(Hello::Whole).ok_or(Malformed);
        }
    }
}

fn partial(needed: usize) -> Result<Hello, Malformed> {
    if needed > HELLO_BYTES_MAX + RECORD_HEAD {
        Err(Malformed)
    } else {
        Ok(Hello::Partial(needed))
    }
}

/// The name in a hello; the outer `None`: it is malformed.
fn server_name(hello: &[u8]) -> Option<Option<String>> {
    let mut hello = Reader(hello);
    // Version and random.
    hello.take(2 + 32)?;
    let session = hello.vector8()?;
    let suites = hello.vector16()?;
    let compressions = hello.vector8()?;
    if session.len() > 32 || suites.is_empty() || suites.len() % 2 != 0 || compressions.is_empty() {
        return None;
    }
    if hello.0.is_empty() {
        // One of old, without extensions.
        return Some(None);
    }
    let mut extensions = Reader(hello.vector16()?);
    if !hello.0.is_empty() {
        return None;
    }
    let mut found = None;
    let mut kinds = Vec::new();
    while !extensions.0.is_empty() {
        let kind = extensions.number16()?;
        let value = extensions.vector16()?;
        // RFC 8446 §4.2: no kind comes twice.
        if kinds.contains(&kind) || kinds.len() >= KINDS_MAX {
            return None;
        }
        kinds.push(kind);
        if kind == SERVER_NAME {
            found = Some(host_name(value)?);
        }
    }
    Some(found)
}

/// Extensions of one hello; there are some sixty kinds.
const KINDS_MAX: usize = 128;

fn host_name(extension: &[u8]) -> Option<String> {
    let mut extension = Reader(extension);
    let mut list = Reader(extension.vector16()?);
    let kind = list.number8()?;
    let name = list.vector16()?;
    // Other kinds were never defined, and one name of each kind is allowed.
    if kind != HOST_NAME || !list.0.is_empty() || !extension.0.is_empty() {
        return None;
    }
    let is_name = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        && !name.starts_with(b".")
        && !name.ends_with(b".");
    if !is_name {
        return None;
    }
    let name = std::str::from_utf8(name).ok()?;
    Some(name.to_ascii_lowercase())
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number16(&mut self) -> Option<u16> {
        self.take(2)?
            .first_chunk()
            .map(|bytes| u16::from_be_bytes(*bytes))
    }

    fn vector8(&mut self) -> Option<&'b [u8]> {
        let length = self.number8()?;
        self.take(usize::from(length))
    }

    fn vector16(&mut self) -> Option<&'b [u8]> {
        let length = self.number16()?;
        self.take(usize::from(length))
    }
}

#[cfg(test)]
mod tests {
    use super::{HELLO_BYTES_MAX, Hello, Malformed, read};

    fn vector16(bytes: &[u8]) -> Vec<u8> {
        let mut vector = u16::try_from(bytes.len()).expect("short").to_be_bytes().to_vec();
        vector.extend(bytes);
        vector
    }

    fn extension(kind: u16, value: &[u8]) -> Vec<u8> {
        [kind.to_be_bytes().to_vec(), vector16(value)].concat()
    }

    fn name(name: &[u8]) -> Vec<u8> {
        extension(0, &vector16(&[vec![0], vector16(name)].concat()))
    }

    fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.push(0);
        body.extend(vector16(&[0x13, 1]));
        body.extend([1, 0]);
        body.extend(vector16(&extensions.concat()));
        let length = u32::try_from(body.len()).expect("short").to_be_bytes();
        let mut message = vec![1, length[1], length[2], length[3]];
        message.extend(body);
        message
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        message
            .chunks(size)
            .flat_map(|piece| [vec![22, 3, 1], vector16(piece)].concat())
            .collect()
    }

    #[test]
    fn the_name_is_found_however_the_message_is_cut() {
        let message = hello(&[
            extension(10, b"\0\x02\0\x1d"),
            name(b"A.Test"),
            extension(43, b"\x02\x03\x04"),
        ]);
        for size in [1, 3, 50, 10_000] {
            let bytes = records(&message, size);
            let whole = Ok(Hello::Whole(Some("a.test".to_owned())));
            assert_eq!(read(&bytes), whole, "records of {size}");
            assert_eq!(read(&[&bytes[..], b"and more"].concat()), whole);
            for end in 0..bytes.len() {
                match read(&bytes[..end]) {
                    Ok(Hello::Partial(needed)) => assert!(end < needed && needed <= bytes.len(), "{end}"),
                    other => panic!("cut at {end}: {other:?}"),
                }
            }
        }
        assert_eq!(read(&records(&hello(&[]), 500)), Ok(Hello::Whole(None)));
        assert_eq!(read(b"SSH-2.0"), Ok(Hello::Other));
        assert_eq!(read(b"GET / HTTP/1.1"), Ok(Hello::Other));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_malformed() {
        let long = vec![b'a'; 254];
        for (what, extensions) in [
            ("two names", vec![name(b"a.test"), name(b"b.test")]),
            ("any kind twice", vec![extension(9, b""), extension(9, b"")]),
            ("an empty name", vec![name(b"")]),
            ("a zero byte", vec![name(b"a.test\0.b.test")]),
            ("a dot at the end", vec![name(b"a.test.")]),
            ("a dot at the start", vec![name(b".a.test")]),
            ("a space", vec![name(b"a test")]),
            ("beyond ASCII", vec![name("ä.test".as_bytes())]),
            ("too long", vec![name(&long)]),
            (
                "two in a list",
                vec![extension(0, &vector16(b"\0\0\x01a\0\0\x01b"))],
            ),
            ("another kind", vec![extension(0, &vector16(b"\x01\0\x01a"))]),
            ("an empty list", vec![extension(0, &vector16(b""))]),
            ("more than the list", vec![extension(0, b"\0\x04\0\0\x01axx")]),
            ("a list too short", vec![extension(0, b"\0\x09\0\0\x01a")]),
        ] {
            assert_eq!(
                read(&records(&hello(&extensions), 10_000)),
                Err(Malformed),
                "{what}"
            );
        }
        let mut trailing = hello(&[name(b"a.test")]);
        trailing.push(0);
        trailing[3] += 1;
        assert_eq!(read(&records(&trailing, 10_000)), Err(Malformed));
    }

    #[test]
    fn bounds_are_kept() {
        for bytes in [
            &b"\x16\x03\x01\x00\x00"[..],
            b"\x16\x03\x01\xff\xff",
            b"\x16\x02\x01\x00\x05",
            b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
            b"\x16\x03\x01\x00\x05\x02",
            b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
        ] {
            assert_eq!(read(bytes), Err(Malformed), "{bytes:?}");
        }
        // A message that never ends, in records of one byte.
        let endless = [vec![1, 0, 0x3f, 0xff], vec![0; 9_000]].concat();
        let bytes = records(&endless, 1);
        assert!(bytes.len() > HELLO_BYTES_MAX);
        assert_eq!(read(&bytes), Err(Malformed));
    }
}
