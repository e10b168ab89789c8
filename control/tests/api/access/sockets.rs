//! The API over one socket.

use futures::{SinkExt as _, StreamExt as _};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest as _,
        http::HeaderValue,
        protocol::frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

use super::client::{admin, guarded, make, send};
use crate::world::{FRONT, PATIENCE, World};

struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn try_open(world: &World, path: &str, origin: Option<&'static str>) -> Result<Self, Error> {
        let address = world.control.address();
        let stream = TcpStream::connect(address).await.unwrap();
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        if let Some(origin) = origin {
            request
                .headers_mut()
                .insert("origin", HeaderValue::from_static(origin));
        }
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
        Ok(Self(socket))
    }

    async fn open(world: &World, path: &str) -> Self {
        Self::try_open(world, path, None).await.unwrap()
    }

    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next message; `None` at the end.
    async fn hear(&mut self) -> Option<Value> {
        loop {
            match tokio::time::timeout(PATIENCE, self.0.next()).await.unwrap()? {
                Ok(Message::Text(text)) => return Some(serde_json::from_str(text.as_str()).unwrap()),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    async fn ask(&mut self, change: Value) -> Value {
        self.say(&request(change).to_string()).await;
        self.hear().await.unwrap()
    }
}

fn request(change: Value) -> Value {
    let mut request = json!({"api": "v1", "path": "/breeds", "action": "PEEK", "accept": "JSON",
        "content": "JSON", "transaction": "17", "parameters": {}});
    for (key, value) in change.as_object().unwrap() {
        request[key] = value.clone();
    }
    request
}

fn data(answer: &Value) -> Value {
    serde_json::from_str(answer["data"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn what_rest_does_a_socket_does() {
    let world = World::new().await;
    let mut socket = Socket::open(&world, "/websocket").await;
    let made = socket.ask(json!({"action": "PUT", "data": FRONT})).await;
    assert_eq!(
        (&made["status"], &made["transaction"]),
        (&json!("OK"), &json!("17"))
    );
    assert_eq!(data(&made)[0]["name"], "front:1");
    world.get("/breeds/front:1").await.is(200);

    let listed = socket
        .ask(json!({"path": "/breeds?per_page=1", "transaction": "18"}))
        .await;
    assert_eq!(listed["path"], "/breeds?per_page=1", "as it was asked");
    assert_eq!(listed["parameters"]["X-Total-Count"], "1");
    assert_eq!(data(&listed).as_array().unwrap().len(), 1);

    let many: Vec<String> = (0..34)
        .map(|number| format!("{{kind: breed, name: many-{number:02}, deployable: x}}"))
        .collect();
    let many = json!({"action": "PUT", "path": "/", "data": format!("[{}]", many.join(", "))});
    assert_eq!(socket.ask(many).await["status"], "ACCEPTED");
    let page = async |socket: &mut Socket, parameters: Value| {
        let listed = socket.ask(json!({"parameters": parameters})).await;
        assert_eq!(listed["parameters"]["X-Total-Count"], "35");
        let names: Vec<Value> = data(&listed)
            .as_array()
            .unwrap()
            .iter()
            .map(|breed| breed["name"].clone())
            .collect();
        (names, listed["parameters"]["Link"].as_str().unwrap().to_owned())
    };
    let (names, links) = page(&mut socket, json!({"page": 2, "per_page": 20})).await;
    assert_eq!((names.len(), &names[0]), (15, &json!("many-19")));
    assert!(
        links.contains("/breeds?page=1&per_page=20>; rel=\"first\""),
        "{links}"
    );
    let (names, _) = page(&mut socket, json!({"page": "2", "per_page": ["34"]})).await;
    assert_eq!(names.len(), 5, "no more than 30 on a page, as in REST");
    assert_eq!(page(&mut socket, json!({})).await.0.len(), 30);
    assert_eq!(page(&mut socket, json!({"page": 9})).await.0.len(), 0);
    let wrong = socket.ask(json!({"parameters": {"per_page": "some"}})).await;
    assert_eq!(wrong["status"], "ERROR");

    let other = FRONT.replace("8080", "9090");
    let tried = json!({"action": "put", "path": "breeds/front:1", "data": other,
        "parameters": {"validate_only": true}});
    assert_eq!(data(&socket.ask(tried).await)["ports"]["web"], "9090/http");
    let stored = socket
        .ask(json!({"path": "/breeds/front:1", "accept": "YAML"}))
        .await;
    assert_eq!(stored["content"], "YAML");
    assert!(
        stored["data"].as_str().unwrap().contains("web: 8080/http"),
        "{stored}"
    );

    let gone = socket
        .ask(json!({"action": "REMOVE", "path": "/breeds/front:1"}))
        .await;
    assert_eq!((&gone["status"], gone.get("data")), (&json!("NOCONTENT"), None));
    let none = socket.ask(json!({"path": "/breeds/front:1"})).await;
    assert_eq!(none["status"], "ERROR");
    assert!(data(&none)["message"].is_string());
    let wrong = socket.ask(json!({"action": "PUT", "data": "name: a b"})).await;
    assert_eq!(wrong["status"], "ERROR");
    assert!(data(&wrong)["problems"].is_array(), "{wrong}");

    socket.say("{nonsense").await;
    assert_eq!(socket.hear().await.unwrap()["status"], "ERROR");
    let several = format!(
        "---\n{}\n---\n{}\n",
        request(json!({"transaction": "a"})),
        request(json!({"transaction": "b", "path": "/scales"}))
    );
    socket.say(&several).await;
    assert_eq!(socket.hear().await.unwrap()["transaction"], "a");
    assert_eq!(socket.hear().await.unwrap()["transaction"], "b");

    let mut named = Socket::open(&world, "/blue/websocket").await;
    let answer = named.ask(json!({"path": "/blue/breeds"})).await;
    assert_eq!(
        (&answer["status"], &answer["path"]),
        (&json!("OK"), &json!("/blue/breeds"))
    );
}

#[tokio::test]
async fn messages_may_come_in_pieces_and_have_a_bound() {
    let world = World::new().await;
    let mut socket = Socket::open(&world, "/websocket").await;
    let text = request(json!({})).to_string();
    let bytes = text.as_bytes();
    for (index, piece) in bytes.chunks(10).enumerate() {
        let code = if index == 0 { Data::Text } else { Data::Continue };
        let last = (index + 1) * 10 >= bytes.len();
        let frame = Frame::message(piece.to_vec(), OpCode::Data(code), last);
        socket.0.send(Message::Frame(frame)).await.unwrap();
    }
    assert_eq!(socket.hear().await.unwrap()["status"], "OK");

    let huge = request(json!({"data": "x".repeat(8 << 20)})).to_string();
    // It may be cut while it still sends.
    let _ = socket.0.send(Message::text(huge)).await;
    assert_eq!(
        socket.hear().await,
        None,
        "a message that is too long ends the socket"
    );
    let mut again = Socket::open(&world, "/websocket").await;
    assert_eq!(again.ask(json!({})).await["status"], "OK", "others are served");
    let too_large = again
        .ask(json!({"action": "PUT", "data": "x".repeat(3 << 20)}))
        .await;
    assert_eq!(
        too_large["status"], "ERROR",
        "as large as the API allows, not larger"
    );
}

#[tokio::test]
async fn events_are_streamed_beside_answers() {
    let world = World::new().await;
    let mut socket = Socket::open(&world, "/websocket").await;
    let stream = request(json!({"path": "/events/stream", "transaction": "s", "parameters": {"tag": ["x"]}}));
    socket.say(&stream.to_string()).await;
    // Answers come in order: after this one the stream has begun.
    socket.ask(json!({})).await;
    world.post("/events", "{tags: y, value: 0}").await.is(201);
    world.post("/events", "{tags: 'x:1', value: 1}").await.is(201);
    let event = socket.hear().await.unwrap();
    assert_eq!(
        (&event["transaction"], &event["path"]),
        (&json!("s"), &json!("/events/stream"))
    );
    assert_eq!(data(&event)["value"], 1);

    // A new stream replaces the one before.
    let other = request(json!({"path": "/blue/events/stream?tag=z", "transaction": "t", "accept": "YAML"}));
    socket.say(&other.to_string()).await;
    socket.ask(json!({})).await;
    world.post("/events", "{tags: x, value: 2}").await.is(201);
    world.post("/events", "{tags: z, value: 3}").await.is(201);
    let event = socket.hear().await.unwrap();
    assert_eq!(event["transaction"], "t");
    assert!(event["data"].as_str().unwrap().contains("value: 3"), "{event}");
    let wrong = socket
        .ask(json!({"path": "/log", "parameters": {"level": "loud"}}))
        .await;
    assert_eq!(wrong["status"], "ERROR");

    let stopped = tokio::time::timeout(PATIENCE, world.control.shutdown());
    stopped.await.unwrap();
    assert_eq!(socket.hear().await, None);
}

#[tokio::test]
async fn a_socket_has_the_rights_of_its_token() {
    let world = guarded(|_| {}).await;
    let admin = admin(&world);
    let viewer = make(&world, &admin, "eve", "viewer").await;
    assert!(Socket::try_open(&world, "/websocket", None).await.is_err());
    assert!(
        Socket::try_open(&world, "/websocket?token=weir_1_2", None)
            .await
            .is_err()
    );
    let mut socket = Socket::open(&world, &format!("/websocket?token={viewer}")).await;
    assert_eq!(socket.ask(json!({})).await["status"], "OK");
    let refused = socket.ask(json!({"action": "PUT", "data": FRONT})).await;
    assert_eq!(refused["status"], "ERROR");
    assert!(
        data(&refused)["message"].as_str().unwrap().contains("`operator`"),
        "{refused}"
    );
    assert!(!refused.to_string().contains(&viewer));
    assert_eq!(socket.ask(json!({"path": "/tokens"})).await["status"], "ERROR");

    send(&world, &admin, Method::DELETE, "/tokens/eve", "")
        .await
        .is(204);
    assert_eq!(socket.ask(json!({})).await["status"], "ERROR", "revoked");
    assert_eq!(socket.hear().await, None, "and the socket ends");
}

#[tokio::test]
async fn pages_from_elsewhere_cannot_open_one() {
    let world = World::new().await;
    let refused = Socket::try_open(&world, "/websocket", Some("http://evil.example")).await;
    assert!(matches!(refused, Err(Error::Http(answer)) if answer.status() == 403));
    Socket::try_open(&world, "/websocket", Some("http://localhost:3000"))
        .await
        .unwrap();
    let plain = world.http.get(world.url("").replace("/api/v1", "/websocket"));
    assert_eq!(world.send(plain).await.status, 426);
}
