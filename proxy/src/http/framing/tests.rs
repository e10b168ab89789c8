use proptest::prelude::*;

use super::{Chunked, Decoder, Framing, FramingError, Step};

/// Shows the bytes in pieces cut at `cuts`, as a connection would; what is not taken of a piece ends the message.
fn in_pieces(mut decoder: Decoder, bytes: &[u8], cuts: &[usize]) -> Result<(usize, bool), FramingError> {
    let mut consumed = 0;
    let mut start = 0;
    for end in cuts.iter().copied().chain([bytes.len()]) {
        let (taken, done) = decoder.advance(&bytes[start..end])?;
        consumed += taken;
        if done {
            return Ok((consumed, true));
        }
        assert_eq!(
            taken,
            end - start,
            "all belongs to the message until it is complete"
        );
        start = end;
    }
    Ok((consumed, false))
}

/// The whole message in sight and no state: (content, length of the message).
fn naive(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let line_end = |from: usize| {
        bytes[from..]
            .windows(2)
            .position(|pair| pair == b"\r\n")
            .map(|at| from + at)
    };
    let mut content = Vec::new();
    let mut at = 0;
    loop {
        let end = line_end(at)?;
        let line = std::str::from_utf8(&bytes[at..end]).ok()?;
        let size = u64::from_str_radix(line.split(';').next()?.trim_end(), 16).ok()?;
        at = end + 2;
        if size == 0 {
            loop {
                let end = line_end(at)?;
                let empty = end == at;
                at = end + 2;
                if empty {
                    return Some((content, at));
                }
            }
        }
        let size = usize::try_from(size).ok()?;
        content.extend_from_slice(bytes.get(at..at + size)?);
        assert_eq!(&bytes[at + size..at + size + 2], b"\r\n");
        at += size + 2;
    }
}

fn chunked() -> Decoder {
    Framing::Chunked.into()
}

#[test]
fn a_length_is_counted_over_pieces_and_what_follows_is_left() {
    assert_eq!(
        in_pieces(Framing::Length(5).into(), b"helloGET", &[2, 4]),
        Ok((5, true))
    );
    assert_eq!(in_pieces(Framing::Length(0).into(), b"GET", &[]), Ok((0, true)));
    assert_eq!(in_pieces(Framing::None.into(), b"GET", &[]), Ok((0, true)));
    assert_eq!(
        in_pieces(Framing::Length(u64::MAX).into(), b"hello", &[1]),
        Ok((5, false))
    );
    assert_eq!(
        in_pieces(Framing::UntilClose.into(), b"hello", &[1]),
        Ok((5, false))
    );
}

#[test]
fn a_chunked_body_ends_at_its_last_line_however_it_is_cut() {
    let body = b"5;a=\"b\"\r\nhello\r\n00A ;x\r\n0123456789\r\n0\r\nT: v\r\nU:\r\n\r\nGET / HTTP/1.1";
    let length = body.len() - 14;
    for first in 0..body.len() {
        for second in first..body.len() {
            assert_eq!(
                in_pieces(chunked(), body, &[first, second]),
                Ok((length, true)),
                "{first} {second}"
            );
        }
    }
    for cut in 0..length {
        assert_eq!(in_pieces(chunked(), &body[..cut], &[]), Ok((cut, false)), "{cut}");
    }
}

#[test]
fn what_has_more_than_one_reading_is_refused_however_it_is_cut() {
    for (body, error) in [
        (&b"\r\n"[..], FramingError::ChunkSize),
        (b"g\r\n", FramingError::ChunkSize),
        (b"0x5\r\nhello\r\n", FramingError::ChunkSize),
        (b"+5\r\nhello\r\n", FramingError::ChunkSize),
        (b"-5\r\nhello\r\n", FramingError::ChunkSize),
        (b" 5\r\nhello\r\n", FramingError::ChunkSize),
        (b"5 \r\nhello\r\n", FramingError::ChunkSize),
        (b"5 5\r\nhello\r\n", FramingError::ChunkSize),
        (b"5\nhello\r\n", FramingError::ChunkSize),
        (b"5\rhello\r\n", FramingError::ChunkSize),
        (b"5,5\r\nhello\r\n", FramingError::ChunkSize),
        (b"5;\nhello\r\n", FramingError::ChunkExtension),
        (b"5;a\0\r\nhello\r\n", FramingError::ChunkExtension),
        (b"5;a\r\rhello\r\n", FramingError::ChunkSize),
        (b"8000000000000000\r\n", FramingError::ChunkSize),
        (b"ffffffffffffffff\r\n", FramingError::ChunkSize),
        (b"10000000000000005\r\nhello\r\n", FramingError::ChunkSize),
        (b"5\r\nhello0\r\n\r\n", FramingError::ChunkEnd),
        (b"5\r\nhello\n0\r\n\r\n", FramingError::ChunkEnd),
        (b"5\r\nhello\r0\r\n\r\n", FramingError::ChunkEnd),
        (b"0\r\n folded\r\n\r\n", FramingError::Trailer),
        (
            b"0\r\nA: b\r\nContent-LENGTH: 5\r\n\r\n",
            FramingError::TrailerField,
        ),
        (
            b"0\r\ntransfer-encoding: chunked\r\n\r\n",
            FramingError::TrailerField,
        ),
        (b"0\r\nhost: a\r\n\r\n", FramingError::TrailerField),
        (b"0\r\nTE:\r\n\r\n", FramingError::TrailerField),
        (b"0\r\nname\r\n\r\n", FramingError::Trailer),
        (b"0\r\nname : v\r\n\r\n", FramingError::Trailer),
        (b"0\r\n: v\r\n\r\n", FramingError::Trailer),
        (b"0\r\nn: v\n\r\n", FramingError::Trailer),
        (b"0\r\nn: \0\r\n\r\n", FramingError::Trailer),
        (b"0\r\nn: v\r\r\n", FramingError::Trailer),
        (b"0\r\n\n", FramingError::Trailer),
        (b"0\r\n\rx", FramingError::Trailer),
    ] {
        for cut in 0..body.len() {
            let text = String::from_utf8_lossy(body);
            assert_eq!(
                in_pieces(chunked(), body, &[cut]),
                Err(error),
                "{text:?} cut at {cut}"
            );
        }
    }
}

