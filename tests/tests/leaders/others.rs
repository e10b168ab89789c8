//! What Vamp published for others, read as they read it: HAProxy's text by its key at the store, the list of gateways,
//! templates by the API.

use std::{path::Path, process::Command};

use reqwest::Method;
use serde_json::Value;
use tokio::time::{Duration, Instant, sleep};
use weir_model::lookup;
use weir_store::Expect;
use weir_tests::stores::{Kind, Server};

use super::control::{PATIENCE, Plan, Process, prefix};

/// As Vamp's agents have it before the text.
const BASE: &str = "global
  maxconn 100
defaults
  mode http
  timeout connect 5s
  timeout client 10s
  timeout server 10s
";
const NAMESPACE: &str = "others";
const TEMPLATE: &str = "/vga/haproxy/1.7/template";
const CONFIGURATION: &str = "/vga/haproxy/1.7/configuration";
/// One of each that the text has a form for, with what must be in it.
const GATEWAYS: [(&str, &str); 4] = [
    (
        "shop",
        "name: shop
port: 9060
sticky: route
virtual_hosts: [shop.example, 'other.example:8080']
routes:
  '[127.0.0.1:1]':
    weight: 70%
    rewrites: [{path: '/img%[path] if { path_beg /a }'}]
  '[127.0.0.1:2]':
    weight: 30%
    condition: user-agent == Firefox and (has header x-beta or has cookie beta)
    condition_strength: 50%
",
    ),
    (
        "every/instance",
        "name: every/instance
port: 9061
sticky: instance
routes:
  '[127.0.0.1:1]': {weight: 100%, balance: leastconn, condition: '< url_beg /a >'}
",
    ),
    (
        "line",
        "name: line
port: 9062/tcp
routes:
  '[127.0.0.1:3]': {weight: 50%}
  '[127.0.0.1:4]': {weight: 50%}
",
    ),
    (
        "front",
        "name: front
port: 9063
routes:
  shop: {weight: 100%}
",
    ),
];

