//! Records: which levels a request crossed, and what each says.

use std::time::{Duration, Instant};

use weir_model::lookup;

use super::{
    Entry,
    config::{LogField, LogFormat},
    text::{Date, json_string, put, quoted},
    worker::Log,
};
use crate::{
    choose::{By, Choice, Hop, Matched, Unrouted},
    error::ErrorKind,
    exchange::Outcome,
    table::{Gateway, Next, Route},
};

/// Stands for the server where none was reached.
pub(crate) const NO_SERVER: &str = "<NOSRV>";
const VIRTUAL_HOSTS: &str = "virtual_hosts";

/// Names of a gateway in the log: `G` and `o_G` (spec of the gateway agent, §2 and §3).
#[derive(Debug)]
pub(crate) struct GatewayNames {
    pub(crate) gateway: Box<str>,
    pub(crate) weights: Box<str>,
}

impl GatewayNames {
    pub(crate) fn new(gateway_lookup: &str) -> Self {
        Self {
            gateway: gateway_lookup.into(),
            weights: format!("o_{gateway_lookup}").into(),
        }
    }
}

/// Names of a route in the log: `R` and `im_R`, and what stands for the server behind it if that is a gateway.
#[derive(Debug)]
pub(crate) struct RouteNames {
    pub(crate) route: Box<str>,
    pub(crate) matched: Box<str>,
    pub(crate) next: Option<Box<str>>,
}

impl RouteNames {
    pub(crate) fn new(route_lookup: &str, target: &weir_model::Target) -> Self {
        Self {
            route: route_lookup.into(),
            matched: format!("im_{route_lookup}").into(),
            next: match target {
                weir_model::Target::Gateway(name) => Some(lookup::instance(name.as_str()).into()),
                weir_model::Target::Instances(_) => None,
            },
        }
    }
}

/// Where a request went.
pub(super) enum Way<'a> {
    /// To an instance.
    Served { choice: &'a Choice, retries: u64 },
    /// To none.
    Refused {
        unrouted: &'a Unrouted,
        /// Gateway of the socket that it came by.
        first: Option<&'a Gateway>,
        virtual_hosts: bool,
    },
}

impl Way<'_> {
    fn choice(&self) -> Option<&Choice> {
        match self {
            Self::Served { choice, .. } => Some(choice),
            Self::Refused { unrouted, .. } => unrouted.way.as_deref(),
        }
    }
}

/// One level that a request crossed.
struct Level<'a> {
    frontend: &'a str,
    backend: &'a str,
    server: &'a str,
    /// The last two characters of `tsc`: what came of cookies here.
    cookies: &'static str,
    /// Requests under way: of the frontend, the backend, the server.
    under_way: [u64; 3],
    retries: u64,
}

/// Writes the records of a request; how many.
pub(super) fn write(
    out: &mut Vec<u8>,
    log: &Log,
    entry: &Entry,
    way: &Way<'_>,
    outcome: Outcome,
    now: Instant,
) -> u64 {
    let times = Times::of(entry, now);
    if log.settings().format == LogFormat::Combined {
        combined(out, entry, &times, way, outcome);
        return 1;
    }
    let mut count = 0;
    levels(way, &mut |level| {
        json(out, log, entry, &times, &level, outcome);
        count += 1;
    });
    count
}

/// Milliseconds; `None`: not reached.
struct Times {
    request: u128,
    queue: Option<u128>,
    connect: Option<u128>,
    response: Option<u128>,
    total: u128,
}

impl Times {
    fn of(entry: &Entry, now: Instant) -> Self {
        let began = entry.began.unwrap_or(now);
        let routed = entry.routed.unwrap_or(began);
        let between = |from: Instant, to: Instant| -> Duration { to.saturating_duration_since(from) };
        Self {
            request: between(began, routed).as_millis(),
            // Requests never queue here: connections to instances are not limited.
            queue: entry.connected.map(|_| 0),
            connect: entry.connected.map(|at| between(routed, at).as_millis()),
            response: entry
                .connected
                .zip(entry.answered)
                .map(|(from, to)| between(from, to).as_millis()),
            total: between(began, now).as_millis(),
        }
    }
}

