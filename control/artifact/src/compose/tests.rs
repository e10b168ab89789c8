//! What becomes of Compose files.

use insta::assert_snapshot;
use proptest::prelude::*;

use super::import;
use crate::{Kind, read};

fn imported(text: &str) -> String {
    let yaml = import("shop", text).unwrap_or_else(|problems| panic!("{problems:#?}"));
    if let Err(problems) = read::one(Kind::Blueprint, &yaml) {
        panic!("{problems:#?}\n{yaml}");
    }
    yaml
}

#[test]
fn a_file_becomes_a_blueprint() {
    let text = r#"
version: "3"
networks: {default: {}}
services:
  web:
    image: acme/web:2
    ports: ["8080:80", "127.0.0.1:8443:443/tcp", 3000-3005]
    depends_on: [back]
    environment:
      - BACK=http://back:9000/api?x=back:9000
      - ITSELF=web:80
      - HOME
      - SHELL_VALUE=${X:-y}
      - PRICE=5$$
      - back.end=1
    restart: always
  back:
    build: ./back
    command: [serve, --port, "9000"]
    environment: {LEVEL: 1.10, DB: "postgres://u:p@db:5432/x"}
  db:
    image: postgres
    expose: ["5432"]
    depends_on: {nobody: {condition: service_started}}
"#;
    assert_snapshot!(imported(text));
}

#[test]
fn files_of_the_first_version_have_services_at_the_top() {
    let text =
        "a: {image: x, ports: [{target: 80, published: 8080, protocol: tcp}]}\nb: {image: y, links: [a]}\n";
    assert_snapshot!(imported(text));
}

#[test]
fn all_problems_are_told() {
    let text = "\
services:
  a: {image: x, ports: [53/udp, 70000, [1]], environment: 5}
  b: {ports: [80]}
  c d: {image: y}
  e: text
";
    let problems = import("a b", text).unwrap_err();
    let found: Vec<_> = problems
        .iter()
        .map(|problem| {
            let line = problem.position.map_or(0, |position| position.line);
            format!("{} {} {line}", problem.code, problem.path)
        })
        .collect();
    let expected = [
        "IllegalName name 0",
        "UnsupportedProtocolError services/a/ports/0 2",
        "UnexpectedTypeError services/a/ports/1 2",
        "UnexpectedTypeError services/a/ports/2 2",
        "UnexpectedTypeError services/a/environment 2",
        "MissingPathValueError services/b/image 3",
        "IllegalName services/c d 4",
        "UnexpectedTypeError services/e 5",
    ];
    assert_eq!(found, expected);
    for (text, code) in [
        ("", "UnexpectedTypeError"),
        ("a\n---\nb", "UnexpectedTypeError"),
        ("[a]: [", "YamlParsingError"),
        ("services: {}", "NoServiceError"),
        ("services:", "NoServiceError"),
        ("version: 2", "MissingPathValueError"),
        ("services: [a]", "UnexpectedTypeError"),
    ] {
        assert_eq!(import("x", text).unwrap_err()[0].code, code, "{text}");
    }
}

proptest! {
    #[test]
    fn what_comes_out_is_a_blueprint(
        image in "[ -~]{1,12}", value in "([ -~é]|back:90|[$]|web:1|\n){0,12}", key in "\\PC{0,8}", command in any::<String>()
    ) {
        let text = serde_json::json!({"services": {
            "web": {"image": image, "environment": {"A": value, key: "x"}, "command": command, "labels": [command]},
            "back": {"image": "y"},
        }}).to_string();
        if let Ok(yaml) = import("shop", &text) {
            let artifact = read::one(Kind::Blueprint, &yaml);
            prop_assert!(artifact.is_ok(), "{:#?}\n{}", artifact, yaml);
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = import("x", &text);
    }
}
