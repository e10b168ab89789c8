//! Who may and who may not, and how addresses and variables say it.

use std::sync::Arc;

use bytes::Bytes;
use weir_agent::environment;
use weir_store::{Expect, Store, StoreError};
use weir_tests::{
    ports,
    stores::{Kind, Setup},
};

use super::{GUARDED, server};

async fn is_denied(store: Arc<dyn Store>) {
    let read = store.get("kept").await;
    assert!(matches!(read, Err(StoreError::Denied(_))), "{read:?}");
    let written = store
        .put("kept", Bytes::from_static(b"x"), Expect::Any, None)
        .await;
    assert!(matches!(written, Err(StoreError::Denied(_))), "{written:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_are_denied() {
    let auth = Setup {
        auth: true,
        ..Setup::default()
    };
    for kind in Kind::ALL {
        let Some(server) = server(kind, auth) else {
            continue;
        };
        let store = server.connect();
        let value = Bytes::from_static(b"1");
        store
            .put("kept", value.clone(), Expect::Absent, None)
            .await
            .unwrap();
        for (right, wrong) in [
            ("secret@", "wrong@"),
            ("root:secret@", ""),
            ("weir:secret@", ""),
            ("=1111", "=2222"),
            ("token=", "token=#"),
        ] {
            let url = server.url();
            let other = url.replace(right, wrong).replace("token=#", "token=&dc=");
            if other == url || other.contains("dc=11") {
                continue;
            }
            is_denied(weir_store::connect(&other).unwrap()).await;
        }
        assert_eq!(store.get("kept").await.unwrap().unwrap().value, value);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_not_spoken_to_by_tls() {
    for kind in Kind::ALL {
        let Some(server) = server(kind, GUARDED) else {
            continue;
        };
        let (url, files) = (server.url(), server.certificates().unwrap());
        let ca = files.ca.display().to_string();
        let client = format!(
            "&cert={}&key={}",
            files.client.display(),
            files.client_key.display()
        );
        let folder = tempfile::tempdir().unwrap();
        let stranger = weir_tests::Certificates::in_folder(folder.path());
        for (what, url) in [
            ("without a certificate of its own", url.replace(&client, "")),
            (
                "of another authority",
                url.replace(&ca, &stranger.ca.display().to_string()),
            ),
            ("of another name", format!("{url}&server_name=elsewhere.example")),
        ] {
            let outcome = weir_store::connect(&url).unwrap().place("x").await;
            assert!(
                matches!(outcome, Err(StoreError::Unavailable(_))),
                "{kind} {what}: {outcome:?}"
            );
        }
        let named = format!("{url}&server_name=store.weir.test");
        weir_store::connect(&named).unwrap().place("x").await.unwrap();
    }
}

/// Tokens of etcd do not outlive a restart: the next request gets a new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_forgotten_is_fetched_anew() {
    let auth = Setup {
        auth: true,
        ..Setup::default()
    };
    let Some(mut server) = server(Kind::Etcd, auth) else {
        return;
    };
    let store = server.connect();
    let (written, place) = (
        store.put("a", Bytes::new(), Expect::Any, None).await.unwrap(),
        store.list("a").await.unwrap().1,
    );
    server.kill();
    server.start_again();
    // Its connections are dead, its token unknown: a watch and a write find out on their own.
    let watching = store.watch("a", place).await;
    let mut watch = match watching {
        Err(StoreError::Unavailable(_)) => store.watch("a", place).await.unwrap(),
        other => other.unwrap(),
    };
    let again = store
        .put("a", Bytes::new(), Expect::At(written), None)
        .await
        .unwrap();
    let told = futures::StreamExt::next(&mut watch).await.unwrap().unwrap();
    assert_eq!(told.revision(), again);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_for_a_store_that_asks_for_none_do_no_harm() {
    for kind in [Kind::Etcd, Kind::ZooKeeper] {
        let Some(server) = server(kind, Setup::default()) else {
            continue;
        };
        let url = server.url().replace("://", "://root:secret@");
        let store = weir_store::connect(&url).unwrap();
        store.put("a", Bytes::new(), Expect::Any, None).await.unwrap();
    }
}

const AUTH: Setup = Setup {
    auth: true,
    tls: false,
};

/// Writes and reads, at the latest when another host of the store is asked.
async fn works(what: &str, store: &dyn Store) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let (key, value) = ("vamp/works", Bytes::from_static(b"1"));
    loop {
        match store.put(key, value.clone(), Expect::Any, None).await {
            Ok(_) => break,
            Err(StoreError::Unavailable(_)) if std::time::Instant::now() < deadline => {}
            Err(error) => panic!("{what}: {error}"),
        }
    }
    assert_eq!(store.get(key).await.unwrap().unwrap().value, value, "{what}");
}

/// As hosts of Vamp's gateway agent have them, several nodes of which the first is dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vamps_variables_lead_to_the_servers() {
    for kind in Kind::ALL {
        let setup = if kind == Kind::Consul {
            AUTH
        } else {
            Setup::default()
        };
        let Some(server) = server(kind, setup) else {
            continue;
        };
        let (dead, port) = (ports::port(), server.port());
        let (name, nodes) = match kind {
            Kind::Etcd => ("etcd", format!("http://127.0.0.1:{dead},http://127.0.0.1:{port}")),
            Kind::Consul => ("consul", format!("127.0.0.1:{dead},127.0.0.1:{port}")),
            Kind::ZooKeeper => ("zookeeper", format!("127.0.0.1:{dead},127.0.0.1:{port}/of/vamp")),
        };
        let url = server.url();
        let token = url
            .split_once("token=")
            .map(|(_, token)| token.split('&').next().unwrap().to_owned());
        let read = environment::from_vamp(|variable| match variable {
            "VAMP_KEY_VALUE_STORE_TYPE" => Some(name.to_owned()),
            "VAMP_KEY_VALUE_STORE_CONNECTION" => Some(nodes.clone()),
            "VAMP_KEY_VALUE_STORE_PATH" => Some("/vamp/vamp/gateways/haproxy/1.7/configuration".to_owned()),
            "VAMP_KEY_VALUE_STORE_TOKEN" => token.clone(),
            _ => None,
        })
        .unwrap();
        assert_eq!(read.prefix.as_deref(), Some("vamp/vamp"));
        let store = weir_store::connect(&read.store.unwrap()).unwrap();
        works(name, &*store).await;
        // It is where others look.
        let direct = server.connect();
        let key = match kind {
            Kind::ZooKeeper => "of/vamp/vamp/works",
            Kind::Etcd | Kind::Consul => "vamp/works",
        };
        assert!(direct.get(key).await.unwrap().is_some(), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_may_be_in_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    for kind in Kind::ALL {
        let Some(server) = server(kind, AUTH) else {
            continue;
        };
        let url = server.url();
        let (option, secret, without) = match kind {
            Kind::Etcd => ("password_file", "secret".to_owned(), url.replace(":secret@", "@")),
            Kind::ZooKeeper => ("password_file", "secret".to_owned(), url.replace(":secret@", "@")),
            Kind::Consul => {
                let (front, token) = url.split_once("token=").unwrap();
                ("token_file", token.to_owned(), front.to_owned())
            }
        };
        assert_ne!(without, url);
        std::fs::write(&file, format!("{secret}\n")).unwrap();
        let with_file = format!("{without}&{option}={}", file.display());
        works(option, &*weir_store::connect(&with_file).unwrap()).await;
        std::fs::write(&file, "wrong").unwrap();
        let store = weir_store::connect(&with_file).unwrap();
        let written = store.put("vamp/works", Bytes::new(), Expect::Any, None).await;
        assert!(
            matches!(written, Err(StoreError::Denied(_))),
            "{kind}: {written:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_datacenter_of_consul_can_be_named() {
    let Some(server) = server(Kind::Consul, Setup::default()) else {
        return;
    };
    let at = |datacenter: &str| {
        let url = format!("{}&dc={datacenter}", server.url());
        weir_store::connect(&url).unwrap()
    };
    works("its own", &*at("dc1")).await;
    assert!(server.connect().get("vamp/works").await.unwrap().is_some());
    // There is no other: nothing is read from this one instead.
    let elsewhere = at("elsewhere");
    let read = elsewhere.get("vamp/works").await;
    assert!(read.is_err(), "{read:?}");
    let written = elsewhere.put("vamp/works", Bytes::new(), Expect::Any, None).await;
    assert!(written.is_err(), "{written:?}");
}

/// Who else may use the nodes of ZooKeeper that a user makes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_zookeeper_are_open_private_or_readable() {
    let Some(server) = server(Kind::ZooKeeper, AUTH) else {
        return;
    };
    let anybody = weir_store::connect(&server.url().replace("weir:secret@", "")).unwrap();
    for (acl, may_read, may_write) in [
        ("open", true, true),
        ("readable", true, false),
        ("private", false, false),
    ] {
        let url = format!("{}&acl={acl}", server.url());
        let key = format!("{acl}/node");
        let own = weir_store::connect(&url).unwrap();
        let revision = own
            .put(&key, Bytes::from_static(b"1"), Expect::Absent, None)
            .await
            .unwrap();
        let read = anybody.get(&key).await;
        let written = anybody
            .put(&key, Bytes::from_static(b"2"), Expect::At(revision), None)
            .await;
        assert_eq!(read.is_ok(), may_read, "{acl}: {read:?}");
        assert_eq!(written.is_ok(), may_write, "{acl}: {written:?}");
        for outcome in [read.map(|_| ()), written.map(|_| ())] {
            assert!(
                matches!(outcome, Ok(()) | Err(StoreError::Denied(_))),
                "{acl}: {outcome:?}"
            );
        }
        own.put(&key, Bytes::from_static(b"3"), Expect::Any, None)
            .await
            .unwrap();
    }
    let url = format!("{}&acl=perhaps", server.url());
    assert!(matches!(
        weir_store::connect(&url),
        Err(StoreError::Address { .. })
    ));
}