#[test]
fn a_size_may_have_leading_zeros_and_either_case() {
    assert_eq!(
        in_pieces(
            chunked(),
            b"0000000000000000000000A\r\n0123456789\r\n000\r\n\r\n",
            &[]
        ),
        Ok((44, true))
    );
    assert_eq!(
        in_pieces(chunked(), b"a\r\n0123456789\r\n0\r\n\r\n", &[]),
        Ok((20, true))
    );
}

#[test]
fn lines_extensions_and_trailers_are_bounded() {
    let long = |prefix: &str, count: usize, suffix: &str| {
        format!("{prefix}{}{suffix}", "x".repeat(count)).into_bytes()
    };
    let too_long = Err(FramingError::TooLong);
    assert!(in_pieces(chunked(), &long("1;", 4_000, "\r\n"), &[]).is_ok());
    assert_eq!(in_pieces(chunked(), &long("1;", 5_000, ""), &[]), too_long);
    assert_eq!(in_pieces(chunked(), "0".repeat(5_000).as_bytes(), &[]), too_long);
    assert_eq!(in_pieces(chunked(), &long("0\r\n", 20_000, ""), &[]), too_long);
    assert_eq!(in_pieces(chunked(), &long("0\r\nn:", 20_000, ""), &[]), too_long);
    assert_eq!(
        in_pieces(
            chunked(),
            format!("0\r\n{}", "n: v\r\n".repeat(4_000)).as_bytes(),
            &[]
        ),
        too_long
    );
    let chunk = String::from_utf8(long("1;", 1_000, "\r\nx\r\n")).expect("text");
    assert_eq!(in_pieces(chunked(), chunk.repeat(100).as_bytes(), &[]), too_long);
}

#[test]
fn content_can_be_told_from_framing() {
    let body = b"3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n";
    let mut decoder = Chunked::default();
    let (mut at, mut content) = (0, Vec::new());
    loop {
        match decoder.step(&body[at..]).expect("well formed") {
            Step::Framing(taken) => at += taken,
            Step::Data(taken) => {
                content.extend_from_slice(&body[at..at + taken]);
                at += taken;
            }
            Step::End(taken) => {
                at += taken;
                break;
            }
        }
    }
    assert_eq!((content.as_slice(), at), (&b"abcde"[..], body.len()));
}

prop_compose! {
    fn body()(
        chunks in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..40), 0..3_usize, any::<bool>()), 0..6),
        trailers in prop::collection::vec("[A-Za-z-]{1,8}: [ -~]{0,12}", 0..3),
    ) -> (Vec<u8>, Vec<u8>) {
        let (mut raw, mut content) = (Vec::new(), Vec::new());
        for (data, zeros, extension) in chunks {
            raw.extend_from_slice(format!("{}{:x}", "0".repeat(zeros), data.len()).as_bytes());
            if extension {
                raw.extend_from_slice(b" ;name=\"v;alue\"");
            }
            raw.extend_from_slice(b"\r\n");
            raw.extend_from_slice(&data);
            raw.extend_from_slice(b"\r\n");
            content.extend_from_slice(&data);
        }
        raw.extend_from_slice(b"0\r\n");
        for trailer in trailers {
            raw.extend_from_slice(trailer.as_bytes());
            raw.extend_from_slice(b"\r\n");
        }
        raw.extend_from_slice(b"\r\n");
        (raw, content)
    }
}

proptest! {
    #[test]
    fn agrees_with_a_naive_reader_at_any_cuts(
        (raw, content) in body(),
        rest in prop::collection::vec(any::<u8>(), 0..20),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let length = raw.len();
        let mut stream = raw;
        stream.extend_from_slice(&rest);
        prop_assert_eq!(naive(&stream), Some((content, length)));
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        cuts.sort_unstable();
        prop_assert_eq!(in_pieces(chunked(), &stream, &cuts), Ok((length, true)));
    }

    #[test]
    fn any_bytes_give_one_answer_at_any_cut(bytes in "[0-9a-f;\r\n :x]{0,40}", cut in any::<prop::sample::Index>()) {
        let bytes = bytes.as_bytes();
        let whole = in_pieces(chunked(), bytes, &[]);
        if !bytes.is_empty() {
            prop_assert_eq!(in_pieces(chunked(), bytes, &[cut.index(bytes.len())]), whole);
        }
        if let Ok((length, true)) = whole {
            prop_assert_eq!(naive(bytes).map(|(_, end)| end), Some(length));
        }
    }
}
