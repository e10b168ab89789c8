//! Paths, bodies, origins: what holds for every request.

use reqwest::{Method, header};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::world::{FRONT, PATIENCE, World};

#[tokio::test]
async fn paths_are_forgiving_about_slashes_and_namespaces() {
    let world = World::new().await;
    world.post("/breeds/", FRONT).await.is(201);
    let root = format!("http://{}", world.control.address());
    for path in [
        "/api/v1/breeds/",
        "//api/v1/breeds",
        "/blue/api/v1/breeds",
        "/blue/api/v1/breeds/",
    ] {
        let answer = world.send(world.http.get(format!("{root}{path}"))).await.is(200);
        assert_eq!(answer.json()[0]["name"], "front:1", "{path}");
        let link = answer.header("link").to_owned();
        assert!(link.starts_with(&format!("<{root}{path}?page=1")), "{link}");
    }
    world
        .send(world.http.get(format!("{root}/red/api/v1/breeds")))
        .await
        .is(404);
    world.get("/breeds/front%3A1").await.is(200);
    world.get("/breeds/front:1/").await.is(200);
    let not_text = world.get("/breeds/%FF").await.is(400);
    assert!(not_text.message().contains("UTF-8"), "{}", not_text.text);
}

#[tokio::test]
async fn segments_in_front_of_paths_are_passed_over() {
    let world = World::with(|config| config.strip_path_segments = 2).await;
    let root = format!("http://{}", world.control.address());
    for path in ["/a/b/api/v1/breeds", "/a/b/blue/api/v1/breeds/"] {
        let answer = world.send(world.http.get(format!("{root}{path}"))).await.is(200);
        assert!(answer.header("link").contains(&format!("{root}{path}?page=1")));
    }
}

#[tokio::test]
async fn what_does_not_exist_is_said_as_json() {
    let world = World::new().await;
    let unknown = world.get("/colours").await.is(400);
    assert_eq!(unknown.message(), "Unexpected resource: 'colours'.");
    world.get("/colours/red").await.is(400);
    world.put("/colours/red", "{}").await.is(400);
    let method = world.put("/breeds", FRONT).await.is(405);
    assert_eq!(method.message(), "The path does not know this method.");
    assert_eq!(method.header("allow"), "GET,HEAD,POST");
    let root = format!("http://{}", world.control.address());
    for path in ["/api", "/api/v2/breeds", "/red/api/v1/breeds"] {
        world
            .send(world.http.get(format!("{root}{path}")))
            .await
            .is(404)
            .message();
    }
}

#[tokio::test]
async fn all_other_paths_are_pages() {
    let world = World::new().await;
    for path in ["", "/gateways"] {
        let page = world
            .send(
                world
                    .http
                    .get(format!("http://{}{path}", world.control.address())),
            )
            .await
            .is(200);
        assert!(page.header("content-type").starts_with("text/html"), "{path}");
        assert_ne!(page.header("cache-control"), "no-store", "{path}");
    }
}

#[tokio::test]
async fn bodies_are_bounded() {
    let world = World::new().await;
    let large = vec![b'x'; 10 * 1024 * 1024];
    let refused = world
        .send(world.request(Method::POST, "/breeds").body(large.clone()))
        .await
        .is(413);
    assert_eq!(
        refused.message(),
        "The body is too large: at most 2097152 bytes are accepted."
    );

    // Without a length, and in parts.
    let parts = futures::stream::iter(
        large
            .chunks(100_000)
            .map(|part| Ok::<_, std::io::Error>(part.to_vec()))
            .collect::<Vec<_>>(),
    );
    let request = world
        .request(Method::PUT, "/")
        .body(reqwest::Body::wrap_stream(parts));
    world.send(request).await.is(413);

    // Who asks first is told before anything is sent.
    let mut asking = TcpStream::connect(world.control.address()).await.unwrap();
    asking
        .write_all(b"POST /api/v1/breeds HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\nExpect: 100-continue\r\n\r\n")
        .await
        .unwrap();
    let mut head = [0; 64];
    let read = tokio::time::timeout(PATIENCE, asking.read(&mut head))
        .await
        .unwrap()
        .unwrap();
    assert!(
        head[..read].starts_with(b"HTTP/1.1 413 "),
        "{}",
        String::from_utf8_lossy(&head)
    );

    let limit = 2 * 1024 * 1024;
    let full = format!("{FRONT}#{}", "x".repeat(limit - FRONT.len() - 1));
    world.post("/breeds", &full).await.is(201);
}

