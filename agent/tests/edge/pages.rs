//! What the admin listener shows of traffic: figures in Prometheus' form, as JSON, and as a page.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use weir_agent::Agent;

use super::{DRAIN, asked, common::*, config, memory};

/// Reads text in Prometheus' form as strictly as its own tools do. Gives the samples by name and labels.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    let mut helped = BTreeSet::new();
    let mut found = BTreeMap::new();
    let mut family = "";
    assert!(text.ends_with('\n'), "the last line has an end");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect(line);
            assert!(helped.insert(name) && !help.trim().is_empty(), "{line}");
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(line);
            assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{line}");
            assert!(kinds.insert(name, kind).is_none(), "twice: {line}");
            assert!(helped.contains(name), "without help: {line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            family = name;
            continue;
        }
        assert!(!line.starts_with('#') && line.trim() == line, "{line}");
        let (key, value) = line.rsplit_once(' ').expect(line);
        let (name, labels) = match key.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').expect(line)),
            None => (key, ""),
        };
        let of = match kinds[family] {
            "histogram" => ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .expect(line),
            _ => name,
        };
        assert_eq!(of, family, "a sample stands below its type: {line}");
        check_labels(labels, line);
        let value: f64 = value.parse().expect(line);
        assert!(found.insert(key.to_owned(), value).is_none(), "twice: {line}");
    }
    // Buckets grow, and the last one has all.
    let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for (key, value) in &found {
        let Some((front, bound)) = key.split_once("le=\"") else {
            continue;
        };
        let (bound, rest) = bound.split_once('"').expect(key);
        let bound = if bound == "+Inf" {
            f64::INFINITY
        } else {
            bound.parse().expect(key)
        };
        series
            .entry(format!("{front}|{rest}"))
            .or_default()
            .push((bound, *value));
    }
    for (key, mut buckets) in series {
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        assert!(
            buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1),
            "{key}: {buckets:?}"
        );
        let last = buckets.last().expect("there is one");
        assert!(last.0.is_infinite(), "{key}: {buckets:?}");
        let front = key
            .split('|')
            .next()
            .expect("a name")
            .replace("_bucket", "_count");
        let count = front.trim_end_matches([',', '{']);
        let told = found
            .iter()
            .find(|(other, _)| other.trim_end_matches('}') == count);
        assert_eq!(told.map(|(_, value)| *value), Some(last.1), "{key}");
    }
    found
}

/// `name="value",...` with `\\`, `\"` and `\n` as the only escapes.
fn check_labels(mut labels: &str, line: &str) {
    while !labels.is_empty() {
        let (name, rest) = labels.split_once("=\"").expect(line);
        assert!(
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
            "{line}"
        );
        let mut characters = rest.char_indices();
        let end = loop {
            match characters.next().expect(line) {
                (_, '\\') => {
                    let (_, escaped) = characters.next().expect(line);
                    assert!(matches!(escaped, '\\' | '"' | 'n'), "{line}");
                }
                (at, '"') => break at,
                _ => {}
            }
        };
        labels = rest.split_at(end + 1).1;
        labels = labels.strip_prefix(',').unwrap_or(labels);
    }
}

#[tokio::test]
async fn figures_are_shown_in_three_forms_and_agree() {
    let (store, folder, port) = (memory(), tempfile::tempdir().unwrap(), free_port());
    let agent = Agent::start(config(&store, folder.path())).await.unwrap();
    let admin = agent.admin_address();
    let blue = origin("blue").await;
    let mut shop = gateway("shop", port, blue);
    // A route whose one instance is not there: its share is answered with 503.
    let mut dead = shop.routes[0].clone();
    dead.name = weir_model::RouteName::new("dead \"one\"").unwrap();
    let gone = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    dead.target = gateway("x", 1, gone).routes[0].target.clone();
    let half = weir_model::Weight::from_percent(50).unwrap();
    (shop.routes[0].weight, dead.weight) = (half, half);
    shop.routes.push(dead);
    publish(&*store, &snapshot(1, vec![shop])).await;
    eventually("it is served", async || served(port).await).await;
    let stats = async || -> Value { serde_json::from_str(&asked(admin, "/stats", "").await.2).unwrap() };
    let first = stats().await;
    eventually("a while passes", async || {
        let elapsed = stats().await["at_ms"].as_u64()? - first["at_ms"].as_u64()?;
        (elapsed >= 600).then_some(())
    })
    .await;
    for _ in 0..10 {
        served(port).await;
    }
    // The dead one is found out by its checks.
    let shown = eventually("checks have seen both", async || {
        let shown = stats().await;
        let routes = &shown["gateways"][0]["routes"];
        (routes[0]["instances"][0]["state"] == "up" && routes[1]["instances"][0]["state"] == "down")
            .then_some(shown)
    })
    .await;
    let shop = &shown["gateways"][0];
    assert_eq!((&shop["state"], &shop["name"]), (&"part".into(), &"shop".into()));
    let total = shop["requests"].as_u64().unwrap();
    assert!(total >= 11, "{shop}");
    let routes = shop["routes"].as_array().unwrap();
    let sum: u64 = routes
        .iter()
        .map(|route| route["requests"].as_u64().unwrap())
        .sum();
    assert_eq!(sum, total);
    assert!(shop["rate"].as_f64().unwrap() > 0.0, "{shop}");
    assert!(shop["error_rate"].as_f64().unwrap() > 0.0, "{shop}");
    assert!(routes[0]["p99_ms"].as_f64().unwrap() > 0.0, "{shop}");
    assert_eq!(
        (&routes[0]["state"], &routes[1]["state"]),
        (&"up".into(), &"down".into())
    );
    assert!(routes[1]["classes"][4].as_u64().unwrap() >= 5, "{shop}");

    let (code, head, text) = asked(admin, "/metrics", "").await;
    assert_eq!(code, 200);
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    let samples = samples(&text);
    let told: f64 = samples
        .iter()
        .filter(|(key, _)| key.starts_with("weir_gateway_requests_total{"))
        .map(|(_, value)| value)
        .sum();
    #[expect(clippy::cast_precision_loss, reason = "few requests")]
    let expected = total as f64;
    assert!(
        (told - expected).abs() < 0.5,
        "{told} instead of {expected}: {text}"
    );
    assert!(text.contains("dead \\\"one\\\""), "{text}");

    let (code, head, page) = asked(admin, "/", "").await;
    assert_eq!(code, 200);
    assert!(
        head.contains("text/html") && page.contains("http-equiv=refresh"),
        "{head}"
    );
    for expected in [
        "<h2>shop",
        "all routes<td class=\"l part\">part",
        "<td class=\"l up\">up<td>50%",
        "dead &quot;one&quot;<td class=\"l down\">down<td>50%",
        &blue.to_string(),
        &gone.to_string(),
        "rate/s",
        "p99 ms",
        "last check",
        "<td class=l>connected",
    ] {
        assert!(page.contains(expected), "{expected} in {page}");
    }
    assert!(!page.contains("<script"), "{page}");
    let other = asked(admin, "/?gateway=other", "").await.2;
    assert!(
        other.contains("No gateway is served") && !other.contains("<h2>"),
        "{other}"
    );
    agent.shutdown(DRAIN).await;
}
