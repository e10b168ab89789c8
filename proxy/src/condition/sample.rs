//! One value of a fetch, for what is put together from parts of a request.

use std::io::Write as _;

use weir_model::condition::Fetch;

use super::{RequestView, value};

/// Appends the value of a fetch: of headers and cookies the last one, of parameters the first, as HAProxy does; nothing if
/// there is none.
pub(crate) fn append(out: &mut Vec<u8>, fetch: &Fetch, request: &impl RequestView) {
    let lines = |name| value::header_lines(request, name);
    let cookies = |name: &str| {
        let name = name.as_bytes().to_vec();
        lines("cookie").flat_map(move |line| value::cookies(line, &name).collect::<Vec<_>>())
    };
    let text = match fetch {
        Fetch::Method => Some(request.method()),
        Fetch::Path => value::path(request.target()),
        Fetch::Url => Some(request.target()),
        Fetch::Query => value::query(request.target()),
        Fetch::UrlParameter(name) => value::parameters(request.target(), name.as_bytes()).next(),
        Fetch::Header(name) => lines(name).flat_map(value::list).last(),
        Fetch::FullHeader(name) => lines(name).last(),
        Fetch::Cookie(name) => cookies(name).last(),
        Fetch::HeaderCount(name) => return number(out, lines(name).flat_map(value::list).count()),
        Fetch::FullHeaderCount(name) => return number(out, lines(name).count()),
        Fetch::CookieCount(name) => return number(out, cookies(name).count()),
        Fetch::Source => return number(out, request.source().to_canonical()),
        Fetch::Destination => return number(out, request.destination().to_canonical()),
        Fetch::DestinationPort => return number(out, request.destination_port()),
    };
    out.extend_from_slice(text.unwrap_or_default());
}

fn number(out: &mut Vec<u8>, number: impl std::fmt::Display) {
    write!(out, "{number}").expect("a vector takes all");
}
