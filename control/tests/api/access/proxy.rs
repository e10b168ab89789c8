//! The way through to what is managed.

use futures::{SinkExt as _, StreamExt as _};
use reqwest::Method;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _, http::HeaderValue};

use super::{
    client::{admin, guarded, make, send, with_token},
    origin::Origin,
};
use crate::world::{Answer, PATIENCE, SHOP, Stream, World};

fn url(world: &World, path: &str) -> String {
    format!("http://{}{path}", world.control.address())
}

async fn get(world: &World, path: &str) -> Answer {
    world
        .send(world.http.get(url(world, path)).timeout(PATIENCE))
        .await
}

/// A gateway whose port is the origin's, so that whoever goes to it comes to the origin.
async fn with_gateway(world: &World, name: &str, origin: &Origin) {
    let port = origin.address.port();
    let mut published = Stream::open(world, "/events/stream", None).await;
    let body = format!("{{name: {name}, port: {port}/http, routes: {{'[127.0.0.1:9]': {{weight: 100%}}}}}}");
    world.post("/gateways", &body).await.is(202);
    let deployed = async {
        loop {
            let shown = world.get(&format!("/gateways/{name}")).await.is(200).json();
            if shown["deployed"] == true {
                return;
            }
            let _ = tokio::time::timeout(std::time::Duration::from_millis(50), published.next()).await;
        }
    };
    tokio::time::timeout(PATIENCE, deployed)
        .await
        .expect("the gateway is published");
}

#[tokio::test]
async fn a_gateway_is_reached_with_everything_that_is_for_it() {
    let origin = Origin::start().await;
    let world = World::new().await;
    with_gateway(&world, "shop/front", &origin).await;
    with_gateway_is_not_confused(&world).await;
    let request = world
        .http
        .put(url(&world, "/proxy/gateways/shop/front/a%2Fb//c/?x=1&y=%20"))
        .header("connection", "keep-alive, x-private")
        .header("x-private", "1")
        .header("te", "trailers")
        .header("x-mine", "2")
        .header("authorization", "Bearer weir_0_0")
        .body("hello");
    let answer = world.send(request).await.is(200);
    assert_eq!(answer.header("x-own"), "yes");
    assert_eq!(answer.header("x-hop"), "", "named by Connection: for one hop");
    assert!(answer.header("content-security-policy").contains("sandbox"));
    assert!(
        !answer
            .header("content-security-policy")
            .contains("allow-same-origin")
    );
    let told = answer.json();
    assert_eq!(told["method"], "PUT");
    assert_eq!(told["path"], "/a%2Fb//c/?x=1&y=%20");
    assert_eq!(told["length"], 5);
    let headers = &told["headers"];
    assert_eq!(headers["x-mine"], "2");
    assert_eq!(headers["host"], origin.address.to_string());
    assert_eq!(headers["x-forwarded-host"], world.control.address().to_string());
    assert_eq!(headers["x-forwarded-proto"], "http");
    assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    assert_eq!(headers["x-forwarded-prefix"], "/proxy/gateways/shop/front");
    for gone in ["x-private", "te", "authorization"] {
        assert_eq!(headers.get(gone), None, "{gone}");
    }

    let plain = get(&world, "/blue/proxy/gateways/shop/front")
        .await
        .is(200)
        .json();
    assert_eq!(plain["path"], "/", "with the namespace in front, too");
    let encoded = get(&world, "/proxy/gateways/shop%2Ffront/x").await.is(200).json();
    assert_eq!(encoded["path"], "/x");
    let large = world
        .http
        .post(url(&world, "/proxy/gateways/shop/front/"))
        .body(vec![7; 8 << 20]);
    assert_eq!(
        world.send(large).await.is(200).json()["length"],
        8 << 20,
        "more than the API takes"
    );

    let own = get(&world, "/proxy/gateways/shop/front/broken").await.is(400);
    assert_eq!(own.text, "own words", "errors pass as they are");
    let moved = world
        .send(with_token("x").get(url(&world, "/proxy/gateways/shop/front/moved")))
        .await;
    assert_eq!(
        moved.is(302).header("location"),
        "/proxy/gateways/shop/front/there?a=b"
    );
}

/// One segment, of which there is no gateway.
async fn with_gateway_is_not_confused(world: &World) {
    let none = get(world, "/proxy/gateways/shop/other").await.is(502);
    assert_eq!(none.message(), "There is no gateway `shop`.");
}

#[tokio::test]
async fn only_what_is_managed_is_reached_unless_the_configuration_says_more() {
    let origin = Origin::start().await;
    let (host, port) = (origin.address.ip(), origin.address.port());
    let path = format!("/proxy/host/{host}/port/{port}/x");
    let world = World::new().await;
    let refused = get(&world, &path).await.is(403);
    assert!(refused.message().contains("--proxy-host"), "{}", refused.text);
    with_gateway(&world, "edge", &origin).await;
    assert_eq!(
        get(&world, &path).await.is(200).json()["path"],
        "/x",
        "it is a gateway's now"
    );
    get(&world, &format!("/proxy/host/localhost/port/{port}/"))
        .await
        .is(403);

    let open = World::with(|config| config.proxied_hosts = vec![format!("127.0.0.1:{port}")]).await;
    assert_eq!(get(&open, &path).await.is(200).json()["path"], "/x");
    get(&open, "/proxy/host/127.0.0.1/port/1/").await.is(403);
    for wrong in [
        "/proxy",
        "/proxy/",
        "/proxy/host/a",
        "/proxy/host/a/port/b/",
        "/proxy/other/x",
    ] {
        get(&open, wrong).await.is(404);
    }
}

