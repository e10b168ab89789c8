//! The text for HAProxy, read by HAProxy itself.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use weir_model::lookup;

use super::{configuration, marshal, set_template, template, template_key};
use crate::reconcile::tests::alone::{delete_gateway, put_gateway};
use crate::reconcile::tests::rig::{Rig, eventually, gateway};

const PATIENCE: Duration = Duration::from_secs(20);

async fn now(rig: &Rig) -> String {
    configuration(&rig.state, "1.7")
        .await
        .unwrap()
        .unwrap_or_default()
}

async fn text(rig: &Rig, has: &str) -> String {
    eventually(async || now(rig).await.contains(has)).await;
    now(rig).await
}

async fn list(rig: &Rig) -> Value {
    let entry = rig.state.store.get("vamp/default/gateways").await.unwrap();
    entry.map_or(Value::Null, |entry| serde_json::from_slice(&entry.value).unwrap())
}

#[tokio::test]
async fn what_vamp_published_is_published() {
    let rig = Rig::new();
    let stop = tokio_util::sync::CancellationToken::new();
    let task = super::start(Arc::clone(&rig.state), stop.clone());
    let shop = gateway("name: shop\nport: 8080\nroutes:\n  '[127.0.0.1:1]': {weight: 100%}\n");
    let inner = gateway("name: a/b\nport: 8081\nroutes:\n  '[127.0.0.1:2]': {weight: 100%}\n");
    put_gateway(&rig.state, inner, true, false).await.unwrap();
    put_gateway(&rig.state, shop, true, false).await.unwrap();
    let made = text(&rig, &format!("frontend {}\n", lookup::gateway("shop"))).await;
    assert!(made.contains("bind 127.0.0.1:8080"), "{made}");
    eventually(async || {
        rig.events(&["marshaller:configuration", "type:haproxy", "name:1.7"])
            .await
            > 0
    })
    .await;

    eventually(async || list(&rig).await.as_array().is_some_and(|list| list.len() == 2)).await;
    let list = list(&rig).await;
    // Fewer segments first.
    assert_eq!(
        (&list[0]["name"], &list[1]["name"]),
        (&"shop".into(), &"a/b".into())
    );
    assert_eq!(list[0]["lookup_name"], lookup::gateway("shop").as_str());
    assert_eq!(list[0]["deployed"], true);
    assert_eq!(
        list[0]["routes"]["[127.0.0.1:1]"]["targets"][0]["url"],
        "127.0.0.1:1"
    );

    // A template of one's own, and one that is written to the store by somebody else.
    let own = "{% for f in haproxy.frontends %}{{ f.name }};{% endfor %}";
    set_template(&rig.state, "1.7", Some(own)).await.unwrap();
    let made = text(&rig, "shop;").await;
    assert!(!made.contains("frontend"), "{made}");
    assert_eq!(template(&rig.state, "1.7").await.unwrap(), own);
    assert_eq!(rig.events(&["marshaller:template"]).await, 1);
    let broken = tokio_util::bytes::Bytes::from_static(b"{% nonsense %}");
    let key = template_key(&rig.state, "1.7");
    rig.state
        .store
        .put(&key, broken, weir_store::Expect::Any, None)
        .await
        .unwrap();
    eventually(async || rig.events(&["gateway_marshaller:ERROR"]).await == 1).await;
    assert!(now(&rig).await.contains("shop;"), "the last text stays");
    set_template(&rig.state, "1.7", None).await.unwrap();
    text(&rig, "frontend").await;
    delete_gateway(&rig.state, "shop", false).await.unwrap();
    eventually(async || !now(&rig).await.contains("8080")).await;
    stop.cancel();
    task.await.unwrap();
    rig.end().await;
}

/// HAProxy with a text of ours; ended when dropped.
struct HaProxy(Child);

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const BASE: &str = "global
  maxconn 100
defaults
  mode http
  timeout connect 5s
  timeout client 10s
  timeout server 10s
  retries 1
";