fn number(out: &mut Vec<u8>, ms: Option<u128>) {
    match ms {
        Some(ms) => put(out, format_args!("{ms}")),
        None => out.extend_from_slice(b"-1"),
    }
}

fn json(out: &mut Vec<u8>, log: &Log, entry: &Entry, times: &Times, level: &Level<'_>, outcome: Outcome) {
    let fields = log.settings().fields;
    let mut is_first = true;
    out.push(b'{');
    for field in LogField::ALL {
        if !fields.has(field) || (entry.is_tcp && !field.is_of_tcp()) {
            continue;
        }
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        let name = match field {
            LogField::Termination if entry.is_tcp => "ts",
            field => field.name(),
        };
        put(out, format_args!("\"{name}\":"));
        let [of_frontend, of_backend, of_server] = level.under_way;
        match field {
            LogField::ClientAddress => match entry.peer {
                Some(peer) => put(out, format_args!("\"{}\"", peer.ip().to_canonical())),
                None => out.extend_from_slice(b"\"-\""),
            },
            LogField::ClientPort => put(out, format_args!("{}", entry.peer.map_or(0, |peer| peer.port()))),
            LogField::Time => {
                out.push(b'"');
                if let Some(at) = entry.began_at {
                    Date::of(at).with_milliseconds(out);
                }
                out.push(b'"');
            }
            LogField::Frontend => json_string(out, level.frontend.as_bytes()),
            LogField::Backend => json_string(out, level.backend.as_bytes()),
            LogField::Server => json_string(out, level.server.as_bytes()),
            LogField::RequestTime => number(out, Some(times.request)),
            LogField::QueueTime => number(out, times.queue),
            LogField::ConnectTime => number(out, times.connect),
            LogField::ResponseTime => number(out, times.response),
            LogField::TotalTime => number(out, Some(times.total)),
            LogField::Status => match outcome.status {
                0 => out.extend_from_slice(b"-1"),
                status => put(out, format_args!("{status}")),
            },
            LogField::Bytes => put(out, format_args!("{}", outcome.bytes_out)),
            LogField::RequestCookie | LogField::ResponseCookie => out.extend_from_slice(b"\"-\""),
            LogField::Termination => {
                out.push(b'"');
                out.extend_from_slice(termination(outcome, times).as_bytes());
                if !entry.is_tcp {
                    out.extend_from_slice(level.cookies.as_bytes());
                }
                out.push(b'"');
            }
            LogField::ProcessConnections => put(out, format_args!("{}", log.connections())),
            LogField::FrontendConnections => put(out, format_args!("{of_frontend}")),
            LogField::BackendConnections => put(out, format_args!("{of_backend}")),
            LogField::ServerConnections => put(out, format_args!("{of_server}")),
            LogField::Retries => put(out, format_args!("{}", level.retries)),
            LogField::ServerQueue | LogField::BackendQueue => out.push(b'0'),
            LogField::RequestHeaders | LogField::ResponseHeaders => out.extend_from_slice(b"\"\""),
            LogField::Request => json_string(out, &entry.line),
        }
    }
    out.extend_from_slice(b"}\n");
}

