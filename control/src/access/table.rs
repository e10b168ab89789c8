//! Which role each endpoint needs: the one place where that is written.
//!
//! Paths are those of the description (`docs/openapi.json`) without `/api/v1`. `{kind}` is any kind of
//! artifacts, `{x}` one segment, `{*x}` one segment or more. The first row that matches counts. A test walks
//! the description and fails for a path or method that has no row here.

use axum::http::Method;

use super::Role::{self, Admin, Operator, Viewer};

/// Kinds of artifacts.
const KINDS: [&str; 12] = [
    "breeds",
    "blueprints",
    "slas",
    "scales",
    "escalations",
    "routes",
    "conditions",
    "rewrites",
    "workflows",
    "gateways",
    "deployments",
    "templates",
];

/// Roles for GET (also HEAD), POST, PUT and DELETE; `None`: there is no such method.
type Roles = [Option<Role>; 4];

const READ: Roles = [Some(Viewer), None, None, None];
const CHANGE: Roles = [Some(Viewer), Some(Operator), Some(Operator), Some(Operator)];
const SETTING: Roles = [Some(Viewer), Some(Admin), Some(Admin), Some(Admin)];
const SECRET: Roles = [Some(Admin); 4];
const ORDER: Roles = [Some(Operator); 4];
/// Asked with a body, but changes nothing.
const ASK: Roles = [Some(Viewer), Some(Viewer), None, None];

/// What everybody may read, known or not: it says the same everywhere, and browsers load it without a token.
const PUBLIC: [&str; 3] = ["/openapi.json", "/docs", "/docs/{file}"];

/// The table.
const TABLE: &[(&str, Roles)] = &[
    ("/", CHANGE),
    ("/openapi.json", READ),
    ("/docs", READ),
    ("/docs/{file}", READ),
    ("/info", READ),
    ("/information", READ),
    ("/stats", READ),
    ("/statistics", READ),
    ("/agents", READ),
    ("/traffic", READ),
    ("/allocation", READ),
    ("/leader", READ),
    ("/backup", SECRET),
    ("/tokens", SECRET),
    ("/tokens/{token}", SECRET),
    ("/logs", READ),
    ("/log", READ),
    ("/events", CHANGE),
    ("/events/stream", READ),
    ("/plan", ASK),
    ("/explain", ASK),
    ("/config", SETTING),
    ("/config/{*key}", SETTING),
    ("/configuration", SETTING),
    ("/configuration/{*key}", SETTING),
    ("/vga/{*rest}", SETTING),
    ("/haproxy/{*rest}", READ),
    ("/mesosconfig", READ),
    ("/scheduler/{*rest}", READ),
    ("/metrics/{*rest}", READ),
    ("/health/{*rest}", READ),
    ("/docker-compose", CHANGE),
    ("/deployments/{deployment}/clusters/{cluster}/sla", CHANGE),
    (
        "/deployments/{deployment}/clusters/{cluster}/services/{service}/scale",
        CHANGE,
    ),
    ("/workflows/{workflow}/status", CHANGE),
    (
        "/deployments/{deployment}/clusters/{cluster}/services/{service}/instances/{instance}/logs",
        READ,
    ),
    (
        "/deployments/{deployment}/clusters/{cluster}/services/{service}/instances/{instance}/exec",
        ORDER,
    ),
    ("/{kind}/{*name}/revisions", READ),
    ("/{kind}/{*name}/revisions/{revision}", READ),
    ("/{kind}/{*name}/revisions/{revision}/rollback", CHANGE),
    ("/{kind}", CHANGE),
    ("/{kind}/{*name}", CHANGE),
];

/// The role that a request needs; `path` begins after `/api/v1`.
pub(crate) fn needed(method: &Method, path: &str) -> Role {
    let segments = segments(path);
    let row = TABLE
        .iter()
        .find(|(pattern, _)| matches(&self::segments(pattern), &segments));
    let Some((_, roles)) = row else {
        return Admin;
    };
    match column(method) {
        // A method that the path does not know is refused by the router, to whoever is known at all.
        Some(column) => roles.get(column).copied().flatten().unwrap_or(Viewer),
        None if *method == Method::OPTIONS => Viewer,
        None => Admin,
    }
}

/// Whether everybody may.
pub(crate) fn is_public(method: &Method, path: &str) -> bool {
    let segments = segments(path);
    matches!(*method, Method::GET | Method::HEAD)
        && PUBLIC
            .iter()
            .any(|pattern| matches(&self::segments(pattern), &segments))
}

fn column(method: &Method) -> Option<usize> {
    match *method {
        Method::GET | Method::HEAD => Some(0),
        Method::POST => Some(1),
        Method::PUT => Some(2),
        Method::DELETE => Some(3),
        _ => None,
    }
}

