//! From an address to a store.

use std::sync::Arc;

use crate::{Store, StoreError};

/// Opens the store at an address: `embedded:PATH` (a durable file of this process), `file:PATH` (a document
/// that a person writes, read only), `weir://HOST:PORT` (a store that another process serves), `memory:`,
/// `etcd://HOST:PORT,..`, `consul://HOST:PORT`, `zk://HOST:PORT,../CHROOT` (also `zookeeper://`).
///
/// A store behind a network need not be there yet: its first use connects. The others are opened now;
/// `embedded:` waits for the disk.
///
/// # Errors
/// [`StoreError::Address`] for an address that this program has no store for, else what opening gives.
pub fn connect(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(refused(url, EXPECTED));
    };
    match scheme {
        "memory" => Ok(Arc::new(crate::memory::Memory::new())),
        "embedded" => embedded(url, rest),
        "file" => file(url, rest),
        "weir" => remote(url, rest),
        "etcd" => etcd(url),
        "consul" => consul(url),
        "zk" | "zookeeper" => zookeeper(url),
        _ => Err(refused(url, EXPECTED)),
    }
}

const EXPECTED: &str =
    "use embedded:PATH, file:PATH, weir://HOST:PORT, etcd://HOST:PORT, consul://HOST:PORT or zk://HOST:PORT";

fn refused(url: &str, reason: &str) -> StoreError {
    StoreError::Address {
        url: shown(url),
        reason: reason.to_owned(),
    }
}

/// Any address may hold a password, also one that is mistyped.
#[cfg(any(feature = "etcd", feature = "consul", feature = "zookeeper"))]
fn shown(url: &str) -> String {
    crate::address::redacted(url)
}

#[cfg(not(any(feature = "etcd", feature = "consul", feature = "zookeeper")))]
fn shown(url: &str) -> String {
    url.chars().take(200).collect()
}

/// `PATH` or `//PATH`, as in `file:///etc/weir/gateways.yaml`.
#[cfg(any(feature = "embedded", feature = "file"))]
fn path<'a>(url: &str, rest: &'a str) -> Result<&'a std::path::Path, StoreError> {
    match rest.strip_prefix("//").unwrap_or(rest) {
        "" => Err(refused(url, "a path must follow the colon")),
        path => Ok(std::path::Path::new(path)),
    }
}

#[cfg(feature = "embedded")]
fn embedded(url: &str, rest: &str) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(crate::embedded::Embedded::open(path(url, rest)?)?))
}

#[cfg(not(feature = "embedded"))]
fn embedded(url: &str, _: &str) -> Result<Arc<dyn Store>, StoreError> {
    Err(refused(url, "this build was made without the feature `embedded`"))
}

#[cfg(feature = "file")]
fn file(url: &str, rest: &str) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(crate::file::FileStore::open(path(url, rest)?)?))
}

#[cfg(not(feature = "file"))]
fn file(url: &str, _: &str) -> Result<Arc<dyn Store>, StoreError> {
    Err(refused(url, "this build was made without the feature `file`"))
}

#[cfg(feature = "remote")]
fn remote(url: &str, rest: &str) -> Result<Arc<dyn Store>, StoreError> {
    let address = rest.strip_prefix("//").unwrap_or(rest).trim_end_matches('/');
    let port = address
        .rsplit_once(':')
        .map(|(host, port)| (host, port.parse::<u16>()));
    match port {
        Some((host, Ok(1..))) if !host.is_empty() => Ok(Arc::new(crate::remote::Remote::lazy(address))),
        _ => Err(refused(url, "expected weir://HOST:PORT")),
    }
}

#[cfg(not(feature = "remote"))]
fn remote(url: &str, _: &str) -> Result<Arc<dyn Store>, StoreError> {
    Err(refused(url, "this build was made without the feature `remote`"))
}

#[cfg(feature = "etcd")]
fn etcd(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(crate::etcd::Etcd::new(url)?))
}

#[cfg(not(feature = "etcd"))]
fn etcd(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    Err(refused(url, "this build was made without the feature `etcd`"))
}

#[cfg(feature = "consul")]
fn consul(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(crate::consul::Consul::new(url)?))
}

#[cfg(not(feature = "consul"))]
fn consul(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    Err(refused(url, "this build was made without the feature `consul`"))
}

#[cfg(feature = "zookeeper")]
fn zookeeper(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(crate::zookeeper::ZooKeeper::new(url)?))
}

#[cfg(not(feature = "zookeeper"))]
fn zookeeper(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    Err(refused(
        url,
        "this build was made without the feature `zookeeper`",
    ))
}

#[cfg(test)]
mod tests {
    use super::connect;
    use crate::StoreError;

    #[test]
    fn addresses_without_a_store_say_what_would_be_right() {
        for url in [
            "",
            "embedded",
            "embedded:",
            "file:",
            "redis://localhost",
            "weir://",
            "weir://host",
            "weir://host:0",
            "weir://:7070",
            "weir://host:seven",
        ] {
            let error = connect(url).expect_err(url);
            assert!(matches!(error, StoreError::Address { .. }), "{url}: {error}");
        }
        let message = connect("etdc://me:geheim@h:2379")
            .expect_err("mistyped")
            .to_string();
        assert!(!message.contains("geheim"), "{message}");
    }

    #[cfg(all(feature = "etcd", feature = "consul", feature = "zookeeper"))]
    #[test]
    fn stores_of_vamp_are_known_by_their_schemes() {
        for (url, kind) in [
            ("etcd://a:2379,b:2379", "etcd"),
            ("consul://h:8500", "consul"),
            ("zk://a,b,c/chroot", "zookeeper"),
            ("zookeeper://a:2181", "zookeeper"),
        ] {
            assert_eq!(connect(url).expect(url).kind(), kind);
        }
    }

    #[cfg(feature = "remote")]
    #[tokio::test]
    async fn a_served_store_need_not_be_there_yet() {
        let store = connect("weir://127.0.0.1:1").expect("an address");
        assert_eq!(store.kind(), "remote");
    }
}
