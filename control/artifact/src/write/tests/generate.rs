//! Artifacts of every kind, with texts that are hard to write.

mod sla;
mod text;

use indexmap::IndexMap;
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};
use weir_model::{
    Condition, ConditionStrength, GatewayOptions, PathRewrite, Protocol, RouteOptions, Sticky, Weight,
    document,
};

pub(super) use self::text::{text, tree};
use self::{
    sla::{cluster_sla, escalation, sla},
    text::{metadata, name, strict},
};
use crate::*;

fn dialects() -> impl Strategy<Value = Map<String, Value>> {
    metadata().prop_map(|dialects| {
        dialects
            .into_iter()
            .map(|(driver, content)| (driver.to_ascii_lowercase(), content))
            .collect()
    })
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

fn path_rewrite() -> impl Strategy<Value = PathRewrite> {
    let texts = [
        "/img/%[path] if path_end .jpg",
        "%[path,regsub('^/(api)','/\\1\"')] IF { path_beg '/a b' } !{ method POST }",
        "é:/x if always_true",
    ];
    select(texts.to_vec()).prop_map(|text| PathRewrite::parse(text).unwrap())
}

/// Those of edges, whatever the protocol of the gateway.
fn route_options() -> impl Strategy<Value = RouteOptions> {
    let samples = [
        json!({}),
        json!({"server_names": ["shop.test", "*.shop.test"], "timeouts": {"idle": "1h", "connect": "250ms"}}),
        json!({"protocol": "http2", "ejection": {"errors": 3}, "slow_start": "10s", "send_proxy_protocol": "v2"}),
        json!({"tls": {"server_name": "a", "certificate": {"certificate": "c", "key": "k"}}, "health": {"protocol": "none"}}),
    ];
    let read =
        |sample: serde_json::Value| document::route_options(sample.as_object().unwrap().clone()).unwrap();
    select(samples.map(read).to_vec())
}

fn gateway_options() -> impl Strategy<Value = GatewayOptions> {
    let certificate = json!({"certificate": "c", "key": "k"});
    let samples = [
        json!({}),
        json!({"tls": {"certificates": [certificate], "minimum": "1.3"}, "accept_proxy_protocol": true}),
    ];
    let read =
        |sample: serde_json::Value| document::gateway_options(sample.as_object().unwrap().clone()).unwrap();
    select(samples.map(read).to_vec())
}

fn route() -> impl Strategy<Value = Route> {
    let rewrite = prop_oneof![
        text().prop_map(Rewrite::Reference),
        path_rewrite().prop_map(Rewrite::Path)
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
        route_options(),
    )
        .prop_map(
            |(weight, condition, strength, rewrites, balance, options)| Route {
                weight: weight.map(|parts| Weight::from_parts(parts).unwrap()),
                condition,
                condition_strength: strength.map(|parts| ConditionStrength::from_parts(parts).unwrap()),
                rewrites,
                balance,
                options,
                targets: Vec::new(),
            },
        )
}

fn gateway_body(path: BoxedStrategy<String>) -> impl Strategy<Value = Gateway> {
    let sticky = select(vec![Sticky::None, Sticky::Route, Sticky::Instance]);
    let parts = (
        sticky,
        vec(text(), 0..3),
        map(path, or_reference(route())),
        gateway_options(),
    );
    parts.prop_map(|(sticky, virtual_hosts, routes, options)| Gateway {
        sticky,
        virtual_hosts,
        routes,
        options,
        ..Gateway::default()
    })
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
        dialects(),
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
    (
        metadata(),
        vec(service, 0..3),
        map(strict(), gateway_body(name().boxed())),
        option::of(text()),
        option::of(cluster_sla()),
        dialects(),
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

fn schedule() -> impl Strategy<Value = Schedule> {
    let period = (any::<[u32; 3]>(), any::<u64>())
        .prop_map(|([years, months, days], seconds)| Period::new(years, months, days, seconds | 1).unwrap());
    let start = prop_oneof![
        Just(Start::Now),
        (-62_000_000_000_000_i64..250_000_000_000_000).prop_map(Start::AtMs)
    ];
    let time = (period, option::of(any::<u32>()), option::of(start)).prop_map(|(period, repeat, start)| {
        Schedule::Time(TimeSchedule {
            period,
            repeat,
            start,
        })
    });
    prop_oneof![
        Just(Schedule::Daemon),
        vec(text(), 1..3).prop_map(Schedule::Event),
        time
    ]
}

fn workflow() -> impl Strategy<Value = Workflow> {
    (
        (name(), metadata(), or_reference(breed()), schedule()),
        (
            select(WorkflowStatus::ALL.to_vec()),
            option::of(or_reference(scale())),
            variables(strict().boxed()),
            arguments(),
        ),
        (
            option::of(text()),
            health_checks(),
            dialects(),
            runtime(),
            any::<bool>(),
        ),
    )
        .prop_map(|(head, middle, tail)| {
            let (name, metadata, breed, schedule) = head;
            let (status, scale, environment_variables, arguments) = middle;
            let (network, health_checks, dialects, runtime, has_health) = tail;
            Workflow {
                name,
                metadata,
                breed,
                schedule,
                status,
                scale,
                environment_variables,
                arguments,
                network,
                health_checks,
                dialects,
                instances: runtime.instances,
                health: has_health.then_some(runtime.health),
            }
        })
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
        dialects(),
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
        dialects(),
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

pub(super) fn artifact() -> impl Strategy<Value = Artifact> {
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
    let sla = (name(), metadata(), sla()).prop_map(|(name, metadata, sla)| NamedSla { name, metadata, sla });
    let escalation =
        (name(), metadata(), escalation()).prop_map(|(name, metadata, escalation)| NamedEscalation {
            name,
            metadata,
            escalation,
        });
    let route = (name(), metadata(), route()).prop_map(|(name, metadata, route)| NamedRoute {
        name,
        metadata,
        route,
    });
    let rewrite = (name(), metadata(), path_rewrite()).prop_map(|(name, metadata, path)| NamedRewrite {
        name,
        metadata,
        path,
    });
    let template = (name(), metadata(), metadata()).prop_map(|(name, metadata, definition)| Template {
        name,
        metadata,
        definition,
    });
    prop_oneof![
        sla.prop_map(Artifact::Sla),
        escalation.prop_map(Artifact::Escalation),
        route.prop_map(Artifact::Route),
        rewrite.prop_map(Artifact::Rewrite),
        workflow().prop_map(Artifact::Workflow),
        template.prop_map(Artifact::Template),
        breed().prop_map(Artifact::Breed),
        blueprint().prop_map(Artifact::Blueprint),
        scale.prop_map(Artifact::Scale),
        condition.prop_map(Artifact::Condition),
        gateway().prop_map(Artifact::Gateway),
        deployment().prop_map(Artifact::Deployment),
    ]
}