pub async fn what_others_read(server: &Server) {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan {
        store: server.url(),
        database: None,
        namespace: NAMESPACE.to_owned(),
    };
    let control = Process::start("others", &plan, folder.path());
    control.until_it_leads(Instant::now(), PATIENCE).await;
    for (name, yaml) in GATEWAYS {
        let (status, text) = control
            .ask(Method::PUT, &format!("/gateways/{name}"), yaml)
            .await
            .unwrap();
        assert!((200..300).contains(&status), "{name}: {text}");
    }
    let own = "gateways/haproxy/1.7/configuration";
    let made = until(server, own, |text| {
        text.contains("bind 0.0.0.0:9063") || text.contains(":9063")
    })
    .await;
    for (name, _) in GATEWAYS {
        assert!(
            made.contains(&format!("\nfrontend {}\n", lookup::gateway(name))),
            "{name}: {made}"
        );
    }
    let route = lookup::route("shop", "[127.0.0.1:2]");
    for line in [
        format!("\nbackend im_{route}\n"),
        format!("\n  cookie o_{} insert indirect nocache", lookup::gateway("shop")),
        "\nfrontend virtual_hosts\n  bind 0.0.0.0:80\n".to_owned(),
        "hdr(host) -i other.example:8080".to_owned(),
        "\n  mode tcp".to_owned(),
        "http-request set-path /img%[path] if { path_beg /a }".to_owned(),
    ] {
        assert!(made.contains(&line), "{line:?} is not in {made}");
    }
    let checked = is_taken_by_haproxy(folder.path(), &made);
    let (status, shown) = control.ask(Method::GET, CONFIGURATION, "").await.unwrap();
    assert_eq!(
        (status, &shown),
        (200, &made),
        "the API shows what is in the store"
    );
    list_is_vamps(server).await;

    // A template by the API, there and back.
    let (_, default) = control.ask(Method::GET, TEMPLATE, "").await.unwrap();
    assert!(
        default.contains("{% for") || default.contains("{%- for"),
        "{default}"
    );
    let mine = "{% for frontend in haproxy.frontends %}{{ frontend.name }}\n{% endfor %}";
    let (status, text) = control.ask(Method::PUT, TEMPLATE, mine).await.unwrap();
    assert_eq!(status, 202, "{text}");
    assert_eq!(
        control.ask(Method::GET, TEMPLATE, "").await.unwrap(),
        (200, mine.to_owned())
    );
    let stored = until(server, "gateways/haproxy/1.7/template", |text| !text.is_empty()).await;
    assert_eq!(stored, mine);
    let text = until(server, own, |text| !text.contains("frontend ")).await;
    assert!(text.lines().any(|line| line == "shop"), "{text}");

    // One that is broken is refused by the API; one that somebody writes into the store leaves the last text.
    let (status, refusal) = control.ask(Method::PUT, TEMPLATE, "{% for %}").await.unwrap();
    assert_eq!(status, 400, "{refusal}");
    let child = if server.kind() == Kind::Etcd { "/value" } else { "" };
    let key = format!("{}/gateways/haproxy/1.7/template{child}", prefix(NAMESPACE));
    server
        .connect()
        .put(&key, "{% nonsense %}".into(), Expect::Any, None)
        .await
        .unwrap();
    let begun = Instant::now();
    loop {
        let (_, events) = control
            .ask(Method::GET, "/events?tag=gateway_marshaller:ERROR", "")
            .await
            .unwrap();
        if events.contains("nonsense") {
            break;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "nobody says that the template is broken: {events}"
        );
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(at_the_store(server, own).await, text, "the last text stays");
    let (status, _) = control.ask(Method::DELETE, TEMPLATE, "").await.unwrap();
    assert_eq!(status, 200);
    let again = until(server, own, |text| text.contains("frontend ")).await;
    assert_eq!(again, made);
    println!("{}, for others: {checked}", server.kind());
}

/// `gateways` is Vamp's list (spec of the gateway agent, §1.1): fewer segments first, then by name.
async fn list_is_vamps(server: &Server) {
    let text = until(server, "gateways", |text| text.contains("front")).await;
    let list: Vec<Value> = serde_json::from_str(&text).unwrap();
    let names: Vec<&str> = list
        .iter()
        .filter_map(|gateway| gateway["name"].as_str())
        .collect();
    assert_eq!(names, ["front", "line", "shop", "every/instance"]);
    let shop = &list[2];
    assert_eq!(shop["kind"], "gateway");
    assert_eq!(shop["lookup_name"], lookup::gateway("shop").as_str());
    assert_eq!(shop["port"], "9060/http");
    assert_eq!(shop["sticky"], "route");
    assert_eq!(shop["deployed"], true);
    assert_eq!(shop["service"]["port"], "9060/http");
    assert_eq!(shop["service"]["host"], "127.0.0.1");
    let hosts = shop["virtual_hosts"].as_array().unwrap();
    assert!(hosts.contains(&"shop.example".into()) && hosts.contains(&"other.example:8080".into()));
    let route = &shop["routes"]["[127.0.0.1:2]"];
    assert_eq!(
        route["lookup_name"],
        lookup::route("shop", "[127.0.0.1:2]").as_str()
    );
    assert_eq!(route["weight"], "30%");
    assert_eq!(route["condition_strength"], "50%");
    assert_eq!(route["targets"][0]["url"], "127.0.0.1:2");
    assert_eq!(list[1]["port"], "9062/tcp");
}

/// What is at the key, as other programs read it.
async fn at_the_store(server: &Server, path: &str) -> String {
    let key = format!("{}/{path}", prefix(NAMESPACE));
    match server.kind() {
        // In etcd it is in a child `value`, and the key has a slash before it.
        Kind::Etcd => {
            let endpoint = format!("127.0.0.1:{}", server.port());
            let read = tokio::process::Command::new("etcdctl")
                .env("ETCDCTL_API", "3")
                .args(["--endpoints", &endpoint, "get", "--print-value-only"])
                .arg(format!("/{key}/value"))
                .output()
                .await
                .unwrap();
            let mut text = String::from_utf8(read.stdout).unwrap();
            // It ends what it prints with a line end of its own.
            text.pop();
            text
        }
        Kind::Consul => {
            let url = format!("http://127.0.0.1:{}/v1/kv/{key}?raw", server.port());
            let answer = reqwest::get(url).await.unwrap();
            if !answer.status().is_success() {
                return String::new();
            }
            answer.text().await.unwrap()
        }
        // The node of that path.
        Kind::ZooKeeper => {
            let (folder, node) = key.rsplit_once('/').unwrap();
            let url = server.url().replace('?', &format!("/{folder}?"));
            let entry = weir_store::connect(&url).unwrap().get(node).await.unwrap();
            entry.map_or_else(String::new, |entry| {
                String::from_utf8(entry.value.to_vec()).unwrap()
            })
        }
    }
}

async fn until(server: &Server, path: &str, holds: impl Fn(&str) -> bool) -> String {
    let begun = Instant::now();
    loop {
        let text = at_the_store(server, path).await;
        if holds(&text) {
            return text;
        }
        assert!(begun.elapsed() < PATIENCE, "{path} is {text:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// `haproxy -c`, in words; a failure if it refuses.
fn is_taken_by_haproxy(folder: &Path, text: &str) -> &'static str {
    let program = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy", "/usr/bin/haproxy"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    let Some(program) = program else {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "HAProxy is not installed (tests/components/haproxy/install)"
        );
        return "skipped: HAProxy is not installed";
    };
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, format!("{BASE}{text}")).unwrap();
    let checked = Command::new(program)
        .args(["-c", "-f"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}\n{text}");
    "the text, read at its key, is taken by HAProxy; templates there and back"
}
