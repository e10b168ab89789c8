//! Where a body ends (RFC 9112 §6 and §7).
//!
//! **Job.** Follow a body byte by byte as it passes, so that the end of a message is known exactly and what
//! passes has one reading only.
//!
//! **Invariants.** A decoder never looks at a byte twice and never buffers: it tells how many of the bytes
//! it was shown belong to the message. A chunked body that passes is strictly formed: a recipient that is
//! laxer than RFC 9112 reads the same body as one that is strict.
//!
//! **Absent.** No I/O; nothing is rewritten. Who reads a chunked body without its framing (for a client
//! that speaks HTTP/1.0) uses [`Chunked::step`].

use thiserror::Error;

/// Longest chunk line (size and extensions) in bytes, its CR LF not counted.
const CHUNK_LINE_BYTES_MAX: u32 = 4 * 1024;
/// Most bytes of chunk extensions in one body: they cost work and carry nothing.
const EXTENSION_BYTES_MAX: u32 = 64 * 1024;
/// Longest trailer section in bytes.
const TRAILER_BYTES_MAX: u32 = 16 * 1024;
/// A chunk size beyond this is a fault, whatever its digits: no body is that long, sums cannot overflow.
const CHUNK_SIZE_MAX: u64 = i64::MAX as u64;

/// A body that is not formed as its head says.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum FramingError {
    /// A chunk size is missing, is no hexadecimal number, or is too large.
    #[error("the chunk size is not a hexadecimal number that can be counted")]
    ChunkSize,
    /// A byte that cannot stand in a chunk extension.
    #[error("a chunk extension contains a control character")]
    ChunkExtension,
    /// Chunk data is not followed by CR LF.
    #[error("the chunk is not followed by CR LF")]
    ChunkEnd,
    /// A trailer line is no field.
    #[error("the trailer section is malformed")]
    Trailer,
    /// A trailer field frames or routes a message, which only a head can (RFC 9110 §6.5.1).
    #[error("a trailer field is one that only a head can have")]
    TrailerField,
    /// A part of the chunked framing is longer than allowed.
    #[error("a chunk line or the trailer section is too long")]
    TooLong,
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no body.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks (RFC 9112 §7.1).
    Chunked,
    /// All until the connection closes; responses only.
    UntilClose,
}

/// Follows one body.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Decoder {
    /// Nothing (more) to come.
    Done,
    /// So many bytes to come, at least one.
    Length(u64),
    /// Within a chunked body.
    Chunked(Chunked),
    /// All until the connection closes.
    UntilClose,
}

impl From<Framing> for Decoder {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunked::default()),
            Framing::UntilClose => Self::UntilClose,
        }
    }
}

impl Decoder {
    /// Looks at the next bytes of the connection. Returns how many of them, from the first, belong to this
    /// message, and whether it is complete with them.
    ///
    /// # Errors
    /// [`FramingError`]: the message is malformed; the decoder must not be used any more.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> Result<(usize, bool), FramingError> {
        match self {
            Self::Done => Ok((0, true)),
            Self::UntilClose => Ok((bytes.len(), false)),
            Self::Length(left) => {
                let taken = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= taken as u64;
                let done = *left == 0;
                if done {
                    *self = Self::Done;
                }
                Ok((taken, done))
            }
            Self::Chunked(chunked) => {
                let mut consumed = 0;
                loop {
                    let rest = bytes.get(consumed..).unwrap_or_default();
                    if rest.is_empty() {
                        return Ok((consumed, false));
                    }
                    match chunked.step(rest)? {
                        Step::Framing(taken) | Step::Data(taken) => consumed += taken,
                        Step::End(taken) => {
                            *self = Self::Done;
                            return Ok((consumed + taken, true));
                        }
                    }
                }
            }
        }
    }

    /// Whether the message is complete.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Whether the message is complete if the connection ends here.
    pub(crate) fn may_end_at_close(&self) -> bool {
        matches!(self, Self::Done | Self::UntilClose)
    }
}

/// What the next bytes of a chunked body are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many bytes of framing.
    Framing(usize),
    /// So many bytes of content.
    Data(usize),
    /// So many bytes of framing, the last of the message.
    End(usize),
}

/// Follows a chunked body (RFC 9112 §7.1) strictly: every line ends with CR LF, nothing but extensions
/// follows a size, trailer lines are fields without folding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunked {
    state: State,
    /// Bytes of the chunk that are still to come, or the size as far as it is read; behind the last chunk: a hash of the
    /// trailer field's name.
    left: u64,
    /// Bytes of the line read so far.
    line_bytes: u32,
    /// Bytes of extensions read so far.
    extension_bytes: u32,
    /// Bytes of the trailer section read so far.
    trailer_bytes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the first digit of a size.
    SizeStart,
    /// After a digit of a size.
    Size,
    /// After white space that follows a size ("bad white space", allowed only before an extension).
    SizeSpace,
    /// In extensions.
    Extension,
    /// At the LF that ends a chunk line.
    SizeLf,
    /// In chunk data, `left` more bytes.
    Data,
    /// At the CR after chunk data.
    DataCr,
    /// At the LF after chunk data.
    DataLf,
    /// At the first byte of a trailer line, or of the empty line that ends the message.
    TrailerStart,
    /// In the name of a trailer field.
    TrailerName,
    /// In the value of a trailer field.
    TrailerValue,
    /// At the LF of a trailer line.
    TrailerLf,
    /// At the LF of the last line.
    EndLf,
}

impl Default for Chunked {
    fn default() -> Self {
        Self {
            state: State::SizeStart,
            left: 0,
            line_bytes: 0,
            extension_bytes: 0,
            trailer_bytes: 0,
        }
    }
}

