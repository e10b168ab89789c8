//! One request on its way: to an instance, and the answer back.

mod deliver;

use std::{cell::RefCell, future::poll_fn, rc::Rc, task::Poll, time::Duration};

use self::deliver::blame_download;
use super::{
    connection::{After, Client, Patience, Session},
    downstream::Downstream,
    forward::{self, Answered},
    framing::Framing,
    head::{Response, Version, room},
    pipe::{Pipe, Side},
    upload::{Upload, blame_upload},
};
use crate::{
    access_log,
    buffer::Buffer,
    choose::Choice,
    error::ErrorKind,
    exchange::{Exchange, Outcome},
    upstream::{Link, establish},
    worker::{Connection, Context, Elapsed},
};

/// Body bytes that are sent together with the head by copying them behind it: cheaper than a second
/// system call, or one with several pieces.
const TOGETHER_BYTES_MAX: usize = 4 * 1024;
/// Interim responses that an instance may send before the final one.
const INTERIM_MAX: u32 = 16;
/// A request that must not be repeated is sent only over a connection that was used so lately, in
/// milliseconds: instances close connections after seconds without use, and the moment in which one does
/// must not meet such a request.
const LATELY_MS: u64 = 1_000;

/// What is known of a request from its head.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) client: Client,
    pub(super) framing: Framing,
    /// May be sent again if the connection turns out to be dead (RFC 9110 §9.2.2, RFC 9112 §9.3.1).
    pub(super) is_repeatable: bool,
    pub(super) expects_continue: bool,
    pub(super) head_bytes: usize,
}

/// A request that is under way, and its answer.
pub(super) struct Transfer {
    exchange: Exchange,
    plan: Plan,
    upload: Upload,
    instance: Option<Link>,
    /// Received from the instance and not yet used.
    answer: Buffer,
    /// The answer's body on its way.
    download: Pipe,
    outcome: Outcome,
}

/// What came of waiting for (more of) an answer.
enum Waited {
    /// Bytes came.
    Bytes,
    /// The instance closed or reset the connection.
    Closed,
    /// It did not come so far.
    Failed(ErrorKind),
}

/// What the head of an answer says.
enum Answer {
    /// It is not complete.
    Partial,
    /// 100 to 199 but 101; it is in `out`.
    Interim,
    /// The final one; it is in `out`.
    Final(Final),
}

/// A final answer (or 101); as far as its body came with the head it was looked at.
#[derive(Clone, Copy)]
struct Final {
    status: u16,
    /// Nothing but the end of the connection tells the client the end of the body.
    ends_with_connection: bool,
    instance_keeps: bool,
    client_keeps: bool,
}

/// Where a transfer lives: apart from its connection, so that a connection without one is small.
pub(super) type Place = Box<Option<Transfer>>;

/// Places that a worker keeps for later, so that a request costs no allocation.
const PLACES_KEPT_MAX: usize = 64;

thread_local! {
    static PLACES: RefCell<Vec<Place>> = const { RefCell::new(Vec::new()) };
}

impl Transfer {
    pub(super) fn begin(
        context: &Rc<Context>,
        choice: Choice,
        plan: Plan,
        entry: Option<Box<access_log::Entry>>,
    ) -> Place {
        let mut place = PLACES.with_borrow_mut(Vec::pop).unwrap_or_default();
        let mut exchange = Exchange::begin(context, choice);
        exchange.log_as(entry);
        *place = Some(Self {
            exchange,
            plan,
            upload: Upload::new(plan.framing, context.config.limits.body_bytes_max),
            instance: None,
            answer: Buffer::NONE,
            download: Pipe::new(Framing::None, None),
            outcome: Outcome {
                bytes_in: plan.head_bytes as u64,
                ..Outcome::default()
            },
        });
        place
    }

    /// How long nothing may happen while the answer is waited for.
    fn limit(&self, context: &Context, out: &Buffer) -> Duration {
        self.upload.limit(context, self.exchange.waits(), out)
    }

    /// How long nothing may happen while the answer's body passes.
    fn download_limit(&self, context: &Context) -> Duration {
        let waits = self.exchange.waits();
        match self.download.waits_for() {
            Side::Sink => waits.client_idle(context),
            Side::Source => waits.server_idle(context),
        }
    }

    /// Ends the accounting.
    pub(super) fn end(context: &Context, mut place: Place) {
        if let Some(mut transfer) = place.take() {
            context.buffers.take_back(&mut transfer.answer);
            transfer.outcome.bytes_in += transfer.upload.pipe.taken();
            access_log::end(context, transfer.exchange, transfer.outcome);
        }
        PLACES.with_borrow_mut(|places| {
            if places.len() < PLACES_KEPT_MAX {
                places.push(place);
            }
        });
    }
}

