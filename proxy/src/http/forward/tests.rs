use super::{Answered, IsOwnCookie, Origin, request, response};
use crate::{
    config::{Announce, Limits},
    http::head::{Asked, Request, Response, Version, room},
};

fn origin() -> Origin {
    Origin {
        client: [203, 0, 113, 9].into(),
        local: "10.1.2.3:8080".parse().expect("address"),
        virtual_host: false,
        secure: false,
        distrusted: false,
        announce: Announce::default(),
        random: [1, 2, 3],
    }
}

fn forwarded_with(head: &str, origin: Origin, own: Option<IsOwnCookie<'_>>) -> String {
    let mut space = room();
    let parsed = Request::parse(head.as_bytes(), &mut space, &Limits::default())
        .expect("good")
        .expect("complete");
    let mut out = Vec::new();
    request(&mut out, &parsed, origin, own);
    String::from_utf8(out).expect("text")
}

fn forwarded(head: &str) -> String {
    forwarded_with(head, origin(), None)
}

const ADDED: &str = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: http\r\n\r\n";

#[test]
fn other_lines_pass_as_they_are() {
    assert_eq!(
        forwarded(
            "GET /a HTTP/1.1\r\nHost: h\r\nX:  odd   spacing \r\ntraceparent: 00-1-2-01\r\nEmpty:\r\n\r\nbody"
        ),
        format!(
            "GET /a HTTP/1.1\r\nHost: h\r\nX:  odd   spacing \r\ntraceparent: 00-1-2-01\r\nEmpty:\r\n{ADDED}"
        )
    );
}

#[test]
fn lines_for_this_hop_are_left_out() {
    assert_eq!(
        forwarded(
            "GET / HTTP/1.1\r\nConnection: keep-alive, X-Secret , host\r\nKeep-Alive: timeout=5\r\nHost: h\r\n\
             x-secret: 1\r\nProxy-Connection: close\r\nTE: gzip\r\nUpgrade: foo\r\nX-SECRET: 2\r\nA: b\r\n\
             HTTP2-Settings: x\r\nConnection: close\r\n\r\n"
        ),
        format!("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n{ADDED}")
    );
}

#[test]
fn what_the_reading_depends_on_cannot_be_named_away() {
    assert_eq!(
        forwarded(
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nConnection: content-length, host\r\n\r\n"
        ),
        format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n{ADDED}")
    );
    assert_eq!(
        forwarded(
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\tCHUNKED \r\nConnection: transfer-encoding\r\n\r\n"
        ),
        format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n{ADDED}")
    );
}

#[test]
fn an_absolute_form_becomes_origin_form() {
    assert_eq!(
        forwarded("GET http://a:81?q HTTP/1.1\r\nHost: other\r\nA: b\r\n\r\n"),
        format!("GET /?q HTTP/1.1\r\nHost: a:81\r\nA: b\r\n{ADDED}")
    );
}

#[test]
fn a_request_of_http_1_0_is_made_one_of_1_1() {
    assert_eq!(
        forwarded("GET / HTTP/1.0\r\nExpect: 100-continue\r\nConnection: keep-alive\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: 10.1.2.3:8080\r\n{ADDED}")
    );
}

#[test]
fn what_the_client_says_of_its_way_is_kept_and_one_line_added() {
    assert_eq!(
        forwarded(
            "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 1\r\n\r\n"
        ),
        "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 1\r\n\
         X-Forwarded-For: 203.0.113.9\r\n\r\n"
    );
    let virtual_host = Origin {
        virtual_host: true,
        client: "::1".parse().expect("address"),
        ..origin()
    };
    assert_eq!(
        forwarded_with(
            "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Port: 1\r\n\r\n",
            virtual_host,
            None
        ),
        "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: ::1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: 8080\r\n\r\n"
    );
    for address in ["0.0.0.0", "9.10.99.100", "255.200.109.1"] {
        let client = Origin {
            client: address.parse().expect("address"),
            ..origin()
        };
        let text = forwarded_with("GET / HTTP/1.1\r\nHost: h\r\n\r\n", client, None);
        assert!(
            text.contains(&format!("X-Forwarded-For: {address}\r\n")),
            "{text}"
        );
    }
    let mapped = Origin {
        client: "::ffff:10.0.0.1".parse().expect("address"),
        ..origin()
    };
    assert!(forwarded_with("GET / HTTP/1.1\r\nHost: h\r\n\r\n", mapped, None).contains("For: 10.0.0.1\r\n"));
}

