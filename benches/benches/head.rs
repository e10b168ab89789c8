//! What reading a head costs, and writing the one that is passed on.

use divan::{Bencher, black_box};
use weir_benches::requests::{ANSWER, BROWSER, SMALL};
use weir_proxy::{Limits, internals};

fn main() {
    divan::main();
}

#[divan::bench(args = ["small", "browser"])]
fn request(bencher: Bencher<'_, '_>, which: &str) {
    let bytes = if which == "small" { SMALL } else { BROWSER };
    let limits = Limits::default();
    assert!(matches!(internals::request_head(bytes, &limits), Ok(Some(_))));
    bencher.bench_local(|| internals::request_head(black_box(bytes), &limits).is_ok());
}

#[divan::bench(args = ["small", "browser"])]
fn request_read_and_passed_on(bencher: Bencher<'_, '_>, which: &str) {
    let bytes = if which == "small" { SMALL } else { BROWSER };
    let limits = Limits::default();
    bencher.bench_local(|| internals::forwarded_request(black_box(bytes), &limits));
}

#[divan::bench]
fn response(bencher: Bencher<'_, '_>) {
    let limits = Limits::default();
    assert!(matches!(
        internals::response_head(ANSWER, false, &limits),
        Ok(Some(_))
    ));
    bencher.bench_local(|| internals::response_head(black_box(ANSWER), false, &limits).is_ok());
}

/// A body of 64 kB in chunks of this size.
#[divan::bench(args = [16, 1_024, 16_384])]
fn chunks(bencher: Bencher<'_, '_>, size: usize) {
    let mut body = Vec::new();
    for _ in 0..65_536 / size {
        body.extend_from_slice(format!("{size:x}\r\n{}\r\n", "x".repeat(size)).as_bytes());
    }
    body.extend_from_slice(b"0\r\n\r\n");
    bencher.bench_local(|| internals::Chunks::default().advance(black_box(&body)));
}
