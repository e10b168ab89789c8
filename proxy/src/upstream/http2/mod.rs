//! HTTP/2 towards instances (RFC 9113), over TLS or with prior knowledge.
//!
//! **Job.** Connections that are shared by the requests of a worker ([`Sessions`]), and a stream of one as a connection of
//! HTTP/1.1 with one request ([`Stream`]): the engine writes a head and a body, and reads a head and a body. So what
//! routes, repeats, bounds and accounts a request is the same code whatever an instance speaks; trailers pass both ways.
//!
//! **Invariants.** Flow control of a stream is that of its body, both ways: what the client does not take is not asked for,
//! and no stream can use up the window of its connection. Streams of a connection and connections to an instance are bounded.
//! A connection that the instance is about to close (GOAWAY) gets no new streams; its streams end in peace. One that does
//! not answer a ping is given up; one on which nothing comes while a request on it is given up gets no others meanwhile.
//!
//! **Absent.** No push, no priorities, no extended CONNECT: an upgrade is not offered to such an instance.

mod fields;
mod sessions;
mod stream;

pub(crate) use self::{sessions::Sessions, stream::Stream};
