//! From a published document to the proxy.
//!
//! **Job.** Decides what of a document is applied, applies it, has it saved, and says what became of it.
//!
//! **Invariants.** Numbers never go back. A gateway that is refused keeps its last good form; a document that
//! is refused changes nothing. Only the document removes a gateway, and only by not naming it.

use std::{collections::HashSet, sync::Arc};

use weir_model::{Digest, Gateway, Generation, Refusal, Snapshot, wire};
use weir_proxy::Proxy;
use weir_store::protocol::PublishedParts;

use crate::{
    last_good::{LastGood, Served},
    saver::Saver,
    status::Status,
};

/// Feeds the proxy.
#[derive(Debug)]
pub(crate) struct Feed {
    proxy: Proxy,
    last_good: LastGood,
    saver: Saver,
    status: Arc<Status>,
    /// Knows what was read last.
    reader: wire::v1::Reader,
    /// Whether the store's numbers say which document is newer. Those of a read-only store (a person's file)
    /// are made up at each start.
    numbered: bool,
    served: Option<Served>,
    /// Given to the proxy, which may serve it already, and not yet noted as served.
    applying: Option<Served>,
    /// Of the document served: refused on reading.
    refused_reading: Vec<Refusal>,
    /// Of the document served: refused by the proxy.
    refused_serving: Vec<Refusal>,
}

impl Feed {
    /// Must be called within a runtime.
    pub(crate) fn new(proxy: Proxy, last_good: LastGood, status: Arc<Status>, numbered: bool) -> Self {
        let saver = Saver::start(last_good.clone(), Arc::clone(&status));
        Self {
            proxy,
            last_good,
            saver,
            status,
            reader: wire::v1::Reader::default(),
            numbered,
            served: None,
            applying: None,
            refused_reading: Vec::new(),
            refused_serving: Vec::new(),
        }
    }

    /// Who saves what is served.
    pub(crate) fn saver(&self) -> &Saver {
        &self.saver
    }

    /// Serves what the disk has, if anything.
    pub(crate) async fn begin(&mut self) {
        let last_good = self.last_good.clone();
        let loaded = tokio::task::spawn_blocking(move || last_good.load()).await;
        let served = match loaded {
            Ok(Ok(Some(served))) => served,
            Ok(Ok(None)) | Err(_) => return,
            Ok(Err(reason)) => return self.status.folder(reason),
        };
        tracing::info!(
            generation = served.snapshot.generation().0,
            gateways = served.snapshot.gateways().len(),
            "the last good snapshot on disk is served"
        );
        self.reader = wire::v1::Reader::after(served.snapshot.clone());
        self.apply(served).await;
    }

    /// Whether anything is served.
    pub(crate) fn serves(&self) -> bool {
        self.served.is_some()
    }

    /// Takes what the store has without its document, if it is what is served, with nothing refused. Whether it is.
    pub(crate) fn take_again(&mut self, generation: Generation, digest: Digest) -> bool {
        let Some(served) = &mut self.served else {
            return false;
        };
        if served.digest != digest || !served.complete || !self.refused_serving.is_empty() {
            return false;
        }
        // Nothing to do but to say that it is served under this number too. Numbers do not go back.
        if generation > served.snapshot.generation() {
            let snapshot = served.snapshot.clone().with_generation(generation);
            served.snapshot = snapshot;
            self.saver.save(served.clone());
        }
        self.tell();
        true
    }

    /// Hands what the proxy may serve already to the saver, after [`Feed::take`] or [`Feed::retry`] was dropped half done.
    pub(crate) fn save_rest(&mut self) {
        if let Some(served) = self.applying.take() {
            self.saver.save(served);
        }
    }

    /// Takes what the store has.
    pub(crate) async fn take(&mut self, published: PublishedParts) {
        let (generation, digest) = (published.generation, published.digest);
        if self.take_again(generation, digest) {
            return;
        }
        if let Some(served) = &self.served {
            let now = served.snapshot.generation();
            if self.numbered && generation <= now && served.digest != digest {
                let reason = format!(
                    "generation went back: {generation} is published with another content than generation {now}, \
                     which is served; publish a generation above {now}"
                );
                self.refuse(Some(generation), &reason);
                return;
            }
        }
        let reading = match self.read(published.document).await {
            Ok(reading) => reading,
            Err(reason) => return self.refuse(Some(generation), &reason),
        };
        let inside = (reading.snapshot.generation(), reading.digest);
        if inside != (generation, digest) {
            let reason = format!(
                "the manifest says generation {generation} and {digest}, the document generation {} and {}",
                inside.0, inside.1
            );
            return self.refuse(Some(generation), &reason);
        }
        let before = self.served.as_ref().map(|served| &served.snapshot);
        let (snapshot, refused) = keeping(reading.snapshot, reading.refused, before);
        let complete = refused.is_empty();
        // The same content again, under an older number: numbers do not go back.
        let newest = match before {
            Some(before) if self.numbered => generation.max(before.generation()),
            _ => generation,
        };
        let snapshot = snapshot.with_generation(newest);
        self.refused_reading = refused;
        let served = Served {
            snapshot,
            digest,
            complete,
        };
        self.apply(served.clone()).await;
        self.saver.save(served);
    }

