//! Options by themselves.

use super::{Certificate, HealthCheck, HealthProtocol, Millis, RouteOptions};
use crate::Protocol;

#[test]
fn lengths_of_time_have_units() {
    for (text, ms) in [
        ("500ms", 500),
        ("2s", 2_000),
        ("1m", 60_000),
        ("24h", 86_400_000),
        ("0s", 0),
    ] {
        assert_eq!(text.parse::<Millis>().map(|millis| millis.0), Ok(ms), "{text}");
    }
    for text in [
        "",
        "5",
        "s",
        "-1s",
        "1.5s",
        "25h",
        "99999999999999999999s",
        "2 weeks",
    ] {
        assert!(text.parse::<Millis>().is_err(), "{text}");
    }
    assert_eq!(
        serde_json::from_str::<Millis>("250").map(|millis| millis.0).ok(),
        Some(250)
    );
    assert_eq!(Millis(1_500).to_string(), "1500ms");
}

#[test]
fn defaults_are_not_written_and_read_back() {
    assert_eq!(
        serde_json::to_string(&RouteOptions::default()).expect("plain data"),
        "{}"
    );
    let check: HealthCheck =
        serde_json::from_str(r#"{"protocol": "http", "interval": "1s"}"#).expect("the rest has defaults");
    assert_eq!(check.protocol, HealthProtocol::Http);
    assert_eq!(
        (check.path.as_str(), check.interval.0, check.rise, check.fall),
        ("/", 1_000, 2, 3)
    );
    let again: HealthCheck =
        serde_json::from_slice(&serde_json::to_vec(&check).expect("plain data")).expect("reads back");
    assert_eq!(again, check);
}

#[test]
fn a_path_to_ask_for_is_no_more_than_a_path() {
    let read = |path: &str| {
        serde_json::from_value::<HealthCheck>(serde_json::json!({"protocol": "http", "path": path}))
    };
    assert!(read("/health?full=1").is_ok());
    for path in [
        "",
        "health",
        "/a b",
        "/a\r\nX: y",
        "/\u{e4}",
        &format!("/{}", "a".repeat(2_048)),
    ] {
        assert!(read(path).is_err(), "{path:?}");
    }
}

#[test]
fn names_of_servers_are_names() {
    let read =
        |name: &str| serde_json::from_value::<RouteOptions>(serde_json::json!({"server_names": [name]}));
    assert_eq!(read("*.Shop.Test").expect("a name").server_names, ["*.shop.test"]);
    for name in [
        "",
        "*",
        "*.",
        "a..b",
        "a b",
        "shop.*",
        "a.test.",
        "https://a",
        "\u{e4}.test",
    ] {
        assert!(read(name).is_err(), "{name:?}");
    }
    let ejection: RouteOptions =
        serde_json::from_str(r#"{"ejection": {"errors": 5}}"#).expect("has a default");
    assert_eq!(ejection.ejection.map(|ejection| ejection.pause.0), Some(10_000));
    assert!(serde_json::from_str::<RouteOptions>(r#"{"ejection": {"errors": 0}}"#).is_err());
}

#[test]
fn keys_stay_out_of_logs() {
    let certificate = Certificate {
        certificate: "/etc/tls/a.pem".to_owned(),
        key: "-----BEGIN PRIVATE KEY-----\nabc".to_owned(),
    };
    let text = format!("{certificate:?}");
    assert!(text.contains("/etc/tls/a.pem") && !text.contains("abc"), "{text}");
}

#[test]
fn options_are_for_one_protocol() {
    let options = |text: &str| serde_json::from_str::<RouteOptions>(text).unwrap();
    for (text, http, tcp) in [
        (r#"{"protocol": "http2"}"#, None, Some("protocol")),
        (r#"{"ejection": {"errors": 1}}"#, None, Some("ejection")),
        (r#"{"server_names": ["a"]}"#, Some("server_names"), None),
        (
            r#"{"protocol": "http1", "tls": {}, "slow_start": "1s"}"#,
            None,
            None,
        ),
    ] {
        let key = |protocol| options(text).misplaced(protocol).map(|(key, _)| key);
        assert_eq!((key(Protocol::Http), key(Protocol::Tcp)), (http, tcp), "{text}");
    }
}
