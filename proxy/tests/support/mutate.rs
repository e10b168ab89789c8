//! What is made of seeds by chance, from a fixed number, so that a failure comes again.
//!
//! `WEIR_MUTATION_SECONDS` makes the rounds longer, `WEIR_MUTATION_SEED` makes them others.

use std::time::{Duration, Instant};

/// What parsers of HTTP/1.1 stumble over.
pub const HTTP: &[&[u8]] = &[
    b"\r",
    b"\n",
    b"\r\n",
    b"\n\n",
    b"\r\n\r\n",
    b"\r\n ",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"0",
    b"5",
    b"ff",
    b"-",
    b"+",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"chunked",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: 0\r\n",
    b"Connection: close\r\n",
    b"Connection: x\r\n",
    b"Connection: ",
    b"Host: x\r\n",
    b"Expect: 100-continue\r\n",
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"http://h/",
    b"Upgrade: x\r\n",
    b"TE: trailers\r\n",
    b"Cookie: a=b\r\n",
    b"X-Forwarded-For: 1.2.3.4\r\n",
    b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
];

/// Marsaglia's xorshift, 64 bits.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `end`, or 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap()
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Calls `step` for so many seconds with one of the seeds, mutated; how often.
pub fn round(seconds: u64, seeds: &[Vec<u8>], words: &[&[u8]], mut step: impl FnMut(&[u8])) -> u64 {
    let number = |name: &str, default| {
        std::env::var(name).map_or(default, |text| text.parse::<u64>().expect("a number"))
    };
    let bound = Duration::from_secs(number("WEIR_MUTATION_SECONDS", seconds));
    let mut random = Random(number("WEIR_MUTATION_SEED", 20_261_122) | 1);
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < bound {
        step(&mutated(&mut random, seeds, words));
        count += 1;
    }
    count
}

fn mutated(random: &mut Random, seeds: &[Vec<u8>], words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = random.of(seeds).clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(12)).min(bytes.len());
        match random.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = u8::try_from(random.below(256)).unwrap(),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let piece = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            4 => {
                let other = random.of(seeds);
                let from = random.below(other.len() + 1);
                let until = (from + random.below(60)).min(other.len());
                bytes.splice(at..end, other[from..until].iter().copied());
            }
            5 => bytes.truncate(at),
            _ => drop(bytes.splice(at..at, random.of(words).iter().copied())),
        }
    }
    bytes
}
