//! Tokens and roles.

use std::{sync::Arc, time::Duration};

use reqwest::Method;
use serde_json::json;
use weir_control::{Control, Storage};
use weir_driver::fake::Fake;

use super::client::{admin, events, guarded, make, send};
use crate::world::{FRONT, PATIENCE, Stream, World, config};

#[tokio::test]
async fn nobody_gets_in_without_a_good_token() {
    let world = guarded(|_| {}).await;
    let none = world.get("/breeds").await.is(401);
    assert_eq!(none.header("www-authenticate"), "Bearer realm=\"weir\"");
    assert!(none.message().contains("Authorization: Bearer"), "{}", none.text);
    world.post("/breeds", FRONT).await.is(401);
    world.get("/nothing/here").await.is(401);
    assert_eq!(
        world
            .send(world.http.get(world.url("").replace("/api/v1", "/")))
            .await
            .status,
        200,
        "pages have no data"
    );

    let admin = admin(&world);
    let mut other = admin.clone();
    let last = other.pop().unwrap();
    other.push(if last == '0' { '1' } else { '0' });
    for wrong in [other.as_str(), "weir_0000000000000000_00", "x", "é"] {
        let request = world.request(Method::GET, "/breeds");
        let refused = world.send(request.bearer_auth(wrong)).await.is(401);
        if wrong != "é" {
            let told = refused.header("www-authenticate").to_owned();
            assert!(told.contains("invalid_token"), "{wrong}: {told}");
        }
    }
    send(&world, &admin, Method::GET, "/breeds", "").await.is(200);
    let basic = world
        .request(Method::GET, "/breeds")
        .basic_auth("admin", Some(&admin));
    world.send(basic).await.is(401);
    // In a query for streams only.
    world.get(&format!("/breeds?token={admin}")).await.is(401);
    let mut stream = Stream::open(&world, &format!("/events/stream?tag=x&token={admin}"), None).await;
    send(&world, &admin, Method::POST, "/events", "{tags: x, value: 1}")
        .await
        .is(201);
    assert_eq!(stream.next().await.unwrap().2["value"], 1);
}

#[tokio::test]
async fn roles_are_asked_for_and_refusals_are_events() {
    let world = guarded(|_| {}).await;
    let admin = admin(&world);
    let viewer = make(&world, &admin, "eve", "viewer").await;
    let operator = make(&world, &admin, "olga", "operator").await;
    send(&world, &viewer, Method::GET, "/breeds", "").await.is(200);
    let refused = send(&world, &viewer, Method::POST, "/breeds", FRONT)
        .await
        .is(403);
    assert_eq!(
        refused.message(),
        "This needs the role `operator`; the token `eve` has the role `viewer`."
    );
    send(&world, &operator, Method::GET, "/breeds/front:1", "")
        .await
        .is(404);
    send(&world, &operator, Method::POST, "/breeds", FRONT)
        .await
        .is(201);
    send(&world, &operator, Method::GET, "/tokens", "").await.is(403);

    let denied = events(&world, &admin, "access").await;
    assert_eq!(denied.len(), 2, "{denied:?}");
    assert_eq!(
        denied[0]["tags"],
        json!(["access:denied", "tokens:eve", "access", "tokens"])
    );
    let value = &denied[0]["value"];
    assert_eq!(
        (&value["who"], &value["needs"]),
        (&json!("eve"), &json!("operator"))
    );
    assert_eq!(
        (&value["method"], &value["path"]),
        (&json!("POST"), &json!("/api/v1/breeds"))
    );
    let all = send(&world, &admin, Method::GET, "/events?tag=tokens", "")
        .await
        .text;
    for secret in [&admin, &viewer, &operator] {
        assert!(!all.contains(secret.as_str()), "{all}");
    }
}

#[tokio::test]
async fn tokens_are_listed_without_their_secrets_and_end_at_once() {
    let world = guarded(|_| {}).await;
    let admin = admin(&world);
    let asked = json!({"name": "ci", "role": "operator", "expires_in_s": 3600}).to_string();
    let made = send(&world, &admin, Method::POST, "/tokens", &asked)
        .await
        .is(201)
        .json();
    let ci = made["token"].as_str().unwrap();
    assert!(made["expires_at"].is_string());
    assert_eq!(
        (&made["created_by"], &made["namespace"]),
        (&json!("admin"), &json!("blue"))
    );
    let listed = send(&world, &admin, Method::GET, "/tokens", "").await.is(200);
    let names: Vec<_> = listed
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|token| token["name"].clone())
        .collect();
    assert_eq!(names, ["admin", "ci"]);
    assert!(!listed.text.contains("hash") && !listed.text.contains(ci.rsplit('_').next().unwrap()));

    for (wrong, code) in [
        (json!({"name": "ci"}), "TokenExists"),
        (json!({"name": "a b"}), "IllegalName"),
        (json!({"name": ""}), "IllegalName"),
        (json!({}), "NoNameError"),
        (json!({"name": "x", "role": "root"}), "RoleError"),
        (json!({"name": "x", "expires_in_s": 0}), "UnexpectedTypeError"),
        (json!({"name": "x", "colour": "red"}), "UnexpectedElement"),
    ] {
        let refused = send(&world, &admin, Method::POST, "/tokens", &wrong.to_string())
            .await
            .is(400);
        assert_eq!(refused.json()["problems"][0]["code"], code, "{wrong}");
    }

    let stream = format!("/events/stream?token={ci}");
    let mut stream = Stream::open(&world, &stream, None).await;
    send(&world, ci, Method::GET, "/breeds", "").await.is(200);
    send(&world, &admin, Method::DELETE, "/tokens/ci", "")
        .await
        .is(204);
    send(&world, &admin, Method::DELETE, "/tokens/ci", "")
        .await
        .is(204);
    send(&world, ci, Method::GET, "/breeds", "").await.is(401);
    let until_end = async { while stream.next().await.is_some() {} };
    tokio::time::timeout(PATIENCE, until_end)
        .await
        .expect("streams of a revoked token end");

    let made = json!({"name": "short", "expires_in_s": 1}).to_string();
    let short = send(&world, &admin, Method::POST, "/tokens", &made)
        .await
        .is(201)
        .json();
    let short = short["token"].as_str().unwrap().to_owned();
    let over = async {
        while send(&world, &short, Method::GET, "/breeds", "").await.status == 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, over)
        .await
        .expect("a token ends in time");
}

