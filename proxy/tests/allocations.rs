//! A small request on connections that are kept costs no allocation once the worker is warm.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "the support module is shared by suites")]
#![expect(
    unsafe_code,
    reason = "an allocator that counts is one that forwards to the system's"
)]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicU64, Ordering},
};

use support::{Origin, World};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is the system allocator's own; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const REQUEST: &[u8] =
    b"POST /some/path?query HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: test\r\nConnection: keep-alive\r\n\
    Cookie: a=b\r\nContent-Length: 5\r\n\r\nhello";
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: test\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nworld";

/// Reads until these bytes end what was read, into room on the stack.
fn read_until(stream: &mut TcpStream, end: &[u8]) {
    let mut bytes = [0; 4096];
    let mut length = 0;
    while !bytes[..length].ends_with(end) {
        let count = stream.read(&mut bytes[length..]).unwrap();
        assert!(count > 0);
        length += count;
    }
}

#[test]
fn a_small_request_allocates_nothing() {
    const WARM: usize = 200;
    const COUNTED: usize = 2_000;
    let origin = Origin::start();
    let world = World::to(&origin);
    let mut client = world.client().stream;
    let serving = std::thread::spawn(move || {
        let mut server = origin.accept().stream;
        for _ in 0..WARM + COUNTED {
            read_until(&mut server, b"\r\n\r\nhello");
            server.write_all(ANSWER).unwrap();
        }
    });
    let mut before = 0;
    for number in 0..WARM + COUNTED {
        if number == WARM {
            before = ALLOCATIONS.load(Ordering::Relaxed);
        }
        client.write_all(REQUEST).unwrap();
        read_until(&mut client, b"world");
    }
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    serving.join().unwrap();
    world.settled((WARM + COUNTED) as u64);
    // The clock of the worker and the threads of the test may have had reasons of their own.
    assert!(
        allocations < 40,
        "{allocations} allocations in {COUNTED} requests"
    );
}