fn combined(out: &mut Vec<u8>, entry: &Entry, times: &Times, way: &Way<'_>, outcome: Outcome) {
    match entry.peer {
        Some(peer) => put(out, format_args!("{} - - [", peer.ip().to_canonical())),
        None => out.extend_from_slice(b"- - - ["),
    }
    if let Some(at) = entry.began_at {
        Date::of(at).with_zone(out);
    }
    out.extend_from_slice(b"] ");
    quoted(out, if entry.is_tcp { b"TCP" } else { &entry.line });
    match outcome.status {
        0 => out.extend_from_slice(b" - "),
        _ if entry.is_tcp => out.extend_from_slice(b" - "),
        status => put(out, format_args!(" {status} ")),
    }
    put(out, format_args!("{} ", outcome.bytes_out));
    for value in [&entry.referer, &entry.user_agent] {
        quoted(out, if value.is_empty() { b"-" } else { value });
        out.push(b' ');
    }
    let choice = way.choice();
    let first = choice.and_then(|choice| choice.hops().next().map(|hop| (choice, hop)));
    let gateway = match (first, way) {
        (Some((choice, hop)), _) => choice.gateway(hop.gateway).map(|gateway| gateway.name().as_str()),
        (None, Way::Refused { first, .. }) => first.map(|gateway| gateway.name().as_str()),
        (None, Way::Served { .. }) => None,
    };
    let route = first.and_then(|(choice, hop)| {
        let gateway = choice.gateway(hop.gateway)?;
        Some(gateway.source.routes.get(usize::from(hop.route))?.name.as_str())
    });
    let instance = match way {
        Way::Served { choice, .. } => Some(choice.endpoint().id.as_str()),
        Way::Refused { .. } => None,
    };
    for name in [gateway, route, instance] {
        quoted(out, name.unwrap_or("-").as_bytes());
        out.push(b' ');
    }
    put(out, format_args!("{}/", times.request));
    for ms in [times.queue, times.connect, times.response] {
        number(out, ms);
        out.push(b'/');
    }
    put(
        out,
        format_args!("{} {}\n", times.total, termination(outcome, times)),
    );
}

/// Calls `each` for every level that the request crossed, outermost first.
fn levels(way: &Way<'_>, each: &mut dyn FnMut(Level<'_>)) {
    let (choice, is_served, retries, by_host) = match way {
        Way::Served { choice, retries } => (Some(*choice), true, *retries, choice.via_virtual_host()),
        Way::Refused {
            unrouted,
            virtual_hosts,
            ..
        } => (unrouted.way.as_deref(), false, 0, *virtual_hosts),
    };
    let first = choice.and_then(Choice::first_gateway).map(|gateway| &**gateway);
    if by_host {
        let name = first.map_or(NO_SERVER, |gateway| &gateway.names.gateway);
        let under_way = first.map_or(0, of_gateway);
        each(Level {
            frontend: VIRTUAL_HOSTS,
            backend: if first.is_some() { name } else { VIRTUAL_HOSTS },
            server: name,
            cookies: "--",
            under_way: [under_way; 3],
            retries: 0,
        });
    }
    let Some(choice) = choice else {
        // Nothing was decided: it was refused at the door.
        if let Way::Refused {
            first: Some(gateway),
            virtual_hosts: false,
            ..
        } = way
        {
            each(unserved(gateway, &gateway.names.gateway));
        }
        return;
    };
    let count = choice.hops().count();
    for (index, hop) in choice.hops().enumerate() {
        let is_last = index + 1 == count;
        if let (Some(gateway), Some(route)) = (choice.gateway(hop.gateway), choice.route(hop)) {
            hop_levels(gateway, route, choice, hop, (is_last, is_served, retries), each);
        }
    }
    if let Some(gateway) = choice.unrouted_gateway() {
        // Crossed without a route: every weight is zero.
        each(unserved(gateway, &gateway.names.weights));
    }
}

/// A gateway that led nowhere.
fn unserved<'g>(gateway: &'g Gateway, backend: &'g str) -> Level<'g> {
    Level {
        frontend: &gateway.names.gateway,
        backend,
        server: NO_SERVER,
        cookies: "--",
        under_way: [of_gateway(gateway), 0, 0],
        retries: 0,
    }
}

