//! What a client sends, by the heads of its frames.

use ::h2::Reason;

const PREFACE_BYTES: usize = 24;
pub(super) const HEAD_BYTES: usize = 9;
/// Streams that the client ended which are remembered: a frame on one of them comes soon or never.
const ENDED_MAX: usize = 64;
/// Largest window of flow control (RFC 9113 §6.9.1).
const WINDOW_MAX: u32 = 0x7fff_ffff;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const WITH_PRIORITY: u8 = 32;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// Follows frames by their heads.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Frames {
    head: [u8; HEAD_BYTES],
    have: usize,
    left: usize,
}

impl Frames {
    pub(super) fn is_between(&self) -> bool {
        self.have == 0
    }

    /// Takes bytes of a head or of a payload from the front of `bytes`, which is not empty; how many.
    pub(super) fn step(&mut self, bytes: &[u8]) -> usize {
        let count = if self.have < HEAD_BYTES {
            let count = bytes.len().min(HEAD_BYTES - self.have);
            if let (Some(to), Some(from)) = (
                self.head.get_mut(self.have..self.have + count),
                bytes.get(..count),
            ) {
                to.copy_from_slice(from);
            }
            self.have += count;
            if self.have == HEAD_BYTES {
                self.left = self.length();
            }
            count
        } else {
            let count = bytes.len().min(self.left);
            self.left -= count;
            count
        };
        if self.have == HEAD_BYTES && self.left == 0 {
            self.have = 0;
        }
        count
    }

    fn length(&self) -> usize {
        let [high, middle, low, ..] = self.head;
        usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low)
    }

    fn kind(&self) -> u8 {
        self.head[3]
    }

    fn has(&self, flag: u8) -> bool {
        self.head[4] & flag != 0
    }

    fn stream(&self) -> u32 {
        let [_, _, _, _, _, a, b, c, d] = self.head;
        u32::from_be_bytes([a, b, c, d]) & WINDOW_MAX
    }
}

#[derive(Debug)]
pub(super) struct Inbound {
    preface_left: usize,
    frames: Frames,
    /// Bytes of the setting that is being read.
    setting: [u8; 6],
    setting_have: usize,
    /// The stream whose header block is not complete.
    block: Option<u32>,
    /// Whether its frames are sound as far as their heads go.
    block_is_sound: bool,
    newest: u32,
    ended: [u32; ENDED_MAX],
    ended_next: usize,
    ended_newest: u32,
    /// The last that was read is the end of a header block: if the library ends the connection now, it is for that.
    pub(super) after_block: bool,
    /// That block, if it came in one piece.
    pub(super) last_block: Vec<u8>,
}

impl Default for Inbound {
    fn default() -> Self {
        Self {
            preface_left: PREFACE_BYTES,
            frames: Frames::default(),
            setting: [0; 6],
            setting_have: 0,
            block: None,
            block_is_sound: false,
            newest: 0,
            ended: [0; ENDED_MAX],
            ended_next: 0,
            ended_newest: 0,
            after_block: false,
            last_block: Vec::new(),
        }
    }
}

impl Inbound {
    /// Looks at bytes. If there is a fault: how many bytes come before the frame that has it, and the code.
    pub(super) fn look(&mut self, bytes: &[u8]) -> Result<(), (usize, Reason)> {
        let mut at = bytes.len().min(self.preface_left);
        self.preface_left -= at;
        let mut begin = at;
        self.after_block = false;
        while let Some(rest @ [_, ..]) = bytes.get(at..) {
            if self.frames.is_between() {
                begin = at;
            }
            let in_head = self.frames.have < HEAD_BYTES;
            let is_first = !in_head && self.frames.left == self.frames.length();
            let count = self.frames.step(rest);
            at += count;
            let taken = rest.get(..count).unwrap_or_default();
            // A frame without a payload ends with its head.
            let is_whole = self.frames.is_between();
            if in_head && (is_whole || self.frames.have == HEAD_BYTES) {
                self.begins().map_err(|code| (begin, code))?;
            } else if !in_head {
                self.goes_on(taken, is_first).map_err(|code| (begin, code))?;
            }
            if is_whole {
                self.after_block = self.ends() && at == bytes.len();
                if self.after_block && self.frames.kind() == HEADERS {
                    self.keep_block(bytes.get(begin + HEAD_BYTES..at));
                }
            }
        }
        Ok(())
    }

