//! Lists in parts (spec of the API §1): `page` and `per_page` in, `X-Total-Count` and `Link` out.

use std::{fmt::Write as _, net::SocketAddr};

use axum::{
    extract::FromRequestParts,
    http::{HeaderName, header, request::Parts, uri::Authority},
};
use serde_json::Value;
use weir_persist::Page;

use super::{
    Api,
    answer::{Answer, ApiError},
    gate::Peer,
    request::Parameters,
};

/// Most items of one page, and how many there are if the client does not say.
pub(super) const PER_PAGE_MAX: u64 = 30;

const X_TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");

/// The path as the client wrote it; an extension of the request.
#[derive(Clone, Debug)]
pub(super) struct AskedPath(pub(super) String);

/// Which part of a list is asked for, and where the others are.
#[derive(Debug)]
pub(super) struct Paging {
    page: u64,
    per_page: u64,
    /// `http://host/path?` and the other parameters, each followed by `&`.
    base: String,
}

impl FromRequestParts<Api> for Paging {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let parameters = Parameters::from_request_parts(parts, api).await?;
        let page = parameters.number("page")?.unwrap_or(1).max(1);
        let per_page = parameters.number("per_page")?.unwrap_or(PER_PAGE_MAX);
        let host = parts
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let asked = parts.extensions.get::<AskedPath>();
        let path = asked.map_or(parts.uri.path(), |AskedPath(path)| path);
        let secure = parts.extensions.get::<Peer>().is_some_and(|peer| peer.secure);
        let scheme = if secure { "https" } else { "http" };
        let mut base = format!("{scheme}://{}{path}?", authority(host, api.address));
        for (key, value) in parameters.without(&["page", "per_page"]) {
            // Writing to a string cannot fail.
            let _ = write!(base, "{}={}&", encoded(key), encoded(value));
        }
        Ok(Self {
            page,
            per_page: per_page.clamp(1, PER_PAGE_MAX),
            base,
        })
    }
}

impl Paging {
    /// For storage.
    pub(super) fn part(&self) -> Page {
        Page {
            offset: (self.page - 1).saturating_mul(self.per_page),
            limit: self.per_page,
        }
    }

    /// The part of a list that is there as a whole.
    pub(super) fn of<T>(&self, all: Vec<T>) -> (Vec<T>, u64) {
        let total = all.len() as u64;
        let offset = usize::try_from(self.part().offset).unwrap_or(usize::MAX);
        let limit = usize::try_from(self.per_page).unwrap_or(usize::MAX);
        (all.into_iter().skip(offset).take(limit).collect(), total)
    }

    /// The list's answer. `total`: items on all pages.
    pub(super) fn answer(&self, items: Vec<Value>, total: u64) -> Answer {
        let last = total.div_ceil(self.per_page).max(1);
        let links = [
            ("first", 1),
            ("prev", (self.page - 1).clamp(1, last)),
            ("next", self.page.saturating_add(1).min(last)),
            ("last", last),
        ];
        let links = links.map(|(relation, page)| {
            format!(
                "<{}page={page}&per_page={}>; rel=\"{relation}\"",
                self.base, self.per_page
            )
        });
        Answer::ok(Value::Array(items))
            .header(X_TOTAL_COUNT, total.to_string())
            .header(header::LINK, links.join(", "))
    }
}

/// What the client calls this server. Only what is an authority by its syntax gets into a link.
fn authority(host: Option<&str>, address: SocketAddr) -> String {
    match host.and_then(|host| host.parse::<Authority>().ok()) {
        Some(host) => host.to_string(),
        None => address.to_string(),
    }
}

/// Percent-encoded for a query.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