#[tokio::test]
async fn a_token_is_for_one_namespace_unless_it_is_for_all() {
    let world = guarded(|_| {}).await;
    let admin = admin(&world);
    for (namespace, status) in [("blue", 200), ("*", 200), ("red", 403)] {
        let name = format!("of-{}", namespace.replace('*', "all"));
        let asked = json!({"name": name, "namespace": namespace}).to_string();
        let made = send(&world, &admin, Method::POST, "/tokens", &asked)
            .await
            .is(201)
            .json();
        let token = made["token"].as_str().unwrap();
        let answer = send(&world, token, Method::GET, "/breeds", "").await.is(status);
        if status == 403 {
            assert_eq!(answer.message(), "The token is for namespace `red`.");
        }
    }
}

#[tokio::test]
async fn tokens_outlive_a_restart_and_only_their_hashes_are_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("admin.token");
    let start = async || {
        let mut config = config(&folder.path().join("data"), Storage::Sqlite);
        config.authentication = true;
        config.admin_token_file = Some(file.clone());
        World {
            control: Control::start_with(config, Arc::new(Fake::new())).await.unwrap(),
            http: reqwest::Client::new(),
            folder: tempfile::tempdir().unwrap(),
        }
    };
    let world = start().await;
    let token = admin(&world);
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), token);
    let rights = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file).unwrap());
    assert_eq!(rights & 0o777, 0o600);
    world.control.shutdown().await;
    std::fs::remove_file(&file).unwrap();

    let secret = token.rsplit('_').next().unwrap().as_bytes();
    for entry in std::fs::read_dir(folder.path().join("data")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(
                !bytes.windows(secret.len()).any(|window| window == secret),
                "{} holds the token",
                path.display()
            );
        }
    }
    let world = start().await;
    assert_eq!(world.control.first_token(), None, "there is an admin already");
    assert!(!file.exists());
    send(&world, &token, Method::GET, "/tokens", "").await.is(200);

    // Without any admin the next start makes one.
    send(&world, &token, Method::DELETE, "/tokens/admin", "")
        .await
        .is(204);
    world.control.shutdown().await;
    let world = start().await;
    let new = admin(&world);
    assert_ne!(new, token);
    send(&world, &token, Method::GET, "/tokens", "").await.is(401);
    send(&world, &new, Method::GET, "/tokens", "").await.is(200);
    world.control.shutdown().await;
}

#[tokio::test]
async fn an_admin_token_that_cannot_be_written_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = config(folder.path(), Storage::Sqlite);
    wrong.authentication = true;
    wrong.admin_token_file = Some(folder.path().join("none/such"));
    let failed = Control::start_with(wrong.clone(), Arc::new(Fake::new()))
        .await
        .unwrap_err();
    assert!(format!("{failed:#}").contains("none/such"), "{failed:#}");
    wrong.admin_token_file = None;
    let control = Control::start_with(wrong, Arc::new(Fake::new())).await.unwrap();
    assert!(control.first_token().is_some(), "the next start makes one");
    control.shutdown().await;
}

#[tokio::test]
async fn without_authentication_everybody_is_anonymous_and_headers_are_ignored() {
    let world = World::new().await;
    assert_eq!(world.control.first_token(), None);
    let request = world.request(Method::GET, "/breeds").bearer_auth("anything");
    world.send(request).await.is(200);
    let made = world
        .post("/tokens", r#"{"name": "later", "role": "admin"}"#)
        .await
        .is(201)
        .json();
    assert_eq!(made["created_by"], "anonymous");
}

#[tokio::test]
async fn every_answer_has_the_id_of_its_request() {
    let world = World::new().await;
    let own = world
        .request(Method::GET, "/breeds")
        .header("X-Request-Id", "build-7/3");
    assert_eq!(world.send(own).await.header("x-request-id"), "build-7/3");
    let first = world.get("/breeds").await;
    let second = world.get("/breeds/none").await;
    assert!(!first.header("x-request-id").is_empty());
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
    let long = "x".repeat(500);
    let replaced = world
        .request(Method::GET, "/breeds")
        .header("X-Request-Id", &long);
    assert_ne!(world.send(replaced).await.header("x-request-id"), long);
}