    /// Keeps a block without its padding and priority. `payload`: of its one frame, if all of it is there.
    fn keep_block(&mut self, payload: Option<&[u8]>) {
        self.last_block.clear();
        let payload = payload.filter(|payload| payload.len() == self.frames.length());
        let Some(mut block) = payload else {
            return;
        };
        let mut padding = 0;
        if self.frames.has(PADDED) {
            let Some((first, rest)) = block.split_first() else {
                return;
            };
            (padding, block) = (usize::from(*first), rest);
        }
        if self.frames.has(WITH_PRIORITY) {
            block = block.get(5..).unwrap_or_default();
        }
        let length = block.len().saturating_sub(padding);
        self.last_block
            .extend_from_slice(block.get(..length).unwrap_or_default());
    }

    /// The head of a frame is there.
    fn begins(&mut self) -> Result<(), Reason> {
        let (kind, stream, length) = (self.frames.kind(), self.frames.stream(), self.frames.length());
        self.setting_have = 0;
        if self.block.is_some() {
            // Only the rest of the block may come: else the library has the right word.
            self.block_is_sound &= kind == CONTINUATION && self.block == Some(stream);
            return Ok(());
        }
        let is_wrong_length = match kind {
            PRIORITY => length != 5,
            RST_STREAM | WINDOW_UPDATE => length != 4,
            PING => length != 8,
            GOAWAY => length < 8,
            SETTINGS if self.frames.has(ACK) => length != 0,
            SETTINGS => length % 6 != 0,
            _ => false,
        };
        if is_wrong_length {
            return Err(Reason::FRAME_SIZE_ERROR);
        }
        if kind == PUSH_PROMISE {
            // A client cannot push (RFC 9113 §8.4); the library waits for the rest of its fields.
            return Err(Reason::PROTOCOL_ERROR);
        }
        if matches!(kind, DATA | HEADERS) && self.is_ended(stream) {
            return Err(Reason::STREAM_CLOSED);
        }
        if kind == HEADERS {
            self.block = Some(stream);
            // Of a stream that is not new the library may have more to say than of its fields.
            self.block_is_sound = stream % 2 == 1 && stream > self.newest;
            self.newest = self.newest.max(stream);
        }
        let ends = match kind {
            DATA | HEADERS => self.frames.has(END_STREAM),
            // One that was never begun has no end.
            RST_STREAM => stream <= self.newest,
            _ => false,
        };
        if ends && stream != 0 {
            if let Some(place) = self.ended.get_mut(self.ended_next % ENDED_MAX) {
                *place = stream;
            }
            self.ended_next = (self.ended_next + 1) % ENDED_MAX;
            self.ended_newest = self.ended_newest.max(stream);
        }
        Ok(())
    }

    fn is_ended(&self, stream: u32) -> bool {
        stream <= self.ended_newest && stream != 0 && self.ended.contains(&stream)
    }

