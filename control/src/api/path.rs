//! The forms in which a path may come (spec of the API §1).

use axum::{
    body::Body,
    http::{Request, Uri, uri::PathAndQuery},
};

use super::paging::AskedPath;

/// Start of every path of the API.
pub(super) const BASE: &str = "/api/v1";

/// Gives a request the one form that is routed: no empty segments at the beginning (`//api/v1`), no slash at
/// the end, no namespace before the base.
pub(super) fn normalised(mut request: Request<Body>, namespace: &str) -> Request<Body> {
    let asked = request.uri().path().to_owned();
    let short = short(&asked, namespace);
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
fn short(path: &str, namespace: &str) -> Option<String> {
    let trimmed = path.trim_matches('/');
    let inside = trimmed
        .strip_prefix(namespace)
        .and_then(|rest| rest.strip_prefix('/'))
        .filter(|rest| {
            let base = BASE.trim_start_matches('/');
            rest.strip_prefix(base)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
    let short = format!("/{}", inside.unwrap_or(trimmed));
    (short != path).then_some(short)
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
            ("/red/api/v1", None),
            ("*", Some("/*")),
        ] {
            assert_eq!(short(path, "blue").as_deref(), expected, "{path}");
        }
    }
}
