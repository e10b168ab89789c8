//! Raw TCP: one decision per connection, then bytes both ways.
//!
//! **Invariants.** Every connection that was routed is accounted once, when it ends. A direction that waits
//! holds no buffer. When one side ends its sending, the other is told so and may go on with its own.
//!
//! Where routes have names of servers, the first message of a client of TLS is read for the name that it asks for, and passed
//! on as it came.
//!
//! **Absent.** Nothing else looks into the bytes.

mod relay;

use std::{future::poll_fn, rc::Rc};

pub(crate) use self::relay::relay;
use crate::{
    access_log,
    buffer::Buffer,
    choose::{Entry, choose_tcp},
    error::ErrorKind,
    exchange::{Exchange, Outcome},
    http::Downstream,
    tls::{HELLO_BYTES_MAX, Hello, read_hello},
    upstream::establish,
    worker::{Accepted, Connection, Context, Elapsed},
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
    let mut input = Buffer::default();
    let mut name = stream.server_name().map(str::to_ascii_lowercase);
    if !stream.is_secure() && reads_names(&context, &entry) {
        let limit = context.config.timeouts.head;
        let asked = Box::pin(asked_name(&context, &mut stream, &mut input));
        name = match connection.within(limit, asked).await {
            Ok(Ok(name)) => name,
            Ok(Err(kind)) => {
                context.buffers.take_back(&mut input);
                return context.rejected(kind);
            }
            Err(Elapsed) => {
                context.buffers.take_back(&mut input);
                return context.rejected(ErrorKind::HandshakeTimeout);
            }
        };
    }
    let choice = match choose_tcp(&context, &entry, peer, name.as_deref()) {
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
            context.buffers.take_back(&mut input);
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
            context.buffers.take_back(&mut input);
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
    let mut output = Buffer::default();
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

fn reads_names(context: &Context, entry: &Entry) -> bool {
    let table = context.table();
    entry.slot(&table).is_some_and(|slot| table.reads_names(slot))
}

/// The name that a client of TLS asks for. What was read stays in `input`. A client that speaks something else asks for none.
async fn asked_name<S: Downstream>(
    context: &Context,
    stream: &mut S,
    input: &mut Buffer,
) -> Result<Option<String>, ErrorKind> {
    loop {
        let needed = match read_hello(input.data()) {
            Ok(Hello::Whole(name)) => return Ok(name),
            Ok(Hello::Other) => return Ok(None),
            Ok(Hello::Partial(needed)) => needed,
            Err(_) => return Err(ErrorKind::Handshake),
        };
        // Looked at again when it may be whole: bytes that drip cost linear work.
        while input.len() < needed {
            let filled = poll_fn(|task| {
                context.buffers.lend(input);
                input.make_room(HELLO_BYTES_MAX * 2);
                let filled = input.poll_fill(task, stream);
                if filled.is_pending() {
                    context.buffers.take_back_empty(input);
                }
                filled
            });
            if !matches!(filled.await, Ok(1..)) {
                return Err(ErrorKind::ClientAborted);
            }
        }
    }
}