    /// Reads a document, on a thread for such work.
    async fn read(&mut self, document: wire::v1::Document) -> Result<wire::v1::Reading, String> {
        let mut reader = std::mem::take(&mut self.reader);
        let reading = tokio::task::spawn_blocking(move || {
            let reading = reader.read(&document);
            (reader, reading)
        });
        match reading.await {
            Ok((reader, reading)) => {
                self.reader = reader;
                reading.map_err(|error| error.to_string())
            }
            Err(error) => Err(format!("reading it failed: {error}")),
        }
    }

    /// Tries again what the proxy could not do, if anything: a port that was taken may be free now.
    pub(crate) async fn retry(&mut self) {
        if self.refused_serving.is_empty() {
            return;
        }
        if let Some(served) = self.served.clone() {
            self.apply(served).await;
        }
    }

    /// A document that cannot be used at all.
    pub(crate) fn refuse(&self, generation: Option<Generation>, reason: &str) {
        let number = generation.map(|generation| generation.0);
        // It is tried again and again.
        if self.status.refuses(generation, reason) {
            tracing::error!(
                generation = number,
                reason,
                "what is published is refused as a whole"
            );
        }
    }

    async fn apply(&mut self, served: Served) {
        self.applying = Some(served.clone());
        let applied = self
            .proxy
            .apply_keeping(&served.snapshot, served.digest, &[])
            .await;
        let generation = served.snapshot.generation().0;
        let again = self.served.as_ref().is_some_and(|before| before.is(&served))
            && applied.refused == self.refused_serving;
        if !again {
            for Refusal { gateway, reason } in self.refused_reading.iter().chain(&applied.refused) {
                tracing::warn!(generation, gateway, reason, "a gateway is refused");
            }
            tracing::info!(
                generation,
                digest = %served.digest,
                gateways = served.snapshot.gateways().len(),
                refused = self.refused_reading.len() + applied.refused.len(),
                "a snapshot is served"
            );
        }
        self.refused_serving = applied.refused;
        self.served = Some(served);
        self.applying = None;
        self.tell();
    }

    fn tell(&self) {
        let Some(served) = &self.served else { return };
        let refused: Vec<Refusal> = self
            .refused_reading
            .iter()
            .chain(&self.refused_serving)
            .cloned()
            .collect();
        self.status
            .serves(served.snapshot.generation(), served.digest, &refused);
    }
}

