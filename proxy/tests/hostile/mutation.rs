//! The corpora, mutated: a short round of each with a fixed seed, so that a failure comes again.
//!
//! `WEIR_MUTATION_SECONDS` makes the rounds longer, `WEIR_MUTATION_SEED` makes them others.

use std::time::{Duration, Instant};

use crate::{
    all_is_well,
    requests::{self, ask, one_reading},
    responses::{self, Scripted},
    server::Server,
    support::{World, instance, one_worker, route},
};

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

/// What parsers stumble over.
const WORDS: &[&[u8]] = &[
    b"\r",
    b"\n",
    b"\r\n",
    b"\n\n",
    b"\r\n\r\n",
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
    b"Connection: ",
    b"Host: x\r\n",
    b"Expect: 100-continue\r\n",
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"\r\n ",
    b"Upgrade: x\r\n",
    b"http://h/",
];

fn mutated(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
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
            _ => drop(bytes.splice(at..at, random.of(WORDS).iter().copied())),
        }
    }
    bytes
}

/// Calls `step` for a bounded time with what is mutated.
fn round(seeds: &[Vec<u8>], mut step: impl FnMut(&[u8], u64)) {
    let number = |name: &str, default| {
        std::env::var(name).map_or(default, |text| text.parse::<u64>().expect("a number"))
    };
    let seed = number("WEIR_MUTATION_SEED", 20_261_122);
    let bound = Duration::from_secs(number("WEIR_MUTATION_SECONDS", 3));
    let mut random = Random(seed | 1);
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < bound {
        let bytes = mutated(&mut random, seeds);
        count += 1;
        step(&bytes, count);
    }
    assert!(count > 50, "only {count} in {bound:?}");
}

#[test]
fn mutated_requests_have_one_reading_or_none() {
    let server = Server::echoing();
    let world = World::empty(one_worker());
    world.apply_routes(vec![route("r", 100, vec![instance("i", server.port)])]);
    let seeds: Vec<Vec<u8>> = requests::GOOD
        .iter()
        .map(|good| good.as_bytes().to_vec())
        .chain(requests::corpus().into_iter().map(|(_, bytes, _)| bytes))
        .filter(|bytes| bytes.len() < 1_000)
        .map(|bytes| {
            // The marker of the corpus says nothing of what is made of it.
            String::from_utf8_lossy(&bytes)
                // In two parts: some cases have something between its letters, which may be taken out.
                .replace("mug", "ub")
                .replace("MUG", "UB")
                .replace("gled", "tle")
                .replace("GLED", "TLE")
                .into_bytes()
        })
        .collect();
    round(&seeds, |bytes, count| {
        let what = format!("{count}: {:?}", String::from_utf8_lossy(bytes));
        let half = bytes.len() / 2;
        let answered = ask(&world, &[&bytes[..half], &bytes[half..]]);
        for answer in &answered {
            let status = answer.split(' ').next().unwrap();
            // An origin that reads laxly may give up on a request whose client gave up.
            assert!(
                [
                    "100", "200", "400", "405", "413", "414", "431", "501", "502", "505"
                ]
                .contains(&status),
                "{what}: {answered:?}"
            );
        }
        one_reading(&server, &answered, &what);
    });
    all_is_well(&world);
}

#[test]
fn mutated_answers_never_reach_another_request() {
    let scripted = Scripted::new();
    let seeds: Vec<Vec<u8>> = responses::GOOD
        .iter()
        .map(|good| good.as_bytes().to_vec())
        .collect();
    round(&seeds, |bytes, count| {
        let what = format!("{count}: {:?}", String::from_utf8_lossy(bytes));
        let seen = scripted.ask_two(bytes, true);
        // Interim answers, then a final one; then the other request's own answer, or the end.
        let finals: Vec<&String> = seen.iter().filter(|answer| !answer.starts_with('1')).collect();
        match finals.as_slice() {
            [] | [_] => {}
            [_, second] => assert_eq!(*second, "200 GET /next h", "{what}: {seen:?}"),
            _ => panic!("{what}: {seen:?}"),
        }
    });
    all_is_well(&scripted.world);
}