fn hop_levels(
    gateway: &Gateway,
    route: &Route,
    choice: &Choice,
    hop: &Hop,
    (is_last, is_served, retries): (bool, bool, u64),
    each: &mut dyn FnMut(Level<'_>),
) {
    let of_gateway = of_gateway(gateway);
    let of_route = route.live.shards.sum(|shard| &shard.in_flight);
    let cookies = match (gateway.cookies.is_some(), hop.by, hop.sets_cookies()) {
        (false, ..) => "--",
        (true, By::Cookie, false) => "VN",
        (true, _, true) => "NI",
        (true, _, false) => "NN",
    };
    let names = &gateway.names;
    let matched = gateway
        .routes
        .get(usize::from(hop.matched))
        .filter(|_| hop.taken != Matched::Nothing);
    let (backend, server) = match (matched, hop.taken) {
        (Some(matched), Matched::Left) => (&matched.names.matched, &names.weights),
        (Some(matched), _) => (&matched.names.matched, &route.names.route),
        (None, _) => (&names.weights, &route.names.route),
    };
    each(Level {
        frontend: &names.gateway,
        backend,
        server,
        cookies,
        under_way: [of_gateway, of_gateway, of_route],
        retries: 0,
    });
    if hop.taken == Matched::Left {
        each(Level {
            frontend: &names.weights,
            backend: &names.weights,
            server: &route.names.route,
            cookies,
            under_way: [of_gateway, of_gateway, of_route],
            retries: 0,
        });
    }
    let (server, of_server) = match (&route.next, is_last && is_served) {
        (Next::Gateway(_), _) => (route.names.next.as_deref().unwrap_or(NO_SERVER), of_route),
        (Next::Endpoints(_), true) => {
            let endpoint = choice.endpoint();
            let of_endpoint = endpoint.live.shards.sum(|shard| &shard.in_flight);
            (&*endpoint.name, of_endpoint)
        }
        (Next::Endpoints(_), false) => (NO_SERVER, 0),
    };
    each(Level {
        frontend: &route.names.route,
        backend: &route.names.route,
        server,
        cookies,
        under_way: [of_route, of_route, of_server],
        retries: if is_last { retries } else { 0 },
    });
}

fn of_gateway(gateway: &Gateway) -> u64 {
    gateway.routes.iter().fold(0, |sum, route| {
        sum.wrapping_add(route.live.shards.sum(|shard| &shard.in_flight))
    })
}

/// The first two characters of HAProxy's termination state: who ended it, and at what.
fn termination(outcome: Outcome, times: &Times) -> &'static str {
    let Some(error) = outcome.error else {
        return "--";
    };
    match (error, times.connect, times.response) {
        (ErrorKind::ClientAborted, None, _) => "CC",
        (ErrorKind::ClientAborted, Some(_), None) => "CH",
        (ErrorKind::ClientAborted, Some(_), Some(_)) => "CD",
        (ErrorKind::RequestTimeout, None, _) => "cR",
        (ErrorKind::RequestTimeout, Some(_), _) => "cD",
        (ErrorKind::ResponseTimeout, _, None) => "sH",
        (ErrorKind::ResponseTimeout, _, Some(_)) => "sD",
        (ErrorKind::ConnectTimeout, ..) => "sC",
        (ErrorKind::ResponseClosed, _, None) => "SH",
        (ErrorKind::ResponseClosed, _, Some(_)) => "SD",
        (ErrorKind::ResponseMalformed, ..) => "PH",
        (ErrorKind::TunnelIdle, ..) => "cD",
        (ErrorKind::Shutdown, ..) => "KD",
        (
            ErrorKind::RequestMalformed
            | ErrorKind::HeadTooLarge
            | ErrorKind::UriTooLong
            | ErrorKind::BodyTooLarge
            | ErrorKind::VersionUnsupported
            | ErrorKind::MethodUnsupported
            | ErrorKind::Unsupported,
            ..,
        ) => "PR",
        (ErrorKind::Internal, ..) => "PI",
        // No gateway, no route, no instance, no connection; and what may be added.
        _ => "SC",
    }
}