impl Chunked {
    /// Takes one run of framing or of data from the front of `bytes`, which is not empty.
    pub(crate) fn step(&mut self, bytes: &[u8]) -> Result<Step, FramingError> {
        if self.state == State::Data {
            let taken = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
            self.left -= taken as u64;
            if self.left == 0 {
                self.state = State::DataCr;
            }
            return Ok(Step::Data(taken));
        }
        for (index, &byte) in bytes.iter().enumerate() {
            match self.framing_byte(byte)? {
                Next::Framing => {}
                Next::Data => return Ok(Step::Framing(index + 1)),
                Next::End => return Ok(Step::End(index + 1)),
            }
        }
        Ok(Step::Framing(bytes.len()))
    }

    fn framing_byte(&mut self, byte: u8) -> Result<Next, FramingError> {
        self.state = match self.state {
            State::SizeStart => {
                self.left = u64::from(digit(byte).ok_or(FramingError::ChunkSize)?);
                self.line_bytes = 1;
                State::Size
            }
            State::Size => match (digit(byte), byte) {
                (Some(digit), _) => {
                    self.line_byte()?;
                    if self.left > CHUNK_SIZE_MAX >> 4 {
                        return Err(FramingError::ChunkSize);
                    }
                    self.left = (self.left << 4) | u64::from(digit);
                    State::Size
                }
                (None, b'\r') => State::SizeLf,
                (None, b';') => State::Extension,
                (None, b' ' | b'\t') => State::SizeSpace,
                (None, _) => return Err(FramingError::ChunkSize),
            },
            State::SizeSpace => match byte {
                b' ' | b'\t' => {
                    self.line_byte()?;
                    State::SizeSpace
                }
                b';' => State::Extension,
                _ => return Err(FramingError::ChunkSize),
            },
            State::Extension => match byte {
                b'\r' => State::SizeLf,
                b'\t' | b' '..=b'~' | 0x80.. => {
                    self.line_byte()?;
                    self.extension_bytes += 1;
                    if self.extension_bytes > EXTENSION_BYTES_MAX {
                        return Err(FramingError::TooLong);
                    }
                    State::Extension
                }
                _ => return Err(FramingError::ChunkExtension),
            },
            State::SizeLf => {
                expect(byte, b'\n', FramingError::ChunkSize)?;
                if self.left > 0 {
                    self.state = State::Data;
                    return Ok(Next::Data);
                }
                State::TrailerStart
            }
            State::Data => unreachable!("step() takes data itself"),
            State::DataCr => {
                expect(byte, b'\r', FramingError::ChunkEnd)?;
                State::DataLf
            }
            State::DataLf => {
                expect(byte, b'\n', FramingError::ChunkEnd)?;
                State::SizeStart
            }
            State::TrailerStart => match byte {
                b'\r' => State::EndLf,
                _ if is_token(byte) => {
                    self.trailer_byte()?;
                    self.left = hashed(HASH_START, byte);
                    State::TrailerName
                }
                _ => return Err(FramingError::Trailer),
            },
            State::TrailerName => {
                self.trailer_byte()?;
                match byte {
                    b':' if HEAD_ONLY.contains(&self.left) => return Err(FramingError::TrailerField),
                    b':' => State::TrailerValue,
                    _ if is_token(byte) => {
                        self.left = hashed(self.left, byte);
                        State::TrailerName
                    }
                    _ => return Err(FramingError::Trailer),
                }
            }
            State::TrailerValue => {
                self.trailer_byte()?;
                match byte {
                    b'\r' => State::TrailerLf,
                    b'\t' | b' '..=b'~' | 0x80.. => State::TrailerValue,
                    _ => return Err(FramingError::Trailer),
                }
            }
            State::TrailerLf => {
                expect(byte, b'\n', FramingError::Trailer)?;
                State::TrailerStart
            }
            State::EndLf => {
                expect(byte, b'\n', FramingError::Trailer)?;
                return Ok(Next::End);
            }
        };
        Ok(Next::Framing)
    }

    fn line_byte(&mut self) -> Result<(), FramingError> {
        self.line_bytes += 1;
        if self.line_bytes > CHUNK_LINE_BYTES_MAX {
            Err(FramingError::TooLong)
        } else {
            Ok(())
        }
    }

    fn trailer_byte(&mut self) -> Result<(), FramingError> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            Err(FramingError::TooLong)
        } else {
            Ok(())
        }
    }
}

/// Of names by FNV-1a (64 bit), letters in lower case. Should another name have the same, its message is refused that could
/// have passed.
const fn hashed(hash: u64, byte: u8) -> u64 {
    (hash ^ byte.to_ascii_lowercase() as u64).wrapping_mul(0x0000_0100_0000_01b3)
}

const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;

const fn hash(name: &str) -> u64 {
    let (bytes, mut hash, mut at) = (name.as_bytes(), HASH_START, 0);
    while at < bytes.len() {
        hash = hashed(hash, bytes[at]);
        at += 1;
    }
    hash
}

/// Fields by which messages are framed, or routed, or that are for one connection.
const HEAD_ONLY: [u64; 9] = [
    hash("content-length"),
    hash("transfer-encoding"),
    hash("host"),
    hash("connection"),
    hash("te"),
    hash("trailer"),
    hash("upgrade"),
    hash("keep-alive"),
    hash("proxy-connection"),
];

enum Next {
    Framing,
    Data,
    End,
}

fn expect(byte: u8, expected: u8, error: FramingError) -> Result<(), FramingError> {
    if byte == expected { Ok(()) } else { Err(error) }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// `tchar` of RFC 9110 §5.6.2.
pub(crate) fn is_token(byte: u8) -> bool {
    matches!(byte,
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z'
        | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests;
