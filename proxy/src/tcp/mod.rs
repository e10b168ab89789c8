//! Raw TCP: one decision per connection, then bytes both ways.
//!
//! **Invariants.** Every connection that was routed is accounted once, when it ends. A direction that waits
//! holds no buffer. When one side ends its sending, the other is told so and may go on with its own.
//!
//! **Absent.** Nothing looks into the bytes.

mod relay;

use std::rc::Rc;

pub(crate) use self::relay::relay;
use crate::{
    access_log,
    buffer::Buffer,
    choose::choose_tcp,
    error::ErrorKind,
    exchange::{Exchange, Outcome},
    http::Downstream,
    upstream::establish,
    worker::{Accepted, Connection, Context},
};

/// What a connection that ended well counts as.
const WELL: u16 = 200;

/// Serves a client connection.
pub(crate) async fn serve<S: Downstream>(
    context: Rc<Context>,
    accepted: Accepted<S>,
    connection: Connection,
) {
    let Accepted {
        mut stream,
        peer,
        local,
        entry,
    } = accepted;
    let log = access_log::Client::new(&context, peer);
    let noted = log.note_tcp(&context);
    let choice = match choose_tcp(&context, &entry, peer) {
        Ok(choice) => choice,
        Err(unrouted) => {
            if unrouted.kind == ErrorKind::NoGateway {
                context.rejected(unrouted.kind);
            }
            let outcome = Outcome {
                error: Some(unrouted.kind),
                ..Outcome::default()
            };
            access_log::refused(&context, noted, &entry, &unrouted, outcome);
            return;
        }
    };
    let mut exchange = Exchange::begin(&context, choice);
    exchange.log_as(noted);
    let ends = (peer, local);
    let established = Box::pin(establish(&context, &connection, &mut exchange, None, ends)).await;
    let mut instance = match established {
        Ok((instance, _)) => instance,
        Err(kind) => {
            access_log::end(
                &context,
                exchange,
                Outcome {
                    error: Some(kind),
                    ..Outcome::default()
                },
            );
            return;
        }
    };
    exchange.connected();
    exchange.pin();
    let (mut input, mut output) = (Buffer::default(), Buffer::default());
    let relayed = relay(
        &context,
        &connection,
        exchange.waits().tunnel(),
        (&mut stream, &mut input),
        (&mut instance, &mut output),
    )
    .await;
    context.buffers.take_back(&mut input);
    context.buffers.take_back(&mut output);
    if relayed.error == Some(ErrorKind::ResponseClosed) {
        // As the instance did to us.
        stream.reset_on_close();
    }
    access_log::end(
        &context,
        exchange,
        Outcome {
            status: if relayed.error.is_none() { WELL } else { 0 },
            error: relayed.error,
            bytes_in: relayed.up,
            bytes_out: relayed.down,
        },
    );
}
