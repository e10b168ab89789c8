//! The forms in which a path may come (spec of the API §1).

use axum::{
    body::Body,
    http::{Request, Uri, uri::PathAndQuery},
};

use super::paging::AskedPath;

/// Start of every path of the API.
pub(super) const BASE: &str = "/api/v1";
/// The API over one socket.
pub(super) const SOCKET: &str = "/websocket";
/// Start of every path that leads to what is managed here.
pub(super) const PROXY: &str = "/proxy";

/// Gives a request the one form that is routed: without the first `strip` segments, no empty segments at the
/// beginning (`//api/v1`), no slash at the end, no namespace before the base.
pub(super) fn normalised(mut request: Request<Body>, namespace: &str, strip: usize) -> Request<Body> {
    let asked = request.uri().path().to_owned();
    let short = short(&asked, namespace, strip);
    request.extensions_mut().insert(AskedPath(asked));
    let Some(short) = short else {
        return request;
    };
    let with_query = match request.uri().query() {
        Some(query) => format!("{short}?{query}"),
        None => short,
    };
    // A part of a valid path is one, too.
    if let Ok(with_query) = with_query.parse::<PathAndQuery>() {
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = Some(with_query);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// The path that is routed, if it is not this one.
fn short(path: &str, namespace: &str, strip: usize) -> Option<String> {
    let mut begun = path.trim_start_matches('/');
    for _ in 0..strip {
        begun = begun.split_once('/').map_or("", |(_, rest)| rest);
    }
    let inside = begun
        .strip_prefix(namespace)
        .and_then(|rest| rest.strip_prefix('/'))
        .filter(|rest| {
            [BASE, SOCKET, PROXY]
                .iter()
                .any(|own| is_below(rest, own.trim_start_matches('/')))
        });
    let rest = inside.unwrap_or(begun);
    // What is proxied belongs to somebody else, to whom a slash at the end may say something.
    let rest = match is_below(rest, PROXY.trim_start_matches('/')) {
        true => rest,
        false => rest.trim_end_matches('/'),
    };
    let short = format!("/{rest}");
    (short != path).then_some(short)
}

fn is_below(path: &str, own: &str) -> bool {
    path.strip_prefix(own)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn slashes_and_namespaces() {
        for (path, expected) in [
            ("/", None),
            ("/api/v1", None),
            ("/api/v1/breeds/a%2Fb", None),
            ("/api/v1/", Some("/api/v1")),
            ("//api/v1/deployments/", Some("/api/v1/deployments")),
            ("/blue/api/v1/gateways/a/b/c", Some("/api/v1/gateways/a/b/c")),
            ("/blue/api/v1/", Some("/api/v1")),
            ("/blue/api/v10", None),
            ("/blue/other", None),
            ("/blue/websocket/", Some("/websocket")),
            ("/blue/proxy/gateways/shop/80/", Some("/proxy/gateways/shop/80/")),
            ("/proxy/gateways/shop/80/a//b/", None),
            ("/red/api/v1", None),
            ("*", Some("/*")),
        ] {
            assert_eq!(short(path, "blue", 0).as_deref(), expected, "{path}");
        }
        for (path, strip, expected) in [
            ("/a/api/v1/breeds", 1, Some("/api/v1/breeds")),
            ("/a/b/blue/api/v1/", 2, Some("/api/v1")),
            ("/a", 2, Some("/")),
        ] {
            assert_eq!(short(path, "blue", strip).as_deref(), expected, "{path}");
        }
    }
}
