//! Hostile bytes from both sides, and what must hold whatever they are: one reading, the right pairs of request and
//! answer, nobody else disturbed, everything accounted.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "the support module is shared by suites")]
#![allow(missing_docs, reason = "tests say what they do by their names")]

#[path = "../support/mod.rs"]
mod support;

mod corpus;
#[path = "../support/mutate.rs"]
mod mutate;
mod mutation;
mod neighbours;
mod reading;
mod requests;
mod responses;
mod server;

use support::{World, eventually};

/// Whatever happened: the worker serves, no connection and no request is left in the books.
#[track_caller]
fn all_is_well(world: &World) {
    // More than any case leaves behind, so that a connection spoilt by a case would be met.
    for round in 0..8 {
        let mut client = world.client();
        let path = format!("/well{round}");
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        ));
        let (seen, _) = client.rest_or_reset();
        assert_eq!(reading::answers(&seen, true), [format!("200 GET {path} h")]);
    }
    eventually("no connection is left", || {
        world.metric("weir_connections_open", "") == 0.0
    });
    eventually("no request is left", || {
        world.route("r").in_flight == 0
            && world.metric("weir_instance_in_flight", "") == 0.0
            && world.route("r").requests == world.route("r").latency.total()
    });
}
