//! Ports for servers that are told which one to take, also after a restart.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU32, Ordering},
};

/// Below the ports that Linux gives to outgoing connections: while a server is down nobody takes its port.
const FIRST: u32 = 12_000;
const COUNT: u32 = 18_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port on which nobody listens, and that is given only once in this process.
///
/// # Panics
/// If there is none.
pub fn port() -> u16 {
    // Several test programs run at the same time: each begins elsewhere.
    let start = std::process::id().wrapping_mul(7919) % COUNT;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start + step) % COUNT;
        let port = u16::try_from(port).expect("it is below 65536");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}
