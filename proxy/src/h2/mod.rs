//! HTTP/2 towards clients (RFC 9113), over TLS or with prior knowledge.
//!
//! **Job.** Every stream is served as one request of a client of HTTP/1.1: [`stream::Stream`] writes the fields of the
//! stream as a head, frames its data as a body, and reads the answer back into frames. So what routes, forwards, repeats,
//! accounts and bounds a request is the same code for both, and what HTTP/1.1 would not accept comes no further. Bodies,
//! trailers and flow control of a stream are in [`message`], for the instances' side as well.
//!
//! **Invariants.** Flow control of a stream is that of its body: what an instance does not take is not asked for.
//! Streams at a time, resets in a time, heads and times are bounded. An answer that is not complete ends with a reset.
//!
//! **Absent.** No CONNECT, no push, no priorities. HTTP/2 towards instances is in `upstream/http2`.

mod connection;
pub(crate) mod fields;
mod guard;
pub(crate) mod message;
mod stream;

pub(crate) use self::connection::{Preface, preface, serve, serve_after};