/// HAProxy's program; `None` is a skip that says so, and a failure in CI.
fn program() -> Option<&'static str> {
    let found = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy", "/usr/bin/haproxy"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    if found.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "HAProxy is not here, and in CI a skip is a failure"
        );
        eprintln!("skipped: HAProxy is not here (tests/components/haproxy/install)");
    }
    found
}

fn run(program: &str, folder: &Path, text: &str) -> HaProxy {
    let file = folder.join("haproxy.cfg");
    fs::write(&file, format!("{BASE}{text}")).unwrap();
    let checked = Command::new(program)
        .args(["-c", "-f"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(
        checked.status.success(),
        "{}\n{text}",
        String::from_utf8_lossy(&checked.stderr)
    );
    let child = Command::new(program)
        .args(["-db", "-f"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    HaProxy(child)
}

/// A server that answers each connection with its name and the lines of the request.
fn origin(name: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut stream = stream;
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut byte) {
                        Ok(1) => head.push(byte[0]),
                        _ => return,
                    }
                }
                let body = format!("{name}\n{}", String::from_utf8_lossy(&head));
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
            });
        }
    });
    port
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// The whole answer.
fn ask(port: u16, path: &str, headers: &str) -> Option<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: test\r\n{headers}Connection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn who(answer: &str) -> String {
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    body.lines().next().unwrap_or_default().to_owned()
}

fn until_it_serves(port: u16, headers: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !ask(port, "/", headers).is_some_and(|answer| answer.starts_with("HTTP/1.1 200")) {
        assert!(Instant::now() < deadline, "HAProxy does not serve");
        thread::sleep(Duration::from_millis(20));
    }
}

fn counts(port: u16, requests: u32, headers: &str) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for _ in 0..requests {
        *counts.entry(who(&ask(port, "/", headers).unwrap())).or_default() += 1;
    }
    counts
}

fn made(gateways: &[weir_artifact::Gateway], folder: &Path) -> String {
    let lowered = weir_plan::lower(gateways, &[], &weir_plan::Settings::default());
    let rewrites = super::rewrites(gateways);
    let lowered: Vec<_> = lowered.gateways.into_iter().map(Arc::new).collect();
    let sections = marshal::sections(&lowered, &rewrites, folder.to_str().unwrap());
    assert_eq!(sections.problems, []);
    super::template::render("", &sections).unwrap()
}

#[test]
fn haproxy_routes_as_the_gateways_say() {
    let Some(program) = program() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (one, two, port, front) = (origin("one"), origin("two"), free_port(), free_port());
    let shop = gateway(&format!(
        "name: shop
port: {port}
routes:
  '[127.0.0.1:{one}]':
    weight: 80%
    rewrites: [{{path: '/img%[path] if {{ path_beg /a }}'}}]
  '[127.0.0.1:{two}]':
    weight: 20%
    condition: user-agent == Firefox and (has header x-beta or has cookie beta)
"
    ));
    let chained = gateway(&format!(
        "name: front\nport: {front}\nsticky: route\nroutes:\n  shop: {{weight: 50%}}\n  '[127.0.0.1:{two}]': {{weight: 50%}}\n"
    ));
    let text = made(&[shop, chained], folder.path());
    let _running = run(program, folder.path(), &text);
    until_it_serves(port, "User-Agent: Firefox\r\nX-Beta: 1\r\n");
    until_it_serves(front, &format!("Cookie: o_{}=none\r\n", lookup::gateway("front")));

    // Exactly, and independent of what came before: any window of ten has eight and two.
    for _ in 0..3 {
        let counts = counts(port, 50, "");
        assert_eq!((counts["one"], counts["two"]), (40, 10), "{counts:?}");
    }
    let beta = counts(port, 10, "User-Agent: Mozilla Firefox/50\r\nX-Beta: 1\r\n");
    assert_eq!(beta.get("two"), Some(&10), "{beta:?}");
    let other = counts(port, 50, "User-Agent: Mozilla Firefox/50\r\n");
    assert_eq!(other["two"], 10, "{other:?}");

    let answer = ask(port, "/abc", "")
        .into_iter()
        .chain((0..5).filter_map(|_| ask(port, "/abc", "")));
    let rewritten = answer
        .filter(|answer| who(answer) == "one")
        .all(|answer| answer.contains("GET /img/abc "));
    assert!(rewritten);
    let forwarded = ask(port, "/", "").unwrap();
    assert!(
        forwarded
            .to_ascii_lowercase()
            .contains("x-forwarded-for: 127.0.0.1"),
        "{forwarded}"
    );

    // A client that was decided for comes back to the same route.
    let name = format!("o_{}", lookup::gateway("front"));
    let answer = ask(front, "/", "").unwrap();
    let cookie = answer
        .lines()
        .find_map(|line| {
            line.strip_prefix("set-cookie: ")
                .or(line.strip_prefix("Set-Cookie: "))
        })
        .unwrap_or_else(|| panic!("no cookie in {answer}"));
    let (own, _) = cookie.split_once(';').unwrap();
    assert!(own.starts_with(&format!("{name}=")), "{cookie}");
    let to_two = lookup::route("front", &format!("[127.0.0.1:{two}]"));
    let stays = counts(front, 10, &format!("Cookie: {name}={to_two}\r\n"));
    assert_eq!(stays.get("two"), Some(&10), "{stays:?}");
}