/// Gives gateways that were refused the form they had before, as far as that fits to the others. What fits
/// not is refused as well.
fn keeping(
    fresh: Snapshot,
    mut refused: Vec<Refusal>,
    before: Option<&Snapshot>,
) -> (Snapshot, Vec<Refusal>) {
    let Some(before) = before.filter(|_| !refused.is_empty()) else {
        return (fresh, refused);
    };
    let name = |gateway: &Arc<Gateway>| gateway.name.to_string();
    let named: HashSet<String> = fresh.gateways().iter().map(name).collect();
    let mut wanted: HashSet<&str> = refused.iter().map(|refusal| refusal.gateway.as_str()).collect();
    // A gateway whose name could not be read may be any of those that are not there.
    let any = wanted.remove("");
    let kept: Vec<Arc<Gateway>> = before
        .gateways()
        .iter()
        .filter(|gateway| !named.contains(gateway.name.as_str()))
        .filter(|gateway| any || wanted.contains(gateway.name.as_str()))
        .cloned()
        .collect();
    if kept.is_empty() {
        return (fresh, refused);
    }
    // The new ones first: of two that want one socket, the kept one gives way.
    let all = fresh.gateways().iter().cloned().chain(kept).collect();
    let (snapshot, problems) =
        Snapshot::sound_part_shared_after(&fresh, fresh.namespace(), fresh.generation(), all);
    refused.extend(problems.into_iter().map(|problem| Refusal {
        gateway: problem.gateway.to_string(),
        reason: format!("its last good form does not fit any more: {}", problem.kind),
    }));
    (snapshot, refused)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, path::Path, sync::Arc};

    use weir_model::{AgentId, Gateway, GatewayName, Generation, Listener, Protocol, Snapshot, Sticky};
    use weir_proxy::Proxy;
    use weir_store::{Expect, Store, memory::Memory, protocol};

    use super::{Feed, Served};
    use crate::{follow::Follower, last_good::LastGood, status::Status};

    fn served(generation: u64, gateways: Vec<Gateway>) -> Served {
        let snapshot = Snapshot::new("test", Generation(generation), gateways).unwrap();
        Served {
            digest: snapshot.digest(),
            snapshot,
            complete: true,
        }
    }

    fn gateway(address: &str, port: u16) -> Gateway {
        Gateway {
            options: weir_model::GatewayOptions::default(),
            name: GatewayName::new("shop").unwrap(),
            protocol: Protocol::Http,
            listener: Some(Listener {
                address: address.parse().unwrap(),
                port,
            }),
            virtual_hosts: Vec::new(),
            sticky: Sticky::None,
            routes: Vec::new(),
        }
    }

    fn feed(folder: &Path) -> (Proxy, Feed, Arc<Status>) {
        let id = AgentId::new("edge").unwrap();
        let status = Arc::new(Status::new(id, String::new(), "memory", String::new()));
        let config = weir_proxy::Config {
            workers: 1,
            ..weir_proxy::Config::default()
        };
        let proxy = Proxy::start(config).unwrap();
        let last_good = LastGood::in_folder(folder);
        let feed = Feed::new(proxy.clone(), last_good, Arc::clone(&status), true);
        (proxy, feed, status)
    }

    #[tokio::test]
    async fn what_is_served_already_is_saved_though_its_applying_was_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let (proxy, mut feed, _) = feed(folder.path());
        // Another address of the port is somebody else's, so that the port cannot be had on all addresses.
        let other = TcpListener::bind("127.0.0.2:0").unwrap();
        let port = other.local_addr().unwrap().port();
        feed.apply(served(1, vec![gateway("127.0.0.1", port)])).await;
        let second = served(2, vec![gateway("0.0.0.0", port)]);
        {
            let mut applying = Box::pin(feed.apply(second.clone()));
            assert!(
                futures::poll!(&mut applying).is_pending(),
                "it waits for the port"
            );
        }
        assert_eq!(proxy.serving().0, Generation(2));
        feed.save_rest();
        feed.saver().flush().await;
        assert_eq!(LastGood::in_folder(folder.path()).load(), Ok(Some(second)));
    }

    #[tokio::test]
    async fn what_is_served_already_is_taken_by_its_manifest_alone() {
        let folder = tempfile::tempdir().unwrap();
        let first = served(3, Vec::new());
        LastGood::in_folder(folder.path()).save(&first).unwrap();
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let published = first.snapshot.clone().with_generation(Generation(4));
        protocol::publish(&*store, "", &published, None).await.unwrap();
        let manifest = protocol::manifest_key("");
        for entry in store.list("").await.unwrap().0 {
            if entry.key != manifest {
                store.delete(&entry.key, Expect::Any).await.unwrap();
            }
        }
        let (_proxy, mut feed, status) = feed(folder.path());
        feed.begin().await;
        let mut follower = Follower {
            store: Arc::clone(&store),
            prefix: String::new(),
            feed,
            status: Arc::clone(&status),
            reader: protocol::Reader::new(),
            taken: None,
        };
        let found = store.place(&manifest).await.unwrap();
        follower.at(found).await.unwrap();
        assert_eq!(follower.taken, found);
        let told = status.acknowledgement();
        assert_eq!(
            (told.generation, told.digest),
            (Generation(4), Some(first.digest))
        );
        assert!(told.refused.is_empty(), "{told:?}");
        // Other content is read.
        store.delete(&manifest, Expect::Any).await.unwrap();
        let shop = Gateway {
            listener: None,
            virtual_hosts: vec!["shop.example".to_owned()],
            ..gateway("127.0.0.1", 1)
        };
        let other = served(5, vec![shop]);
        protocol::publish(&*store, "", &other.snapshot, None)
            .await
            .unwrap();
        follower.taken = None;
        let found = store.place(&manifest).await.unwrap();
        follower.at(found).await.unwrap();
        assert_eq!(status.acknowledgement().digest, Some(other.digest));
    }
}
