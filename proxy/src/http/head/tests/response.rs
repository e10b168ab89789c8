//! Answers.

use super::super::{Asked, Response, response::Malformed, room};
use crate::{config::Limits, http::framing::Framing};

/// Status, framing, whether the connection is kept.
pub(super) fn response(bytes: &[u8], asked: Asked) -> Result<Option<(u16, Framing, bool)>, Malformed> {
    let mut room = room();
    Ok(Response::parse(bytes, &mut room, &Limits::default(), asked)?
        .map(|response| (response.status(), response.framing(), response.keep_alive())))
}

pub(super) const PLAIN: Asked = Asked {
    head_only: false,
    upgrade: false,
};

fn answer(text: &str, asked: Asked) -> (u16, Framing, bool) {
    response(text.as_bytes(), asked)
        .unwrap_or_else(|_| panic!("{text:?}"))
        .expect("complete")
}

#[test]
fn the_length_of_an_answer_follows_from_what_was_asked_and_said() {
    let head = Asked {
        head_only: true,
        ..PLAIN
    };
    for (text, asked, expected) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            PLAIN,
            (200, Framing::Length(5), true),
        ),
        (
            "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n",
            PLAIN,
            (200, Framing::Length(5), true),
        ),
        (
            "HTTP/1.1 200 \r\nContent-Length: 5, 5\r\ncontent-length: 5\r\n\r\n",
            PLAIN,
            (200, Framing::Length(5), true),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            PLAIN,
            (200, Framing::Chunked, true),
        ),
        (
            "HTTP/1.1 200 OK\r\n\r\n",
            PLAIN,
            (200, Framing::UntilClose, false),
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n",
            PLAIN,
            (200, Framing::Length(5), false),
        ),
        (
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n",
            PLAIN,
            (200, Framing::Length(5), true),
        ),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n",
            PLAIN,
            (200, Framing::Length(5), false),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            head,
            (200, Framing::None, true),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            head,
            (200, Framing::None, true),
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", head, (200, Framing::None, true)),
        (
            "HTTP/1.1 204 No Content\r\n\r\n",
            PLAIN,
            (204, Framing::None, true),
        ),
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
            PLAIN,
            (204, Framing::None, false),
        ),
        (
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
            PLAIN,
            (204, Framing::None, false),
        ),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            PLAIN,
            (304, Framing::None, true),
        ),
        ("HTTP/1.1 100 Continue\r\n\r\n", PLAIN, (100, Framing::None, true)),
        (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            Asked {
                upgrade: true,
                ..PLAIN
            },
            (101, Framing::None, true),
        ),
    ] {
        assert_eq!(answer(text, asked), expected, "{text:?}");
        for cut in 0..text.len() {
            assert_eq!(
                response(&text.as_bytes()[..cut], asked),
                Ok(None),
                "{text:?} cut at {cut}"
            );
        }
    }
}

#[test]
fn an_answer_with_more_than_one_reading_is_refused() {
    for text in [
        "garbage",
        "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1\t200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 O\x00K\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: \x00\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5,\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        assert_eq!(response(text.as_bytes(), PLAIN), Err(Malformed), "{text:?}");
    }
    let upgrade = Asked {
        upgrade: true,
        ..PLAIN
    };
    assert_eq!(
        response(b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n", upgrade),
        Err(Malformed)
    );
    let large = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(65_536));
    assert_eq!(response(large.as_bytes(), PLAIN), Err(Malformed));
    assert_eq!(response(&large.as_bytes()[..65_535], PLAIN), Ok(None));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(101));
    assert_eq!(response(many.as_bytes(), PLAIN), Err(Malformed));
}