#[test]
fn names_are_vamps() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(
        "name: vamp/sava/port/_\nport: 9050\nvirtual_hosts: [shop.example]\nroutes:\n  vamp/sava/sava:1.0.0/port: {weight: 100%}\n",
    );
    let text = made(&[gateway], folder.path());
    let (own, route) = (
        "93a45182d84bf6fc0c3c23c33a9501c7d74be2bb",
        "62a11db802baf59987a3ece9e10d8754eca16a09",
    );
    for line in [
        format!("\nfrontend {own}\n"),
        format!("\nfrontend o_{own}\n"),
        format!("\nfrontend {route}\n"),
        format!("\nbackend o_{own}\n"),
        format!("\nbackend {route}\n"),
        format!(
            "\n  server {route} unix@{}/{route}.sock send-proxy weight 100\n",
            folder.path().display()
        ),
        format!(
            "\n  use_backend vh_{own} if {}\n",
            lookup::acl("hdr(host) -i shop.example")
        ),
    ] {
        assert!(text.contains(&line), "{line:?} in {text}");
    }
}

#[test]
fn haproxy_understands_every_condition_and_protocol() {
    let Some(program) = program() else { return };
    let folder = tempfile::tempdir().unwrap();
    let conditions = [
        "host == a.example",
        "user-agent != Safari",
        "misses cookie a or cookie b has c",
        "header x has 'y'",
        "< path_beg -i /a /b >",
        "< method GET POST >",
        "< url_reg ^/[ab]+$ >",
        "< urlp(a) -m sub b >",
        "< src 10.0.0.0/8 192.168.0.0/16 >",
        "< dst_port 80 >",
        "< hdr_cnt(x) gt 3 >",
        "< hdr_dom(host) example >",
        "< req.fhdr(x) -m beg a >",
        "< cook_end(a) b > and not < path_dir static >",
    ];
    let mut gateways = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        let condition = condition.replace('\'', "''");
        gateways.push(gateway(&format!(
            "name: g{index}\nport: {}\nsticky: instance\nroutes:\n  '[127.0.0.1:1]': {{weight: 33.33%, condition: '{condition}', condition_strength: 50%}}\n  '[127.0.0.1:2]': {{weight: 66.67%}}\n",
            20_000 + index
        )));
    }
    gateways.push(gateway(
        "name: tcp\nport: 21000/tcp\nvirtual_hosts: ['a.vamp', 'b:8080']\nroutes:\n  '[localhost:1]': {weight: 100%}\n",
    ));
    let text = made(&gateways, folder.path());
    let file = folder.path().join("check.cfg");
    fs::write(&file, format!("{BASE}{text}")).unwrap();
    let checked = Command::new(program)
        .args(["-c", "-f"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}\n{text}");
}
