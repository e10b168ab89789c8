//! Whether a block of fields is one at all.

/// Entries of the static table (RFC 7541 appendix A), and the most that fit into a dynamic one of the size that is allowed here.
const STATIC_MAX: u64 = 61;
const DYNAMIC_MAX: u64 = 4_096 / 32;
const TABLE_BYTES_MAX: u64 = 4_096;

/// Whether a header block cannot be decoded (RFC 7541 §2.3.3, §5, §6.3): it ends within a field, a number is too large, or an entry
/// is asked for that no table can have. What fields say is not looked at.
pub(super) fn cannot_be_decoded(block: &[u8]) -> bool {
    let mut rest = block;
    while !rest.is_empty() {
        match representation(rest) {
            Some(after) => rest = after,
            None => return true,
        }
    }
    false
}

/// What follows the first representation of a field.
fn representation(bytes: &[u8]) -> Option<&[u8]> {
    let first = *bytes.first()?;
    if first & 0x80 != 0 {
        let (index, rest) = number(bytes, 7)?;
        return (1..=STATIC_MAX + DYNAMIC_MAX).contains(&index).then_some(rest);
    }
    if first & 0xe0 == 0x20 {
        let (size, rest) = number(bytes, 5)?;
        return (size <= TABLE_BYTES_MAX).then_some(rest);
    }
    let (index, rest) = number(bytes, if first & 0x40 != 0 { 6 } else { 4 })?;
    let rest = match index {
        0 => text(rest)?,
        1..=189 => rest,
        _ => return None,
    };
    text(rest)
}

fn text(bytes: &[u8]) -> Option<&[u8]> {
    bytes.first()?;
    let (length, rest) = number(bytes, 7)?;
    rest.get(usize::try_from(length).ok()?..)
}

/// A number whose first part are the last `bits` bits of the first byte (RFC 7541 §5.1).
fn number(bytes: &[u8], bits: u32) -> Option<(u64, &[u8])> {
    let (first, mut rest) = bytes.split_first()?;
    let mask = (1u64 << bits) - 1;
    let mut value = u64::from(*first) & mask;
    if value < mask {
        return Some((value, rest));
    }
    for shift in [0, 7, 14, 21, 28] {
        let (byte, after) = rest.split_first()?;
        rest = after;
        value += u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, rest));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_cannot_be_decoded_is_told_from_what_must_not_be_said() {
        for block in [
            &b"\x40"[..],
            b"\x40\x01a",
            b"\x40\x01a\x05b",
            b"\x80",
            b"\xff\x80\x01",
            b"\x3f\xff\xff\x03",
            b"\x7f\xff\xff\xff\xff\xff\x01",
        ] {
            assert!(super::cannot_be_decoded(block), "{block:?}");
        }
        // An entry of the static table, of a dynamic one, a name with a space, a value with a zero byte.
        for block in [
            &b"\x82"[..],
            b"\xc0",
            b"\x00\x03a b\x01c",
            b"\x40\x01a\x01\0",
            b"\x3f\xe1\x1f",
            b"",
        ] {
            assert!(!super::cannot_be_decoded(block), "{block:?}");
        }
    }
}
