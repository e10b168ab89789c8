//! `weir-agent check` on real stores, as people and pipelines use it: what it says, and of what.

use std::sync::Arc;

use bytes::Bytes;
use weir_agent::check::{self, Sound};
use weir_model::{
    Balance, Certificate, ConditionStrength, Gateway, GatewayName, Generation, Listener, Protocol, Route,
    RouteName, Snapshot, Sticky, Target, Tls, Weight,
};
use weir_store::{Expect, Store, protocol};
use weir_tests::stores::{Kind, Setup};

use super::server;

const PREFIX: &str = "vamp/checked";

fn gateway(name: &str, port: u16) -> Gateway {
    Gateway {
        name: GatewayName::new(name).unwrap(),
        protocol: Protocol::Http,
        listener: Some(Listener {
            address: "127.0.0.1".parse().unwrap(),
            port,
        }),
        virtual_hosts: Vec::new(),
        options: Default::default(),
        sticky: Sticky::None,
        routes: vec![Route {
            name: RouteName::new("all").unwrap(),
            weight: Weight::FULL,
            condition: None,
            condition_strength: ConditionStrength::ZERO,
            balance: Balance::RoundRobin,
            options: Default::default(),
            target: Target::Instances(Vec::new()),
        }],
    }
}

/// A gateway that the compiler of the data plane refuses, and nobody before it.
fn without_certificate(name: &str, port: u16) -> Gateway {
    let mut gateway = gateway(name, port);
    gateway.options.tls = Some(Tls {
        certificates: vec![Certificate {
            certificate: format!("/nowhere/{name}.pem"),
            key: "/nowhere/key.pem".to_owned(),
        }],
        ..Tls::default()
    });
    gateway
}

async fn publish(store: &dyn Store, generation: u64, gateways: Vec<Gateway>) {
    let snapshot = Snapshot::new("checked", Generation(generation), gateways).unwrap();
    let place = protocol::place(store, PREFIX).await.unwrap();
    protocol::publish(store, PREFIX, &snapshot, place).await.unwrap();
}

async fn reasons(url: &str, what: &str) -> Vec<String> {
    match check::store(url, PREFIX).await {
        Ok(sound) => panic!("{what}: {sound:?}"),
        Err(reasons) => reasons,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_store_has_published_is_checked_by_the_compiler() {
    for kind in Kind::ALL {
        let Some(server) = server(kind, Setup::default()) else {
            continue;
        };
        let (url, store): (String, Arc<dyn Store>) = (server.url(), server.connect());
        assert!(check::is_store(&url), "{url}");
        let nothing = reasons(&url, "nothing is published").await;
        assert!(nothing[0].contains(PREFIX), "{kind}: {nothing:?}");

        publish(&*store, 1, vec![gateway("shop", 8_080), gateway("other", 8_081)]).await;
        let sound = Sound {
            kind: "snapshot",
            gateways: 2,
        };
        assert_eq!(check::store(&url, PREFIX).await, Ok(sound), "{kind}");

        // Every fault is told, each with its gateway, and the sound one is not.
        let faulty = vec![
            gateway("shop", 8_080),
            without_certificate("first", 8_443),
            without_certificate("second", 8_444),
        ];
        publish(&*store, 2, faulty).await;
        let told = reasons(&url, "two are refused").await;
        assert_eq!(told.len(), 2, "{kind}: {told:?}");
        for name in ["first", "second"] {
            let of_it = told.iter().filter(|reason| {
                reason.contains(&format!("gateway `{name}`")) && reason.contains(&format!("{name}.pem"))
            });
            assert_eq!(of_it.count(), 1, "{kind}: {told:?}");
        }

        let place = protocol::place(&*store, PREFIX).await.unwrap();
        let garbage = Bytes::from_static(b"{]");
        let expect = place.map_or(Expect::Absent, Expect::At);
        store
            .put(&protocol::manifest_key(PREFIX), garbage, expect, None)
            .await
            .unwrap();
        let told = reasons(&url, "the manifest is garbage").await;
        assert_eq!(told.len(), 1, "{kind}: {told:?}");
    }
}

/// What cannot be read is told as that, without the secrets of the address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_cannot_be_read_is_told() {
    // Without TLS: ZooKeeper takes a client's certificate for somebody as well.
    let auth = Setup {
        auth: true,
        tls: false,
    };
    for kind in Kind::ALL {
        let Some(server) = server(kind, auth) else {
            continue;
        };
        let url = server.url();
        publish(&*server.connect(), 1, vec![gateway("shop", 8_080)]).await;
        assert!(check::store(&url, PREFIX).await.is_ok(), "{kind}");
        let stranger = match kind {
            Kind::Etcd => url.replace("root:secret@", "root:geheim@"),
            Kind::Consul => url.replace("token=1", "token=2"),
            Kind::ZooKeeper => url.replace("weir:secret@", "weir:geheim@"),
        };
        assert_ne!(stranger, url);
        let told = reasons(&stranger, "its credentials are wrong").await;
        assert_eq!(told.len(), 1, "{kind}: {told:?}");
        assert!(
            !told[0].contains("geheim") && !told[0].contains("2111"),
            "{told:?}"
        );
    }
    for wrong in ["etcd:", "consul://h:port", "zk://", "redis://h:1"] {
        let told = reasons(wrong, wrong).await;
        assert_eq!(told.len(), 1, "{told:?}");
    }
}
