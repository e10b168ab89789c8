//! Clients with tokens.

use reqwest::{
    Method,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
};
use serde_json::{Value, json};
use weir_control::Config;

use crate::world::{Answer, PATIENCE, World};

/// A control that asks for tokens.
pub(crate) async fn guarded(change: impl FnOnce(&mut Config)) -> World {
    World::with(|config| {
        config.authentication = true;
        change(config);
    })
    .await
}

/// The token that the first start made.
pub(crate) fn admin(world: &World) -> String {
    world.control.first_token().unwrap().to_owned()
}

/// A client that sends a token with everything.
pub(crate) fn with_token(token: &str) -> reqwest::Client {
    let mut headers = HeaderMap::new();
    headers.insert(
        AUTHORIZATION,
        HeaderValue::from_str(&format!("Bearer {token}")).unwrap(),
    );
    reqwest::Client::builder()
        .default_headers(headers)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

/// Sends as somebody.
pub(crate) async fn send(world: &World, token: &str, method: Method, path: &str, body: &str) -> Answer {
    let request = with_token(token)
        .request(method, world.url(path))
        .timeout(PATIENCE)
        .body(body.to_owned());
    world.send(request).await
}

/// Makes a token with a role.
pub(crate) async fn make(world: &World, by: &str, name: &str, role: &str) -> String {
    let asked = json!({"name": name, "role": role}).to_string();
    let made = send(world, by, Method::POST, "/tokens", &asked)
        .await
        .is(201)
        .json();
    made["token"].as_str().unwrap().to_owned()
}

/// Events of a type, oldest first.
pub(crate) async fn events(world: &World, by: &str, kind: &str) -> Vec<Value> {
    let path = format!("/events?type={kind}");
    let mut all = send(world, by, Method::GET, &path, "").await.is(200).json();
    let mut all = std::mem::take(all.as_array_mut().unwrap());
    all.reverse();
    all
}
