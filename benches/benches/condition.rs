//! What one condition costs per request, and what a hundred cost.

#![allow(clippy::unwrap_used, reason = "a bench that cannot be set up must stop")]

use divan::{Bencher, black_box};
use weir_benches::requests::Browser;
use weir_model::Condition;
use weir_proxy::condition::Compiled;

fn main() {
    divan::main();
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
