//! Who may not.

use std::sync::Arc;

use bytes::Bytes;
use weir_store::{Expect, Store, StoreError};
use weir_tests::stores::{Kind, Setup};

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