#[tokio::test]
async fn instances_are_found_and_what_does_not_answer_is_502() {
    let world = World::new().await;
    let mut done = Stream::open(&world, "/events/stream?tag=synchronization:deployed", None).await;
    world.post("/deployments", SHOP).await.is(202);
    done.next().await.unwrap();
    let shop = world.get("/deployments/shop").await.is(200).json();
    let instance = &shop["clusters"]["front"]["services"][0]["instances"][0];
    let (name, host) = (
        instance["name"].as_str().unwrap(),
        instance["host"].as_str().unwrap(),
    );
    let port = instance["ports"]["web"].as_u64().unwrap();
    let base = "/proxy/deployments/shop/clusters/front/services/front:1/instances";
    // The driver of tests starts nothing: what it names cannot be reached, which shows where this goes.
    let none = get(&world, &format!("{base}/{name}/ports/web/x")).await.is(502);
    assert!(
        none.message().starts_with(&format!("{host}:{port} ")),
        "{}",
        none.text
    );
    get(&world, &format!("/proxy/host/{host}/port/{port}/"))
        .await
        .is(502);
    for missing in [
        format!("{base}/other/ports/web/"),
        format!("{base}/{name}/ports/other/"),
    ] {
        let none = get(&world, &missing).await.is(502);
        assert!(none.message().contains("has no instance"), "{}", none.text);
    }
    get(&world, "/proxy/workflows/none/instances/a/ports/b/")
        .await
        .is(502);
}

#[tokio::test]
async fn answers_pass_in_pieces_and_sockets_both_ways() {
    let origin = Origin::start().await;
    let world = World::new().await;
    with_gateway(&world, "edge", &origin).await;
    let mut streamed = world
        .http
        .get(url(&world, "/proxy/gateways/edge/pieces"))
        .send()
        .await
        .unwrap();
    for word in ["first", "second"] {
        origin.pieces.send(word).await.unwrap();
        // The next one is not sent before this one is here.
        let piece = tokio::time::timeout(PATIENCE, streamed.chunk())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(piece, word);
    }

    let stream = TcpStream::connect(world.control.address()).await.unwrap();
    let asked = format!("ws://{}/proxy/gateways/edge/socket", world.control.address());
    let (mut socket, answer) = tokio_tungstenite::client_async(&asked, stream).await.unwrap();
    assert_eq!(answer.status(), 101);
    for word in ["one", "two"] {
        socket.send(Message::text(word)).await.unwrap();
        let back = tokio::time::timeout(PATIENCE, socket.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(back, Message::text(format!("back: {word}")));
    }

    let stream = TcpStream::connect(world.control.address()).await.unwrap();
    let mut foreign = asked.into_client_request().unwrap();
    foreign
        .headers_mut()
        .insert("origin", HeaderValue::from_static("http://evil.example"));
    let refused = tokio_tungstenite::client_async(foreign, stream)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("403"), "{refused}");

    // A stop ends what is under way.
    let stopped = tokio::time::timeout(PATIENCE, world.control.shutdown());
    stopped.await.unwrap();
    assert!(!matches!(socket.next().await, Some(Ok(Message::Text(_)))));
}

#[tokio::test]
async fn tokens_are_asked_for_and_stay_here() {
    let origin = Origin::start().await;
    let port = origin.address.port();
    let world = guarded(|config| config.proxied_hosts = vec!["127.0.0.1".to_owned()]).await;
    let admin = admin(&world);
    let viewer = make(&world, &admin, "eve", "viewer").await;
    let path = format!("/proxy/host/127.0.0.1/port/{port}/x");
    get(&world, &path).await.is(401);
    get(&world, &format!("{path}?token={viewer}")).await.is(401);
    let as_viewer = with_token(&viewer);
    let told = world.send(as_viewer.get(url(&world, &path))).await.is(200);
    assert!(!told.text.contains("weir_"), "{}", told.text);
    let refused = world.send(as_viewer.post(url(&world, &path))).await.is(403);
    assert!(refused.message().contains("`operator`"), "{}", refused.text);
    world
        .send(with_token(&admin).post(url(&world, &path)))
        .await
        .is(200);

    // Browsers cannot send headers with a socket: there the query may have the token, and it does not pass.
    let open = async |token: &str| {
        let stream = TcpStream::connect(world.control.address()).await.unwrap();
        let asked = format!("ws://{}{path}?a=b&token={token}", world.control.address());
        let asked = asked.replace("/x?", "/socket?");
        tokio_tungstenite::client_async(asked, stream).await
    };
    assert!(open(&viewer).await.is_err(), "a socket may change things");
    let (mut socket, _) = open(&admin).await.unwrap();
    socket.send(Message::text("hi")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("back: hi"));
    send(&world, &admin, Method::GET, "/breeds", "").await.is(200);
}