    /// More of a payload is there.
    fn goes_on(&mut self, bytes: &[u8], is_first: bool) -> Result<(), Reason> {
        match self.frames.kind() {
            HEADERS if is_first && self.frames.has(PADDED) => {
                let more = if self.frames.has(WITH_PRIORITY) { 6 } else { 1 };
                let padding = bytes.first().copied().map_or(0, usize::from);
                self.block_is_sound &= padding + more <= self.frames.length();
            }
            SETTINGS if self.block.is_none() => {
                for byte in bytes {
                    if let Some(place) = self.setting.get_mut(self.setting_have) {
                        *place = *byte;
                    }
                    self.setting_have += 1;
                    if self.setting_have == self.setting.len() {
                        self.setting_have = 0;
                        let [a, b, value @ ..] = self.setting;
                        if u16::from_be_bytes([a, b]) == INITIAL_WINDOW_SIZE
                            && u32::from_be_bytes(value) > WINDOW_MAX
                        {
                            return Err(Reason::FLOW_CONTROL_ERROR);
                        }
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A frame is complete; whether a sound header block is with it.
    fn ends(&mut self) -> bool {
        if self.block.is_none()
            || !matches!(self.frames.kind(), HEADERS | CONTINUATION)
            || !self.frames.has(END_HEADERS)
        {
            return false;
        }
        self.block = None;
        self.block_is_sound
    }
}

#[cfg(test)]
mod tests {
    use ::h2::Reason;

    use super::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Inbound, PADDED, PING, PRIORITY,
        RST_STREAM, SETTINGS, WINDOW_UPDATE,
    };

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    fn with_preface(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frames.concat());
        bytes
    }

    /// What comes of bytes, read whole and one by one: the code, and bytes before the faulty frame (read whole).
    fn seen(frames: &[Vec<u8>]) -> Option<(usize, Reason)> {
        let bytes = with_preface(frames);
        let whole = Inbound::default().look(&bytes).err();
        let mut single = Inbound::default();
        let by_byte = bytes.iter().find_map(|byte| single.look(&[*byte]).err());
        assert_eq!(whole.map(|(_, code)| code), by_byte.map(|(_, code)| code));
        whole
    }

    #[test]
    fn a_frame_of_a_wrong_length_is_told_and_what_came_before_passes() {
        let sound = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]);
        for bad in [
            frame(PRIORITY, 0, 1, &[0; 4]),
            frame(RST_STREAM, 0, 1, &[0; 5]),
            frame(SETTINGS, 0, 0, &[0; 7]),
            frame(SETTINGS, 1, 0, &[0; 6]),
            frame(PING, 0, 0, &[0; 7]),
            frame(GOAWAY, 0, 0, &[0; 7]),
            frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
        ] {
            assert_eq!(
                seen(&[sound.clone(), bad]),
                Some((24 + sound.len(), Reason::FRAME_SIZE_ERROR))
            );
        }
        let push = frame(super::PUSH_PROMISE, 0, 1, &[0, 0, 0, 2]);
        assert_eq!(
            seen(&[sound.clone(), push]).map(|(_, code)| code),
            Some(Reason::PROTOCOL_ERROR)
        );
        let large = frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0, 0, 4, 0x80, 0, 0, 0]);
        assert_eq!(
            seen(&[sound, large]).map(|(_, code)| code),
            Some(Reason::FLOW_CONTROL_ERROR)
        );
    }

    #[test]
    fn a_stream_that_the_client_ended_takes_nothing() {
        let headers = |flags, stream| frame(HEADERS, flags | END_HEADERS, stream, b"x");
        let data = |flags, stream| frame(DATA, flags, stream, b"x");
        let closed = Some(Reason::STREAM_CLOSED);
        let code = |frames: &[Vec<u8>]| seen(frames).map(|(_, code)| code);
        assert_eq!(code(&[headers(END_STREAM, 1), data(0, 1)]), closed);
        assert_eq!(code(&[headers(0, 1), data(END_STREAM, 1), headers(0, 1)]), closed);
        assert_eq!(
            code(&[headers(0, 1), frame(RST_STREAM, 0, 1, &[0; 4]), data(0, 1)]),
            closed
        );
        // Trailers, other streams, and what may come after the end.
        assert_eq!(
            code(&[
                headers(0, 1),
                data(0, 1),
                headers(END_STREAM, 1),
                headers(END_STREAM, 3),
                frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
                frame(RST_STREAM, 0, 1, &[0; 4]),
                frame(PRIORITY, 0, 1, &[0; 5]),
            ]),
            None
        );
        // One that was never begun is for the library.
        assert_eq!(code(&[headers(END_STREAM, 5), headers(END_STREAM, 3)]), None);
    }

    #[test]
    fn a_block_is_kept_without_its_padding() {
        let mut inbound = Inbound::default();
        let padded = frame(
            HEADERS,
            END_HEADERS | PADDED | super::WITH_PRIORITY,
            1,
            b"\x02\0\0\0\0\x07\x82\x84\0\0",
        );
        inbound.look(&with_preface(&[padded])).expect("no fault");
        assert_eq!(inbound.last_block, b"\x82\x84");
    }

    #[test]
    fn only_after_a_sound_header_block_is_the_end_of_a_connection_for_that() {
        let after = |frames: &[Vec<u8>]| {
            let mut inbound = Inbound::default();
            inbound.look(&with_preface(frames)).expect("no fault");
            inbound.after_block
        };
        let block = frame(HEADERS, END_HEADERS, 1, &[0xff; 5]);
        assert!(after(std::slice::from_ref(&block)));
        assert!(after(&[
            frame(HEADERS, 0, 1, b"x"),
            frame(CONTINUATION, END_HEADERS, 1, b"y")
        ]));
        assert!(!after(&[block, frame(PING, 0, 0, &[0; 8])]));
        assert!(!after(&[frame(HEADERS, END_HEADERS, 2, b"x")]), "an even stream");
        assert!(!after(&[
            frame(HEADERS, END_HEADERS, 5, b"x"),
            frame(HEADERS, END_HEADERS, 3, b"x")
        ]));
        assert!(
            !after(&[frame(HEADERS, END_HEADERS | PADDED, 1, &[9, 0, 0])]),
            "padding beyond the end"
        );
        assert!(!after(&[
            frame(HEADERS, 0, 1, b"x"),
            frame(PING, END_HEADERS, 0, &[0; 8])
        ]));
        assert!(!after(&[frame(CONTINUATION, END_HEADERS, 1, b"x")]));
    }
}
