//! What is written reads back.

use indexmap::IndexMap;
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value};
use weir_model::{Condition, ConditionStrength, Protocol, Sticky, Weight};

use super::{value, yaml};
use crate::*;

/// Texts that YAML takes for something else unless they are quoted.
const NASTY: [&str; 62] = [
    "",
    " ",
    "8080",
    "yes",
    "No",
    "on",
    "y",
    "1.0",
    "1e3",
    "~",
    "null",
    "NULL",
    "true",
    ".inf",
    "-.inf",
    ".nan",
    "0x1f",
    "0o7",
    "010",
    "1_000",
    "12:30",
    "12:30:45",
    "2001-01-01",
    "+1",
    "-1",
    "-",
    "--",
    "---",
    "...",
    "- a",
    "? a",
    ": a",
    "a: b",
    "a:",
    "a :b",
    "#",
    "# a",
    "a # b",
    "a#b",
    "'a'",
    "\"a\"",
    "a'b",
    "[a]",
    "{a}",
    "a, b",
    "&a",
    "*a",
    "!a",
    "!!str a",
    "|",
    ">",
    "%a",
    "@a",
    "`a",
    "<<",
    "=",
    "\\",
    "$x",
    "${x}",
    "\u{85}",
    "\u{2028}",
    "\u{feff}",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        select(&NASTY[..]).prop_map(str::to_owned),
        "\\PC{0,12}",
        "[ -~]{0,20}",
        "([a-z#:'\"\\- \t]{0,6}\n){0,4}[a-z ]{0,5}",
        any::<String>(),
    ]
}

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_$é][A-Za-z0-9_:.$%-]{0,8}"
}

fn strict() -> impl Strategy<Value = String> {
    "p[A-Za-z0-9_:$%-]{0,8}"
}

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((text(), inner), 0..4).prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn metadata() -> impl Strategy<Value = Map<String, Value>> {
    vec((text(), tree()), 0..3).prop_map(|entries| entries.into_iter().collect())
}

