//! From a published document to the proxy.
//!
//! **Job.** Decides what of a document is applied, applies it, has it saved, and says what became of it.
//!
//! **Invariants.** Numbers never go back. A gateway that is refused keeps its last good form; a document that
//! is refused changes nothing. Only the document removes a gateway, and only by not naming it.

use std::{collections::HashSet, sync::Arc};

use weir_model::{Gateway, Generation, Refusal, Snapshot, wire};
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

    /// Takes what the store has.
    pub(crate) async fn take(&mut self, published: PublishedParts) {
        let (generation, digest) = (published.generation, published.digest);
        if let Some(served) = &mut self.served {
            let now = served.snapshot.generation();
            let same = served.digest == digest;
            if self.numbered && generation <= now && !same {
                let reason = format!(
                    "generation went back: {generation} is published with another content than generation {now}, \
                     which is served; publish a generation above {now}"
                );
                self.refuse(Some(generation), &reason);
                return;
            }
            if same && served.complete && self.refused_serving.is_empty() {
                // Nothing to do but to say that it is served under this number too.
                if generation > now {
                    let snapshot = served.snapshot.clone().with_generation(generation);
                    served.snapshot = snapshot;
                    self.saver.save(served.clone());
                }
                self.tell();
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
        tracing::error!(
            generation = number,
            reason,
            "what is published is refused as a whole"
        );
        self.status.refuses(generation, reason);
    }

    async fn apply(&mut self, served: Served) {
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