#[test]
fn our_cookies_are_taken_out_and_the_others_stay() {
    let own = |name: &[u8]| name.starts_with(b"o_");
    let cookies = |lines: &str| {
        forwarded_with(
            &format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}A: b\r\n\r\n"),
            origin(),
            Some(&own),
        )
        .replace(ADDED, "")
        .replace("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n", "")
    };
    assert_eq!(cookies("Cookie: a=1; o_x=2; b=3\r\n"), "Cookie: a=1; b=3\r\n");
    assert_eq!(cookies("Cookie: o_x=2\r\n"), "");
    assert_eq!(
        cookies("cookie: o_x=2; o_y=\r\nCookie: ; a = \"q\" ;o_z\r\n"),
        "Cookie: a = \"q\"\r\n"
    );
    assert_eq!(cookies("Cookie: a=o_x=1; flag\r\n"), "Cookie: a=o_x=1; flag\r\n");
    assert_eq!(cookies("Connection: cookie\r\nCookie: a=1\r\n"), "");
}

#[test]
fn an_upgrade_and_trailers_are_offered_anew() {
    assert_eq!(
        forwarded(
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n"
        ),
        format!(
            "GET / HTTP/1.1\r\nHost: h\r\nSec-WebSocket-Key: k\r\nConnection: upgrade\r\nUpgrade: websocket\r\n{ADDED}"
        )
    );
    assert_eq!(
        forwarded("GET / HTTP/1.1\r\nHost: h\r\nConnection: TE\r\nTE: gzip, Trailers\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: TE\r\nTE: trailers\r\n{ADDED}")
    );
}

fn answered(head: &str, asked: Asked, answered: Answered, cookies: &[&[u8]]) -> String {
    let mut space = room();
    let parsed = Response::parse(head.as_bytes(), &mut space, &Limits::default(), asked)
        .expect("good")
        .expect("complete");
    let mut out = Vec::new();
    response(&mut out, &parsed, answered, cookies.iter().copied());
    String::from_utf8(out).expect("text")
}

const PLAIN: Asked = Asked {
    head_only: false,
    upgrade: false,
};
const KEPT: Answered = Answered {
    version: Version::Http11,
    keep_alive: true,
};

#[test]
fn an_answer_passes_without_what_is_for_one_hop() {
    assert_eq!(
        answered(
            "HTTP/1.0 200 Fine  thing\r\nServer: s\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\n\
             Set-Cookie: a=1\r\nContent-Length: 5, 5\r\nContent-Length: 5\r\nSet-Cookie: b=2\r\n\r\nhello",
            PLAIN,
            KEPT,
            &[]
        ),
        "HTTP/1.1 200 Fine  thing\r\nServer: s\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 5\r\n\r\n"
    );
    assert_eq!(
        answered("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", PLAIN, KEPT, &[]),
        "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"
    );
}

#[test]
fn the_connection_line_says_what_will_be_done() {
    let of = |version, keep_alive| {
        answered(
            "HTTP/1.1 204 N\r\n\r\n",
            PLAIN,
            Answered { version, keep_alive },
            &[],
        )
    };
    assert_eq!(
        of(Version::Http11, false),
        "HTTP/1.1 204 N\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(
        of(Version::Http10, true),
        "HTTP/1.1 204 N\r\nConnection: keep-alive\r\n\r\n"
    );
    assert_eq!(
        of(Version::Http10, false),
        "HTTP/1.1 204 N\r\nConnection: close\r\n\r\n"
    );
}