fn map<T: std::fmt::Debug>(
    key: impl Strategy<Value = String>,
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = IndexMap<String, T>> {
    vec((key, value), 0..4).prop_map(|entries| entries.into_iter().collect())
}

fn or_reference<T: std::fmt::Debug + Clone>(
    inline: impl Strategy<Value = T>,
) -> impl Strategy<Value = OrReference<T>> {
    prop_oneof![
        name().prop_map(OrReference::Reference),
        inline.prop_map(OrReference::Inline)
    ]
}

fn numbered_port() -> impl Strategy<Value = PortValue> {
    let protocol = prop_oneof![Just(Protocol::Http), Just(Protocol::Tcp)];
    (any::<u16>(), protocol).prop_map(|(number, protocol)| PortValue::new(number, protocol))
}

fn port() -> impl Strategy<Value = PortValue> {
    prop_oneof![
        numbered_port(),
        Just(units::port("$db.ports.sql/tcp").unwrap()),
        Just(units::port("$db.ports.api").unwrap())
    ]
}

fn health_checks() -> impl Strategy<Value = Option<Vec<HealthCheck>>> {
    let check = (text(), text(), any::<[u64; 3]>(), any::<u32>(), text()).prop_map(
        |(path, port, times, failures, protocol)| {
            let [initial_delay_s, timeout_s, interval_s] = times;
            HealthCheck {
                path,
                port,
                initial_delay_s,
                timeout_s,
                interval_s,
                failures,
                protocol,
            }
        },
    );
    option::of(vec(check, 0..3))
}

fn arguments() -> impl Strategy<Value = Vec<(String, String)>> {
    let privileged = any::<bool>().prop_map(|value| ("privileged".to_owned(), value.to_string()));
    let other = (text(), text()).prop_filter("is read as a boolean", |(key, _)| key != "privileged");
    vec(prop_oneof![other, privileged], 0..3)
}

fn breed_of(
    dependencies: BoxedStrategy<IndexMap<String, OrReference<Box<Breed>>>>,
) -> impl Strategy<Value = Breed> {
    let deployable =
        (option::of(text()), text()).prop_map(|(kind, definition)| Deployable { kind, definition });
    let variable = (option::of(strict()), option::of(text()))
        .prop_map(|(alias, value)| EnvironmentVariable { alias, value });
    (
        (name(), metadata(), deployable, map(strict(), port())),
        (
            map(strict(), variable),
            map(strict(), text()),
            arguments(),
            dependencies,
            health_checks(),
        ),
    )
        .prop_map(|((name, metadata, deployable, ports), rest)| {
            let (environment_variables, constants, arguments, dependencies, health_checks) = rest;
            Breed {
                name,
                metadata,
                deployable,
                ports,
                environment_variables,
                constants,
                arguments,
                dependencies,
                health_checks,
            }
        })
}

fn breed() -> impl Strategy<Value = Breed> {
    let leaf = breed_of(Just(IndexMap::new()).boxed());
    let dependency = prop_oneof![
        name().prop_map(|name| OrReference::Reference(format!("{name}*"))),
        leaf.prop_map(|breed| OrReference::Inline(Box::new(breed)))
    ];
    breed_of(map(name(), dependency).boxed())
}

fn scale() -> impl Strategy<Value = Scale> {
    (-10_000_i32..1_000_000, any::<u32>(), any::<u32>()).prop_map(|(cpu, memory, instances)| Scale {
        cpu: f64::from(cpu) / 100.0,
        memory_mb: f64::from(memory) / 100.0,
        instances,
    })
}

fn condition() -> impl Strategy<Value = Condition> {
    let texts = [
        "User-Agent == Chrome",
        "has cookie vip",
        "not has header X and host is \"a b\"",
        "< hdr_sub(user-agent) Android >",
    ];
    select(texts.to_vec()).prop_map(|text| Condition::parse(text).unwrap())
}

fn route() -> impl Strategy<Value = Route> {
    let rewrite = prop_oneof![
        text().prop_map(Rewrite::Reference),
        text().prop_map(|text| Rewrite::Path(format!("{text} if {text}")))
    ];
    let rewrite = rewrite.prop_filter("nothing is no name", |rewrite| {
        *rewrite != Rewrite::Reference(String::new())
    });
    let parts = || option::of(0_u64..=10_000);
    (
        parts(),
        option::of(or_reference(condition())),
        parts(),
        vec(rewrite, 0..3),
        option::of(name()),
    )
        .prop_map(|(weight, condition, strength, rewrites, balance)| Route {
            weight: weight.map(|parts| Weight::from_parts(parts).unwrap()),
            condition,
            condition_strength: strength.map(|parts| ConditionStrength::from_parts(parts).unwrap()),
            rewrites,
            balance,
            targets: Vec::new(),
        })
}

fn gateway_body(path: BoxedStrategy<String>) -> impl Strategy<Value = Gateway> {
    let sticky = select(vec![Sticky::None, Sticky::Route, Sticky::Instance]);
    (sticky, vec(text(), 0..3), map(path, or_reference(route()))).prop_map(
        |(sticky, virtual_hosts, routes)| Gateway {
            sticky,
            virtual_hosts,
            routes,
            ..Gateway::default()
        },
    )
}

fn gateway() -> impl Strategy<Value = Gateway> {
    let path = || vec(name(), 1..=4).prop_map(|parts| parts.join("/"));
    let outside = (0_u8..255, 1_u16..).prop_map(|(host, port)| format!("[10.0.0.{host}:{port}]"));
    let body = gateway_body(prop_oneof![path(), outside].boxed());
    let service = (text(), numbered_port()).prop_map(|(host, port)| GatewayService { host, port });
    (
        path(),
        metadata(),
        option::of(numbered_port()),
        option::of(service),
        any::<bool>(),
        body,
    )
        .prop_map(|(name, metadata, port, service, deployed, body)| Gateway {
            name,
            metadata,
            port,
            service,
            deployed,
            ..body
        })
}

fn runtime() -> impl Strategy<Value = ServiceRuntime> {
    // The year 9999 is the last.
    let ms = || 0_u64..250_000_000_000_000;
    let intention = select(vec![Intention::Deployment, Intention::Undeployment]);
    let phase = select(vec![
        Phase::Initiated,
        Phase::Updating,
        Phase::Done,
        Phase::Failed,
    ]);
    let status = (intention, ms(), phase, ms(), option::of(text())).prop_map(
        |(intention, since_ms, phase, phase_since_ms, notification)| ServiceStatus {
            intention,
            since_ms,
            phase,
            phase_since_ms,
            notification,
        },
    );
    let instance = (
        text(),
        text(),
        map(text(), any::<u16>()),
        any::<bool>(),
        metadata(),
    )
        .prop_map(|(name, host, ports, deployed, metadata)| ServiceInstance {
            name,
            host,
            ports,
            deployed,
            metadata,
        });
    let health = any::<[u32; 4]>().prop_map(|[staged, running, healthy, unhealthy]| Health {
        staged,
        running,
        healthy,
        unhealthy,
    });
    (status, vec(instance, 0..3), map(text(), text()), health).prop_map(
        |(status, instances, dependencies, health)| ServiceRuntime {
            status,
            instances,
            dependencies,
            health,
        },
    )
}

fn variables(key: BoxedStrategy<String>) -> impl Strategy<Value = IndexMap<String, Option<String>>> {
    map(key, option::of(text()))
}

fn cluster(runtime: BoxedStrategy<Option<ServiceRuntime>>) -> impl Strategy<Value = Cluster> {
    let service = (
        or_reference(breed()),
        variables(strict().boxed()),
        option::of(or_reference(scale())),
        arguments(),
        health_checks(),
        option::of(text()),
        metadata(),
        runtime,
    )
        .prop_map(
            |(breed, environment_variables, scale, arguments, health_checks, network, dialects, runtime)| {
                Service {
                    breed,
                    environment_variables,
                    scale,
                    arguments,
                    health_checks,
                    network,
                    dialects,
                    runtime,
                }
            },
        );
    let sla = prop_oneof![text().prop_map(Value::from), metadata().prop_map(Value::from)];
    (
        metadata(),
        vec(service, 0..3),
        map(strict(), gateway_body(name().boxed())),
        option::of(text()),
        option::of(sla),
        metadata(),
        health_checks(),
    )
        .prop_map(
            |(metadata, services, gateways, network, sla, dialects, health_checks)| Cluster {
                metadata,
                services,
                gateways,
                network,
                sla,
                dialects,
                health_checks,
            },
        )
}

fn cluster_variable() -> BoxedStrategy<String> {
    (strict(), strict())
        .prop_map(|(cluster, name)| format!("{cluster}.{name}"))
        .boxed()
}

fn blueprint() -> impl Strategy<Value = Blueprint> {
    let path = (name(), name()).prop_map(|(cluster, port)| format!("{cluster}/{port}"));
    let port = prop_oneof![
        numbered_port(),
        strict().prop_map(|text| PortValue {
            text,
            number: 0,
            protocol: Protocol::Http
        })
    ];
    let gateways = vec((port, gateway_body(path.boxed())), 0..3).prop_map(|gateways| {
        let by_key: IndexMap<String, Gateway> = gateways
            .into_iter()
            .map(|(port, body)| {
                (
                    port.text.clone(),
                    Gateway {
                        port: Some(port),
                        ..body
                    },
                )
            })
            .collect();
        by_key.into_values().collect::<Vec<_>>()
    });
    let clusters = map(name(), cluster(Just(None).boxed()));
    (
        name(),
        metadata(),
        gateways,
        clusters,
        variables(cluster_variable()),
        metadata(),
    )
        .prop_map(
            |(name, metadata, gateways, clusters, environment_variables, dialects)| Blueprint {
                name,
                metadata,
                gateways,
                clusters,
                environment_variables,
                dialects,
            },
        )
}

fn deployment() -> impl Strategy<Value = Deployment> {
    let clusters = map(name(), cluster(option::of(runtime()).boxed()));
    let texts = || map(text(), text());
    (
        name(),
        metadata(),
        clusters,
        texts(),
        variables(cluster_variable()),
        texts(),
        metadata(),
    )
        .prop_map(
            |(name, metadata, clusters, ports, environment_variables, hosts, dialects)| Deployment {
                name,
                metadata,
                clusters,
                ports,
                environment_variables,
                hosts,
                dialects,
            },
        )
}

fn artifact() -> impl Strategy<Value = Artifact> {
    let scale = (name(), metadata(), scale()).prop_map(|(name, metadata, scale)| NamedScale {
        name,
        metadata,
        scale,
    });
    let condition =
        (name(), metadata(), condition()).prop_map(|(name, metadata, condition)| NamedCondition {
            name,
            metadata,
            condition,
        });
    prop_oneof![
        breed().prop_map(Artifact::Breed),
        blueprint().prop_map(Artifact::Blueprint),
        scale.prop_map(Artifact::Scale),
        condition.prop_map(Artifact::Condition),
        gateway().prop_map(Artifact::Gateway),
        deployment().prop_map(Artifact::Deployment),
    ]
}

fn only(text: &str) -> tree::Node {
    let mut documents = tree::documents(text).unwrap_or_else(|problem| panic!("{problem}\n{text}"));
    assert_eq!(documents.len(), 1, "{text}");
    documents.remove(0)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn trees_read_back(tree in tree()) {
        let wrapped = serde_json::json!({ "a": tree });
        prop_assert_eq!(only(&yaml(&wrapped)).to_value(), wrapped.clone(), "{}", yaml(&wrapped));
        prop_assert_eq!(only(&wrapped.to_string()).to_value(), wrapped);
    }

    #[test]
    fn keys_read_back(keys in vec(prop_oneof![text(), "[a-z: ]{100,1500}"], 1..4)) {
        let tree: Value = Value::Object(keys.into_iter().map(|key| (key, Value::from(1))).collect());
        prop_assert_eq!(only(&yaml(&tree)).to_value(), tree.clone());
        prop_assert_eq!(only(&tree.to_string()).to_value(), tree);
    }

    #[test]
    fn artifacts_read_back(artifact in artifact()) {
        let (kind, value) = (artifact.kind(), value(&artifact));
        prop_assert_eq!(read::stored(kind, &value), Ok(artifact.clone()));
        prop_assert_eq!(read::unchecked(kind, &only(&value.to_string())), Ok(artifact.clone()));
        prop_assert_eq!(read::unchecked(kind, &only(&yaml(&value))), Ok(artifact));
    }

    #[test]
    fn checks_take_whatever_there_is(artifact in artifact()) {
        let text = yaml(&value(&artifact));
        let _ = read::one(artifact.kind(), &text);
        let _ = read::deploy_request(&text);
    }
}

#[test]
fn yaml_looks_as_people_write_it() {
    let tree = serde_json::json!({
        "name": "shop", "weight": "50%", "port": "8080", "ports": {"web": "8080/http"}, "flag": "yes", "empty": {}, "none": [],
        "services": [{"breed": {"reference": "front:1"}}, "x", ["a", ["b"]]],
        "script": "line one\n\n  line two\n", "nothing": null, "condition": "User-Agent == Chrome && has cookie x",
        "[10.0.0.1:80]": 1.5, "é": "naïve"
    });
    insta::assert_snapshot!(yaml(&tree), @r#"
    name: shop
    weight: 50%
    port: "8080"
    ports:
      web: 8080/http
    flag: "yes"
    empty: {}
    none: []
    services:
    - breed:
        reference: front:1
    - x
    - - a
      - - b
    script: |
      line one

        line two
    nothing: null
    condition: User-Agent == Chrome && has cookie x
    "[10.0.0.1:80]": 1.5
    é: naïve
    "#);
}