#[tokio::test]
async fn hostile_bodies_are_refused() {
    let world = World::new().await;
    let not_text = world
        .request(Method::POST, "/breeds")
        .body(&b"name: a\ndeployable: \xff\xfe"[..]);
    let not_text = world.send(not_text).await.is(400);
    assert_eq!(
        not_text.message(),
        "The body is not UTF-8: byte 21 (line 2) begins no character."
    );
    let deep = "[".repeat(100_000);
    let nested = format!("{}1{}", "{a: ".repeat(100), "}".repeat(100));
    let laughs = (1..20).fold(
        "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(),
        |text, level| {
            let alias = format!("*a{}, ", level - 1).repeat(9);
            format!("{text}a{level}: &a{level} [{alias}]\n")
        },
    );
    for body in [
        deep.as_str(),
        &nested,
        &laughs,
        "\0",
        "&a *a",
        "!!python/object:x {}",
    ] {
        for path in ["/breeds", "/events", "/deployments", "/"] {
            let refused = world.post(path, body).await;
            assert_eq!(refused.status, 400, "{path}: {:.60}", body);
            assert!(!refused.message().is_empty());
        }
    }
    let head = format!(
        "GET /api/v1/breeds HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n",
        "x".repeat(200_000)
    );
    let mut connection = TcpStream::connect(world.control.address()).await.unwrap();
    let _ = connection.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, connection.read_to_end(&mut answer))
        .await
        .unwrap();
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 431 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    world.get("/breeds").await.is(200);
}

#[tokio::test]
async fn pages_from_elsewhere_change_nothing() {
    let world = World::new().await;
    let from = |method: Method, origin: &str| {
        world
            .request(method, "/breeds")
            .header(header::ORIGIN, origin)
            .body(FRONT)
    };
    let refused = world
        .send(from(Method::POST, "http://evil.example"))
        .await
        .is(403);
    assert_eq!(refused.header("access-control-allow-origin"), "");
    assert_eq!(world.get("/breeds").await.json(), json!([]));
    let allowed = world
        .send(from(Method::POST, "http://localhost:3000"))
        .await
        .is(201);
    assert_eq!(
        allowed.header("access-control-allow-origin"),
        "http://localhost:3000"
    );
    assert_eq!(allowed.header("access-control-allow-credentials"), "true");
    assert_eq!(
        allowed.header("access-control-expose-headers"),
        "etag,link,x-total-count"
    );
    let preflight = world
        .request(Method::OPTIONS, "/breeds/x")
        .header(header::ORIGIN, "http://127.0.0.1:9")
        .header("access-control-request-method", "PUT")
        .header("access-control-request-headers", "x-odd");
    let preflight = world.send(preflight).await.is(200);
    assert_eq!(preflight.header("access-control-allow-headers"), "x-odd");
    assert_eq!(preflight.header("access-control-max-age"), "1800");
    assert!(
        preflight
            .header("access-control-allow-methods")
            .contains("DELETE")
    );

    let open = World::with(|config| config.origins = weir_control::Origins::Any).await;
    let request = open
        .request(Method::POST, "/breeds")
        .header(header::ORIGIN, "http://elsewhere.example")
        .body(FRONT);
    let answer = open.send(request).await.is(201);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        "http://elsewhere.example"
    );
}

#[tokio::test]
async fn answers_are_compressed_for_those_who_ask() {
    let world = World::new().await;
    world.post("/breeds", FRONT).await.is(201);
    for (coding, begins) in [("gzip", &[0x1f, 0x8b][..]), ("deflate", &[0x78])] {
        let request = world
            .http
            .get(world.url("/breeds"))
            .header(header::ACCEPT_ENCODING, coding);
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["content-encoding"], coding);
        assert!(response.bytes().await.unwrap().starts_with(begins), "{coding}");
    }
}
