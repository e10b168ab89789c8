//! What one condition costs per request, and what a hundred cost.

#![allow(clippy::unwrap_used, reason = "a bench that cannot be set up must stop")]

use std::net::IpAddr;

use divan::{Bencher, black_box};
use weir_model::Condition;
use weir_proxy::condition::{Compiled, RequestView};

fn main() {
    divan::main();
}

/// A request as a browser sends it.
struct Browser;

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

    fn destination_port(&self) -> u16 {
        8080
    }
}

fn compiled(text: &str) -> Compiled {
    Compiled::new(&Condition::parse(text).unwrap())
}

#[divan::bench(args = [
    "host == shop.example:8080",
    "user-agent == Firefox",
    "user-agent == Safari and has cookie vamp and not has header X-Robot",
    "misses cookie vamp",
    "header X-Canary has yes",
    "<path_beg /shop /cart>",
    "<path_beg -i /SHOP>",
    "<path_reg ^/shop/[a-z]+/[0-9]+>",
    "<hdr_sub(user-agent) -i android>",
    "<hdr_ip(x-forwarded-for) 172.16.0.0/12>",
    "<src 192.168.0.0/16>",
    "<urlp(debug) 1>",
])]
fn one(bencher: Bencher<'_, '_>, text: &str) {
    let condition = compiled(text);
    bencher.bench_local(|| black_box(&condition).matches(black_box(&Browser)));
}

/// A gateway with that many routes, none of which wants the request.
#[divan::bench(args = [1, 10, 100])]
fn none_of(bencher: Bencher<'_, '_>, count: usize) {
    let conditions: Vec<Compiled> = (0..count)
        .map(|index| match index % 4 {
            0 => compiled(&format!("user-agent == Browser{index}")),
            1 => compiled(&format!("has cookie release{index}")),
            2 => compiled(&format!("header X-Release has {index}")),
            _ => compiled(&format!("<path_beg /release/{index}>")),
        })
        .collect();
    bencher.bench_local(|| {
        black_box(&conditions)
            .iter()
            .position(|condition| condition.matches(black_box(&Browser)))
    });
}

/// What control and every agent pay for a condition in a snapshot.
#[divan::bench(args = ["host == a", "(User-Agent = Chrome OR User-Agent = Firefox) AND has cookie vamp", "<path_reg ^/[a-z]+/[0-9]+$>"])]
fn parse_and_compile(text: &str) -> Compiled {
    compiled(black_box(text))
}
