//! What is for one connection, and what follows a request on it.

use super::{Case, GOOD, SMUGGLED, case};

pub fn connections() -> Vec<Case> {
    let many: String = (0..40).map(|n| format!("x{n}, ")).collect();
    let upgrade = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    vec![
        case(
            "a header that is named",
            "GET /x HTTP/1.1\r\nHost: h\r\nX-Smuggled: 1\r\nConnection: x-smuggled\r\n\r\n",
            &["200 GET /x h"],
        ),
        case(
            "headers that are named in two lines",
            "GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Smuggled: 1\r\nConnection: A,X-SMUGGLED\r\nX-Smuggled: 2\r\n\r\n",
            &["200 GET /x h"],
        ),
        case(
            "headers for one hop",
            "GET /x HTTP/1.1\r\nHost: h\r\nKeep-Alive: smuggled\r\nProxy-Connection: smuggled\r\nUpgrade: smuggled\r\nTE: smuggled\r\n\r\n",
            &["200 GET /x h"],
        ),
        case(
            "many options",
            format!("GET /smuggled HTTP/1.1\r\nHost: h\r\nConnection: {many}close\r\n\r\n"),
            &["400"],
        ),
        case(
            "what follows a close",
            format!("GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n{SMUGGLED}"),
            &["200 GET /x h"],
        ),
        case(
            "what follows HTTP/1.0",
            format!("GET /x HTTP/1.0\r\nHost: h\r\n\r\n{SMUGGLED}"),
            &["200 GET /x h"],
        ),
        case(
            "garbage after an upgrade that is not taken",
            format!("{upgrade}\u{1}\u{2}garbage smuggled"),
            &["200 GET /ws h", "400"],
        ),
        case(
            "a request after an upgrade that is not taken",
            format!("{upgrade}{}", GOOD[0]),
            &["200 GET /ws h", "200 GET /a h"],
        ),
        case(
            "an upgrade to HTTP/2",
            "GET /x HTTP/1.1\r\nHost: h\r\nConnection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: smuggled\r\n\r\n",
            &["200 GET /x h"],
        ),
        case(
            "one bad after a good one",
            format!("{}GET /smuggled HTTP/1.1\r\n\r\n{SMUGGLED}", GOOD[0]),
            &["200 GET /a h", "400"],
        ),
        case("a hundred at once", GOOD[0].repeat(100), &["200 GET /a h"; 100]),
        case(
            "a body that is a request",
            format!(
                "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{SMUGGLED}{}",
                SMUGGLED.len(),
                GOOD[0]
            ),
            &["200 POST /p h", "200 GET /a h"],
        ),
        case(
            "an unknown expectation",
            "GET /x HTTP/1.1\r\nHost: h\r\nExpect: smuggled-not\r\n\r\n",
            &["200 GET /x h"],
        ),
    ]
}
