//! What follows the head of an answer: its body, or a tunnel.

use std::{future::poll_fn, task::Poll};

use super::{Final, NO_HEAD, Transfer};
use crate::{
    error::ErrorKind,
    http::{
        connection::{After, Session},
        downstream::Downstream,
        pipe::{Broken, Side},
    },
    tcp::relay,
    worker::{Connection, Elapsed},
};

impl<S: Downstream> Session<S> {
    /// Sends the head in `out` and the body behind it.
    pub(super) async fn relay_answer(
        &mut self,
        connection: &Connection,
        transfer: &mut Transfer,
        final_answer: Final,
    ) -> After {
        let Self {
            context,
            stream,
            input,
            out,
            ..
        } = self;
        // Those behind the head were counted with it.
        let put_before = transfer.download.taken() - transfer.download.ready() as u64;
        let limit = transfer.download_limit(context);
        let relaying = poll_fn(|task| {
            let Transfer {
                upload,
                instance: Some(instance),
                answer,
                download,
                ..
            } = &mut *transfer
            else {
                return Poll::Ready(Err(ErrorKind::ResponseClosed));
            };
            let mut progress = false;
            let written = match download.poll_write_behind(task, out, answer, stream, &mut progress) {
                Poll::Ready(Ok(())) => download.poll(
                    task,
                    &context.buffers,
                    answer,
                    (&mut *instance, stream),
                    &mut progress,
                ),
                other => other,
            };
            if let Poll::Ready(written) = written {
                return Poll::Ready(written.map_err(blame_download));
            }
            // `out` is the answer's now.
            if let Poll::Ready(Err(kind)) = upload.poll(
                task,
                &context.buffers,
                (&NO_HEAD, input),
                (stream, instance),
                &mut progress,
            ) {
                return Poll::Ready(Err(kind));
            }
            if progress {
                connection.touch(transfer.download_limit(context));
            }
            Poll::Pending
        });
        let ended = match connection.within(limit, relaying).await {
            Ok(ended) => ended,
            Err(Elapsed) if !out.is_empty() || transfer.download.waits_for() == Side::Sink => {
                Err(ErrorKind::ClientAborted)
            }
            Err(Elapsed) => Err(ErrorKind::ResponseTimeout),
        };
        transfer.outcome.bytes_out += transfer.download.taken() - put_before;
        if let Err(kind) = ended {
            if kind != ErrorKind::ClientAborted && final_answer.ends_with_connection {
                self.stream.reset_on_close();
            }
            transfer.outcome.error = Some(kind);
            return After::Close;
        }
        let is_sent = transfer.upload.pipe.is_done();
        if final_answer.instance_keeps
            && is_sent
            && !transfer.upload.is_abandoned
            && transfer.answer.is_empty()
            && transfer.exchange.endpoint().is_pooled()
            && let Some(instance) = transfer.instance.take()
        {
            context
                .pool
                .put(transfer.exchange.endpoint().key(), instance, context.now_ms());
        }
        match (final_answer.client_keeps, is_sent) {
            (true, true) => After::Continue,
            // The client knew that this was the last request.
            (false, true) if !transfer.plan.client.keep_alive => After::Close,
            _ => After::Linger,
        }
    }

    /// Relays whatever comes, both ways, after the protocol was switched.
    pub(super) async fn tunnel(&mut self, connection: &Connection, transfer: &mut Transfer) -> After {
        if self.send(connection, After::Continue).await != After::Continue {
            transfer.outcome.error = Some(ErrorKind::ClientAborted);
            return After::Close;
        }
        self.context.buffers.take_back(&mut self.out);
        // It may last for days.
        transfer.exchange.pin();
        let Some(mut instance) = transfer.instance.take() else {
            return After::Close;
        };
        let client = (&mut self.stream, &mut self.input);
        let relayed = relay(
            &self.context,
            connection,
            transfer.exchange.waits().tunnel(),
            client,
            (&mut instance, &mut transfer.answer),
        )
        .await;
        if relayed.error == Some(ErrorKind::ResponseClosed) {
            self.stream.reset_on_close();
        }
        transfer.outcome.error = relayed.error;
        transfer.outcome.bytes_in += relayed.up;
        transfer.outcome.bytes_out += relayed.down;
        After::Close
    }
}

/// Whose fault it is that an answer's body did not come through.
pub(super) fn blame_download(broken: Broken) -> ErrorKind {
    match broken {
        Broken::Source => ErrorKind::ResponseClosed,
        Broken::Sink => ErrorKind::ClientAborted,
        Broken::Framing(_) | Broken::TooLong => ErrorKind::ResponseMalformed,
    }
}
