//! Requests to measure with.

use std::net::IpAddr;

use weir_proxy::condition::RequestView;

/// As a load generator sends it.
pub const SMALL: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

/// As a browser sends it.
pub const BROWSER: &[u8] = b"GET /shop/articles/42.html?sort=price&debug=1 HTTP/1.1\r\n\
Host: shop.example:8080\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0 Safari/537.36\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
Accept-Language: en-GB,en;q=0.5\r\n\
Accept-Encoding: gzip, deflate, br\r\n\
Connection: keep-alive\r\n\
Cookie: session=0123456789abcdef; vamp=blue; theme=dark\r\n\
Upgrade-Insecure-Requests: 1\r\n\
X-Forwarded-For: 192.0.2.1, 10.0.0.1\r\n\
X-Canary: yes\r\n\r\n";

/// An answer as a service gives it.
pub const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\
Content-Type: application/json\r\n\
Date: Mon, 01 Jan 2024 00:00:00 GMT\r\n\
ETag: \"0123456789abcdef\"\r\n\
Content-Length: 128\r\n\r\n";

/// The headers of [`BROWSER`], parsed.
const HEADERS: [(&[u8], &[u8]); 10] = [
    (b"Host", b"shop.example:8080"),
    (
        b"User-Agent",
        b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0 Safari/537.36",
    ),
    (
        b"Accept",
        b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    ),
    (b"Accept-Language", b"en-GB,en;q=0.5"),
    (b"Accept-Encoding", b"gzip, deflate, br"),
    (b"Connection", b"keep-alive"),
    (b"Cookie", b"session=0123456789abcdef; vamp=blue; theme=dark"),
    (b"Upgrade-Insecure-Requests", b"1"),
    (b"X-Forwarded-For", b"192.0.2.1, 10.0.0.1"),
    (b"X-Canary", b"yes"),
];

/// [`BROWSER`] as conditions and routing see it.
#[derive(Clone, Copy, Debug)]
pub struct Browser;

impl RequestView for Browser {
    fn method(&self) -> &[u8] {
        b"GET"
    }

    fn target(&self) -> &[u8] {
        b"/shop/articles/42.html?sort=price&debug=1"
    }

    fn header_count(&self) -> usize {
        HEADERS.len()
    }

    fn header(&self, index: usize) -> (&[u8], &[u8]) {
        HEADERS.get(index).copied().unwrap_or_default()
    }

    fn source(&self) -> IpAddr {
        IpAddr::from([10, 1, 2, 3])
    }

    fn destination(&self) -> IpAddr {
        IpAddr::from([10, 0, 0, 2])
    }
    fn destination_port(&self) -> u16 {
        8080
    }
}
