//! Every path of the description, with every method and every role.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header::AUTHORIZATION},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::{bearer, take_from_query};
use crate::{
    Config,
    access::{NewToken, Role, declared, is_public, needed},
    api::{Api, openapi, path::BASE, router},
    state::State,
};

#[test]
fn tokens_are_found_in_headers_and_taken_out_of_queries() {
    for (value, expected) in [
        ("Bearer abc", Some("abc")),
        ("bearer  abc ", Some("abc")),
        ("Basic abc", None),
        ("Bearer ", None),
        ("abc", None),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static(value));
        assert_eq!(bearer(&headers).as_deref(), expected, "{value}");
    }
    for (uri, expected, left) in [
        ("/a?token=abc", Some("abc"), "/a"),
        ("/a?tag=x&token=abc&type=y", Some("abc"), "/a?tag=x&type=y"),
        ("/a?tokens=abc", None, "/a?tokens=abc"),
        ("/a?token=", None, "/a"),
        ("/a", None, "/a"),
    ] {
        let mut uri: Uri = uri.parse().unwrap();
        assert_eq!(take_from_query(&mut uri).as_deref(), expected, "{uri}");
        assert_eq!(uri.to_string(), left);
    }
}

const METHODS: [Method; 4] = [Method::GET, Method::POST, Method::PUT, Method::DELETE];

/// Paths of the description with the methods that each has.
fn described() -> Vec<(String, Vec<Method>)> {
    let document = serde_json::to_value(openapi::document()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let methods = |item: &serde_json::Value| {
        let has = |method: &Method| item.get(method.as_str().to_ascii_lowercase()).is_some();
        METHODS.into_iter().filter(has).collect()
    };
    paths
        .iter()
        .map(|(path, item)| (path.clone(), methods(item)))
        .collect()
}

#[test]
fn every_endpoint_is_in_the_table() {
    let described = described();
    assert!(described.len() > 20, "the description has paths");
    let mut missing = Vec::new();
    for (path, methods) in described {
        let inside = path.strip_prefix(BASE).unwrap();
        missing.extend(
            methods
                .iter()
                .filter(|method| !declared(method, inside))
                .map(|method| format!("{method} {inside}")),
        );
    }
    assert!(
        missing.is_empty(),
        "these have no row in access/table.rs, so that only admins may use them: {missing:#?}"
    );
}

struct World {
    router: Router,
    /// In the order of [`Role::ALL`].
    tokens: Vec<String>,
}

impl World {
    async fn new() -> Self {
        let mut config = Config::new("unused", Arc::new(weir_store::memory::Memory::new()));
        config.authentication = true;
        let state = Arc::new(State::new(
            config,
            Arc::new(weir_persist::memory::Memory::new()),
            Arc::new(weir_driver::fake::Fake::new()),
        ));
        let mut tokens = Vec::new();
        for role in Role::ALL {
            let asked = NewToken {
                name: role.to_string(),
                role,
                namespace: "*".to_owned(),
                lifetime: None,
            };
            let (token, _) = state.access.create(&state, asked, "test").await.unwrap();
            tokens.push(token.text().to_owned());
        }
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        Self {
            router: router(Api::new(state, address, CancellationToken::new())),
            tokens,
        }
    }

    async fn status(&self, method: &Method, path: &str, token: Option<&str>) -> StatusCode {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Body::empty()).unwrap();
        let answer = self.router.clone().oneshot(request).await;
        answer.unwrap_or_else(|never| match never {}).status()
    }
}

#[tokio::test]
async fn every_endpoint_lets_in_who_has_the_role_and_nobody_else() {
    let world = World::new().await;
    let mut walked = 0;
    for (path, methods) in described() {
        // Names that nothing has, so that nothing is changed by the walk.
        let concrete: Vec<&str> = path
            .split('/')
            .map(|segment| {
                if segment.starts_with('{') {
                    "nothing-of-this-name"
                } else {
                    segment
                }
            })
            .collect();
        let concrete = concrete.join("/");
        for method in &methods {
            let inside = concrete.strip_prefix(BASE).unwrap();
            let role = needed(method, inside);
            let place = format!("{method} {path}");
            if is_public(method, inside) {
                let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
                assert!(
                    !refused.contains(&world.status(method, &concrete, None).await),
                    "{place}"
                );
                continue;
            }
            assert_eq!(
                world.status(method, &concrete, None).await,
                StatusCode::UNAUTHORIZED,
                "{place}"
            );
            for (own, token) in Role::ALL.into_iter().zip(&world.tokens) {
                let status = world.status(method, &concrete, Some(token)).await;
                if own < role {
                    assert_eq!(status, StatusCode::FORBIDDEN, "{place} as {own}");
                } else {
                    let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
                    assert!(!refused.contains(&status), "{place} as {own}: {status}");
                }
                walked += 1;
            }
        }
    }
    assert!(walked > 4 * 50, "{walked}");
}

#[tokio::test]
async fn what_nobody_declared_is_for_admins() {
    let world = World::new().await;
    for path in ["/api/v1/secrets", "/api/v1/%74okens", "/api/v1/tokens/a/b/c"] {
        for (role, token) in Role::ALL.into_iter().zip(&world.tokens) {
            let status = world.status(&Method::GET, path, Some(token)).await;
            if role == Role::Admin {
                assert_ne!(status, StatusCode::OK, "{path}");
            } else {
                assert_eq!(status, StatusCode::FORBIDDEN, "{path} as {role}");
            }
        }
    }
    // No path of the API: a 404 for those who are known.
    assert_eq!(
        world
            .status(&Method::GET, "/api/v2", Some(&world.tokens[0]))
            .await,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        world.status(&Method::GET, "/api/v2", None).await,
        StatusCode::UNAUTHORIZED
    );
}