impl<S: Downstream> Session<S> {
    /// Sends the request whose head is in `out`, and its answer back.
    pub(super) async fn transfer(&mut self, connection: &Connection, transfer: &mut Transfer) -> After {
        let answer = match self.ask(connection, transfer).await {
            Ok(answer) => answer,
            Err(kind) => return self.fail(connection, transfer, kind).await,
        };
        transfer.outcome.status = answer.status;
        transfer.outcome.bytes_out += self.out.len() as u64;
        if answer.status == 101 {
            // Rare and long: its future is not part of every connection's memory.
            Box::pin(self.tunnel(connection, transfer)).await
        } else {
            self.relay_answer(connection, transfer, answer).await
        }
    }

    /// Sends the request, or as much of it as the instance takes, and reads the head of the final answer, which
    /// is then in `out`.
    async fn ask(&mut self, connection: &Connection, transfer: &mut Transfer) -> Result<Final, ErrorKind> {
        transfer.upload.pipe.look(&mut self.input).map_err(blame_upload)?;
        put_together(&mut transfer.upload.pipe, &mut self.input, &mut self.out);
        let mut may_reuse = true;
        let mut is_repeated = false;
        loop {
            let reuse_ms = match (may_reuse, transfer.plan.is_repeatable) {
                (true, true) => Some(u64::MAX),
                (true, false) => Some(LATELY_MS),
                (false, _) => None,
            };
            let (connected, is_reused) = self.connect(connection, &mut transfer.exchange, reuse_ms).await?;
            transfer.exchange.connected();
            transfer.instance = Some(connected);
            let waited = self.wait(connection, transfer).await;
            let upload = &mut transfer.upload;
            // The instance said that it did not begin with the request, of which nothing is lost to us.
            let is_refused = transfer.instance.as_ref().is_some_and(Link::is_refused) && !upload.is_begun;
            match waited {
                Waited::Bytes => break,
                Waited::Closed
                    if is_reused && (transfer.plan.is_repeatable || upload.head_sent == 0 || is_refused) =>
                {
                    transfer.exchange.retried();
                    may_reuse = false;
                    upload.head_sent = 0;
                    upload.is_abandoned = false;
                }
                // Nothing of an answer came, and a repetition has the effect of one request (RFC 9110 §9.2.2).
                Waited::Closed
                    if (transfer.plan.is_repeatable || is_refused)
                        && !is_repeated
                        && self.context.config.retries > 0
                        && !transfer.exchange.waits().is_over(&self.context)
                        && self.context.may_retry() =>
                {
                    is_repeated = true;
                    transfer.exchange.retried();
                    // If there is no other, the same one may be back.
                    transfer.exchange.another_endpoint(ErrorKind::ResponseClosed);
                    may_reuse = false;
                    upload.head_sent = 0;
                    upload.is_abandoned = false;
                }
                Waited::Closed => return Err(ErrorKind::ResponseClosed),
                Waited::Failed(kind) => return Err(kind),
            }
        }
        // An answer before the end of the head means that the instance does not want the rest.
        transfer.upload.is_abandoned |= transfer.upload.head_sent < self.out.len();
        transfer.upload.head_sent = 0;
        self.out.clear();
        self.read_answer(connection, transfer).await
    }

    /// A connection to the instance chosen, or to another one if need be, and whether it was used before.
    async fn connect(
        &mut self,
        connection: &Connection,
        exchange: &mut Exchange,
        reuse_ms: Option<u64>,
    ) -> Result<(Link, bool), ErrorKind> {
        let context = &self.context;
        let reuse_ms = reuse_ms.filter(|_| exchange.endpoint().is_pooled());
        if let Some(reuse_ms) = reuse_ms
            && let Some(instance) = context
                .pool
                .take(exchange.endpoint().key(), context.now_ms(), reuse_ms)
        {
            return Ok((instance, true));
        }
        // Rare, so its future is not part of every connection's memory.
        let ends = (self.peer, self.local);
        Box::pin(establish(context, connection, exchange, reuse_ms, ends)).await
    }

    /// Sends what is left of the request while waiting for bytes of the answer.
    async fn wait(&mut self, connection: &Connection, transfer: &mut Transfer) -> Waited {
        let Self {
            context,
            stream,
            input,
            out,
            ..
        } = self;
        let limit = transfer.limit(context, out);
        let waiting = poll_fn(|task| {
            let Transfer {
                exchange,
                upload,
                instance: Some(instance),
                answer,
                ..
            } = &mut *transfer
            else {
                return Poll::Ready(Waited::Closed);
            };
            let waits = exchange.waits();
            let mut progress = false;
            if let Poll::Ready(Err(kind)) = upload.poll(
                task,
                &context.buffers,
                (out, input),
                (stream, instance),
                &mut progress,
            ) {
                return Poll::Ready(Waited::Failed(kind));
            }
            context.buffers.lend(answer);
            match answer.poll_fill(task, instance) {
                // What comes before anything was sent answers nothing that was asked.
                Poll::Ready(Ok(1..)) if upload.head_sent > 0 || out.is_empty() => {
                    return Poll::Ready(Waited::Bytes);
                }
                Poll::Ready(Ok(_) | Err(_)) => {
                    answer.clear();
                    return Poll::Ready(Waited::Closed);
                }
                Poll::Pending => context.buffers.take_back_empty(answer),
            }
            if progress {
                connection.touch(upload.limit(context, waits, out));
            }
            Poll::Pending
        });
        match connection.within(limit, waiting).await {
            Ok(waited) => waited,
            Err(Elapsed) if transfer.upload.waits_for_client(out) => {
                Waited::Failed(ErrorKind::RequestTimeout)
            }
            Err(Elapsed) => Waited::Failed(ErrorKind::ResponseTimeout),
        }
    }