#[test]
fn chunks_are_said_only_to_those_who_can_read_them() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n";
    assert_eq!(
        answered(head, PLAIN, KEPT, &[]),
        "HTTP/1.1 200 OK\r\nTrailer: T\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    assert_eq!(
        answered(
            head,
            PLAIN,
            Answered {
                version: Version::Http10,
                keep_alive: false
            },
            &[]
        ),
        "HTTP/1.1 200 OK\r\nTrailer: T\r\nConnection: close\r\n\r\n"
    );
}

#[test]
fn a_head_or_304_keeps_the_length_and_204_has_none() {
    let head = Asked {
        head_only: true,
        upgrade: false,
    };
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(answered(text, head, KEPT, &[]), text);
    assert_eq!(
        answered("HTTP/1.1 204 N\r\nContent-Length: 5\r\n\r\n", PLAIN, KEPT, &[]),
        "HTTP/1.1 204 N\r\n\r\n"
    );
}

#[test]
fn sticky_cookies_make_an_answer_private() {
    let cookies: &[&[u8]] = &[b"o_x=r; path=/", b"r=i; path=/"];
    assert_eq!(
        answered(
            "HTTP/1.1 204 N\r\nCache-Control: public, max-age=9\r\n\r\n",
            PLAIN,
            KEPT,
            cookies
        ),
        "HTTP/1.1 204 N\r\nCache-Control: public, max-age=9\r\nSet-Cookie: o_x=r; path=/\r\nSet-Cookie: r=i; path=/\r\n\
         Cache-Control: private\r\n\r\n"
    );
    assert!(
        !answered(
            "HTTP/1.1 204 N\r\nCache-Control: no-store\r\n\r\n",
            PLAIN,
            KEPT,
            cookies
        )
        .contains("private")
    );
}

#[test]
fn a_switch_of_protocols_names_the_new_one() {
    let asked = Asked {
        head_only: false,
        upgrade: true,
    };
    assert_eq!(
        answered(
            "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nA: b\r\n\r\n",
            asked,
            KEPT,
            &[]
        ),
        "HTTP/1.1 101 S\r\nA: b\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    assert_eq!(
        answered(
            "HTTP/1.1 426 U\r\nUpgrade: foo\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n",
            PLAIN,
            KEPT,
            &[]
        ),
        "HTTP/1.1 426 U\r\nContent-Length: 0\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n"
    );
}

#[test]
fn what_a_distrusted_sender_says_of_its_way_is_left_out() {
    let told = "GET / HTTP/1.1\r\nHost: h\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\nA: b\r\n\
                X-Forwarded-Proto: https\r\nX-Forwarded-Host: x\r\nX-Forwarded-Port: 1\r\n\r\n";
    let distrusted = Origin {
        distrusted: true,
        ..origin()
    };
    assert_eq!(
        forwarded_with(told, distrusted, None),
        format!("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n{ADDED}")
    );
}

#[test]
fn more_lines_are_added_if_they_are_wanted() {
    let wanted = Origin {
        client: "2001:db8::1".parse().expect("address"),
        secure: true,
        announce: Announce {
            forwarded: true,
            host_and_port: true,
            via: true,
            begin_trace: true,
        },
        ..origin()
    };
    assert_eq!(
        forwarded_with("GET / HTTP/1.0\r\nHost: h:1\r\n\r\n", wanted, None),
        "GET / HTTP/1.1\r\nHost: h:1\r\nX-Forwarded-For: 2001:db8::1\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Port: 8080\r\nX-Forwarded-Host: h:1\r\n\
         Forwarded: for=\"[2001:db8::1]\";host=\"h:1\";proto=https\r\nVia: 1.0 weir\r\n\
         traceparent: 00-00000000000000010000000000000003-0000000000000003-01\r\n\r\n"
    );
    let said = "GET / HTTP/1.1\r\nHost: h\r\ntraceparent: 00-1-2-01\r\nX-Forwarded-Host: x\r\nX-Forwarded-Port: 1\r\n\r\n";
    let only = Origin {
        announce: Announce {
            host_and_port: true,
            begin_trace: true,
            ..Announce::default()
        },
        ..origin()
    };
    assert_eq!(
        forwarded_with(said, only, None),
        said.replace("\r\n\r\n", &format!("\r\n{ADDED}"))
    );
}