fn segments(path: &str) -> Vec<&str> {
    path.split('/').filter(|segment| !segment.is_empty()).collect()
}

fn matches(pattern: &[&str], path: &[&str]) -> bool {
    let rest = pattern.iter().position(|segment| segment.starts_with("{*"));
    let Some(rest) = rest else {
        return pattern.len() == path.len() && all_match(pattern, path);
    };
    let (before, after) = pattern.split_at(rest);
    let after = after.get(1..).unwrap_or_default();
    let Some(end) = path.len().checked_sub(after.len()) else {
        return false;
    };
    // The rest is at least one segment.
    before.len() < end && all_match(before, path) && all_match(after, path.get(end..).unwrap_or_default())
}

fn all_match(pattern: &[&str], path: &[&str]) -> bool {
    pattern.iter().zip(path).all(|(pattern, segment)| match *pattern {
        "{kind}" => KINDS.contains(segment),
        pattern => pattern.starts_with('{') || pattern == *segment,
    })
}

/// Whether the table has a row for a path of the description, with this method.
#[cfg(test)]
pub(crate) fn declared(method: &Method, described: &str) -> bool {
    let described = segments(described);
    let row = TABLE.iter().find(|(pattern, _)| {
        let pattern = segments(pattern);
        let same = |(pattern, path): (&&str, &&str)| match *pattern {
            "{kind}" => KINDS.contains(path),
            pattern if pattern.starts_with('{') => path.starts_with('{'),
            pattern => pattern == *path,
        };
        // `{*rest}` at the end also stands for several segments that the description names.
        match pattern.split_last() {
            Some((last, before)) if *last == "{*rest}" => {
                described.len() >= pattern.len() && before.iter().zip(&described).all(same)
            }
            _ => pattern.len() == described.len() && pattern.iter().zip(&described).all(same),
        }
    });
    let column = column(method);
    row.is_some_and(|(_, roles)| column.is_some_and(|column| roles.get(column).copied().flatten().is_some()))
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::{
        Role::{Admin, Operator, Viewer},
        declared, is_public, needed,
    };

    #[test]
    fn rows() {
        for (method, path, role) in [
            (Method::GET, "", Viewer),
            (Method::PUT, "/", Operator),
            (Method::GET, "/breeds/a%2Fb", Viewer),
            (Method::HEAD, "/breeds", Viewer),
            (Method::PUT, "/gateways/shop/front/web", Operator),
            (Method::DELETE, "/deployments/shop", Operator),
            (Method::GET, "/tokens", Admin),
            (Method::POST, "/tokens", Admin),
            (Method::DELETE, "/tokens/ci", Admin),
            (Method::PUT, "/config", Admin),
            (Method::GET, "/config/vamp.info", Viewer),
            (Method::GET, "/gateways/a/b/c/revisions/2", Viewer),
            (Method::POST, "/gateways/a/b/c/revisions/2/rollback", Operator),
            (
                Method::GET,
                "/deployments/d/clusters/c/services/s/instances/i/exec",
                Operator,
            ),
            (
                Method::GET,
                "/deployments/d/clusters/c/services/s/instances/i/logs",
                Viewer,
            ),
            // What nobody declared.
            (Method::GET, "/secrets", Admin),
            (Method::GET, "/%74okens", Admin),
            (Method::GET, "/tokens/a/b", Admin),
            (Method::PATCH, "/breeds/a", Admin),
            (Method::OPTIONS, "/breeds/a", Viewer),
        ] {
            assert_eq!(needed(&method, path), role, "{method} {path}");
        }
    }

    #[test]
    fn only_the_description_is_public() {
        assert!(is_public(&Method::GET, "/openapi.json"));
        assert!(is_public(&Method::GET, "/docs/page.js"));
        assert!(!is_public(&Method::PUT, "/docs"));
        assert!(!is_public(&Method::GET, "/docs/a/b"));
        assert!(!is_public(&Method::GET, "/info"));
        assert!(!is_public(&Method::GET, ""));
    }

    #[test]
    fn only_what_has_a_row_and_a_method_is_declared() {
        assert!(declared(&Method::GET, "/breeds/{name}"));
        assert!(declared(&Method::PUT, "/deployments/{name}"));
        assert!(declared(&Method::GET, "/metrics/gateways/{gateway}/{metric}"));
        assert!(!declared(&Method::GET, "/breeds/{name}/secrets"));
        assert!(!declared(&Method::GET, "/breeds/{name}/{more}"));
        assert!(!declared(&Method::PUT, "/traffic"));
        assert!(!declared(&Method::GET, "/secrets"));
    }
}