    /// Reads heads until the final one, which is then in `out`; passes interim ones on.
    async fn read_answer(
        &mut self,
        connection: &Connection,
        transfer: &mut Transfer,
    ) -> Result<Final, ErrorKind> {
        let mut patience = Patience::default();
        let mut interim = 0;
        loop {
            let read = if !transfer.answer.is_empty() && patience.is_time(transfer.answer.data()) {
                self.parse_answer(transfer)?
            } else {
                Answer::Partial
            };
            match read {
                Answer::Final(answer) => return Ok(answer),
                Answer::Interim => {
                    interim += 1;
                    if interim > INTERIM_MAX {
                        return Err(ErrorKind::ResponseMalformed);
                    }
                    patience = Patience::default();
                    transfer.outcome.bytes_out += self.out.len() as u64;
                    if self.send(connection, After::Continue).await != After::Continue {
                        return Err(ErrorKind::ClientAborted);
                    }
                }
                Answer::Partial => {
                    self.context.buffers.lend(&mut transfer.answer);
                    transfer
                        .answer
                        .make_room(self.context.config.limits.head_bytes_max);
                    match self.wait(connection, transfer).await {
                        Waited::Bytes => {}
                        Waited::Closed => return Err(ErrorKind::ResponseClosed),
                        Waited::Failed(kind) => return Err(kind),
                    }
                }
            }
        }
    }

    /// Reads what there is of an answer. No await: the view of the head lives on the stack only.
    fn parse_answer(&mut self, transfer: &mut Transfer) -> Result<Answer, ErrorKind> {
        let Transfer {
            exchange,
            plan:
                Plan {
                    client,
                    expects_continue,
                    ..
                },
            upload,
            answer,
            download,
            ..
        } = transfer;
        let limits = &self.context.config.limits;
        let mut room = room();
        let response = match Response::parse(answer.data(), &mut room, limits, client.asked) {
            Ok(Some(response)) => response,
            Ok(None) => return Ok(Answer::Partial),
            Err(_) => return Err(ErrorKind::ResponseMalformed),
        };
        let (length, status, framing) = (response.length(), response.status(), response.framing());
        if status < 200 && status != 101 {
            // A client of HTTP/1.0 does not know of such responses (RFC 9110 §15.2).
            if client.version == Version::Http11 {
                forward::informational(self.out.bytes_mut(), &response);
                self.out.put(b"\r\n");
            }
            answer.consume(length);
            return Ok(Answer::Interim);
        }
        *download = Pipe::new(framing, None);
        let mut ends_with_connection = framing == Framing::UntilClose;
        if framing == Framing::Chunked && client.version == Version::Http10 {
            download.take_framing_off();
            ends_with_connection = true;
        }
        // A client that waits for leave to send its body will not send it after a final answer.
        let may_follow = upload.pipe.has_all() || !*expects_continue || upload.pipe.taken() > 0;
        let client_keeps =
            client.keep_alive && may_follow && !ends_with_connection && !self.context.draining();
        let answered = Answered {
            version: client.version,
            keep_alive: client_keeps,
        };
        forward::response(
            self.out.bytes_mut(),
            &response,
            answered,
            exchange.choice().set_cookies(),
        );
        exchange.answered();
        let instance_keeps = response.keep_alive();
        answer.consume(length);
        if status != 101 {
            download.look(answer).map_err(blame_download)?;
            put_together(download, answer, &mut self.out);
        }
        Ok(Answer::Final(Final {
            status,
            ends_with_connection,
            instance_keeps,
            client_keeps,
        }))
    }

    /// Answers a request that has no answer from an instance.
    async fn fail(&mut self, connection: &Connection, transfer: &mut Transfer, kind: ErrorKind) -> After {
        transfer.outcome.error = Some(kind);
        if kind == ErrorKind::ClientAborted {
            return After::Close;
        }
        let client = transfer.plan.client;
        let goes_on = client.keep_alive && transfer.upload.pipe.is_done();
        let after = self.refuse(
            kind,
            client,
            if goes_on { After::Continue } else { After::Linger },
        );
        let length = self.out.len() as u64;
        let after = self.send(connection, after).await;
        if self.out.is_empty() {
            transfer.outcome.status = kind.status();
            transfer.outcome.bytes_out += length;
        }
        after
    }
}

/// For uploads whose head was sent.
static NO_HEAD: Buffer = Buffer::NONE;

/// Puts a small part of a body behind its head.
fn put_together(pipe: &mut Pipe, body: &mut Buffer, head: &mut Buffer) {
    let count = pipe.ready();
    if count > 0 && count <= TOGETHER_BYTES_MAX.min(head.room()) {
        head.put(body.data().get(..count).unwrap_or_default());
        pipe.written(body, count);
    }
}
