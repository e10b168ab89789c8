//! What Vamp published for others: the list of gateways, and text for HAProxy.
//!
//! **Job.** Keeps `<prefix>/gateways` (JSON list) and `<prefix>/gateways/haproxy/<name>/configuration` in the store as the
//! gateways are, so that agents that run HAProxy and whatever reads those keys go on working; lets users replace the
//! template of the text.
//!
//! **Invariants.** A task of its own, at most once a second: neither a slow template nor a large text delays the
//! snapshot that Weir's own agents follow. A value is written only if it differs, and only over what was read. A text
//! that cannot be made leaves the last one.
//!
//! **Absent.** Weir's own agents read none of this: a template of a user's changes that text alone.

mod acl;
mod marshal;
mod template;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use thiserror::Error;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tokio_util::{bytes::Bytes, sync::CancellationToken};
use weir_artifact::{Artifact, Gateway, OrReference, Rewrite};
use weir_model::{Digest, Generation, Snapshot};
use weir_persist::{EventDraft, PersistError};
use weir_store::{Expect, Store, StoreError};

use self::marshal::{Rewrites, Sections};
use crate::{
    reconcile::{chain, load::Loader, settings, trouble, view},
    state::{State, now_ms},
};

pub(crate) use template::{DEFAULT, TemplateError};

/// The one type of text that is known.
pub(crate) const HAPROXY: &str = "haproxy";
/// Least time between two runs.
const PAUSE: Duration = Duration::from_secs(1);
/// Without a signal the store is looked at this often: a template may have been written there.
const REFRESH: Duration = Duration::from_secs(5);

/// What went wrong with a run.
#[derive(Debug, Error)]
pub(crate) enum VgaError {
    /// What is stored could not be loaded.
    #[error("what is stored could not be loaded")]
    Load(#[source] PersistError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// An event could not be stored.
    #[error("an event could not be stored")]
    Event(#[source] PersistError),
    /// A value is over the store's limit.
    #[error("{key} has {bytes} bytes, the store takes {limit}")]
    TooLarge {
        /// Which.
        key: String,
        /// Its length.
        bytes: usize,
        /// The store's limit.
        limit: usize,
    },
    /// Another control leads.
    #[error("another control leads")]
    NotLeading,
}

/// Starts the task; it ends soon after `stop` is cancelled.
pub(crate) fn start(state: Arc<State>, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut marshaller = Marshaller::default();
        let mut signal = state.wake.listen();
        loop {
            let begun = Instant::now();
            if state.leader.leads() {
                match marshaller.run(&state).await {
                    Ok(()) | Err(VgaError::NotLeading) => marshaller.is_told = false,
                    Err(error) => {
                        if !std::mem::replace(&mut marshaller.is_told, true) {
                            let error = chain(&error);
                            tracing::warn!(
                                error,
                                "the gateways could not be published for others; trying again"
                            );
                        }
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(begun + PAUSE) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = signal.woken() => {}
                () = sleep_until(begun + REFRESH) => {}
            }
        }
    })
}

/// What the last run made, so that the next one need not make it again.
#[derive(Debug, Default)]
struct Marshaller {
    loader: Loader,
    rendered: Vec<Rendered>,
    /// Problems that were said.
    said: BTreeSet<(String, String)>,
    /// The failure that lasts was logged.
    is_told: bool,
}

#[derive(Debug)]
struct Rendered {
    name: String,
    /// Digest of the gateways, the rewrites and the template.
    of: Digest,
    /// `None`: it could not be made.
    text: Option<String>,
}

impl Marshaller {
    async fn run(&mut self, state: &State) -> Result<(), VgaError> {
        let (sections, list, digest) = self.load(state).await?;
        let list = serde_json::to_string(&list).expect("plain data with text keys always serialises");
        put(state, &key(state, "gateways"), list.into_bytes()).await?;
        let sections = Arc::new(sections);
        let mut problems: BTreeSet<(String, String)> = sections.problems.iter().cloned().collect();
        for name in &state.config.haproxy {
            let template = read(&*state.store, &template_key(state, name))
                .await?
                .unwrap_or_default();
            let of = Digest::of(
                [digest.to_string().as_bytes(), template.as_bytes()]
                    .concat()
                    .as_slice(),
            );
            let known = self
                .rendered
                .iter()
                .find(|rendered| rendered.name == *name && rendered.of == of);
            let text = match known {
                Some(rendered) => rendered.text.clone(),
                None => {
                    let text = match render(template, Arc::clone(&sections)).await {
                        Ok(text) => Some(text),
                        Err(error) => {
                            let reason = format!("the template {HAPROXY}/{name} cannot be used: {error}");
                            problems.insert((String::new(), reason));
                            None
                        }
                    };
                    self.rendered.retain(|rendered| rendered.name != *name);
                    self.rendered.push(Rendered {
                        name: name.clone(),
                        of,
                        text: text.clone(),
                    });
                    text
                }
            };
            if let Some(text) = text
                && put(state, &configuration_key(state, name), text.into_bytes()).await?
            {
                tell(state, "configuration", name)
                    .await
                    .map_err(VgaError::Event)?;
            }
        }
        self.say(state, problems).await.map_err(VgaError::Event)
    }

    /// What is published, in Vamp's order, and a digest of all that the text is made of.
    async fn load(&mut self, state: &State) -> Result<(Sections, Vec<serde_json::Value>, Digest), VgaError> {
        let guard = state.write_lock.lock().await;
        let mut world = self.loader.routing(state).await.map_err(VgaError::Load)?;
        drop(guard);
        let lowered = weir_plan::lower(&world.gateways, &world.deployments, &settings(state));
        let (snapshot, _) = Snapshot::sound_part(&*state.config.namespace, Generation(0), lowered.gateways);
        let published: BTreeSet<String> = snapshot
            .gateways()
            .iter()
            .map(|gateway| gateway.name.to_string())
            .collect();
        view::show(&mut world.gateways, &world.deployments, &published, state);
        world.gateways.retain(|gateway| gateway.deployed);
        world
            .gateways
            .sort_by_key(|gateway| (gateway.name.split('/').count(), gateway.name.clone()));
        let rewrites = rewrites(&world.gateways);
        let sections = marshal::sections(snapshot.gateways(), &rewrites, &state.config.haproxy_sockets);
        let list: Vec<serde_json::Value> = world
            .gateways
            .into_iter()
            .map(|gateway| weir_artifact::write::value(&Artifact::Gateway(gateway)))
            .collect();
        let digest = Digest::of(format!("{} {rewrites:?}", snapshot.digest()).as_bytes());
        Ok((sections, list, digest))
    }

    /// Says each problem when it appears, not while it stays.
    async fn say(&mut self, state: &State, problems: BTreeSet<(String, String)>) -> Result<(), PersistError> {
        let events: Vec<EventDraft> = problems
            .difference(&self.said)
            .map(|(gateway, reason)| {
                tracing::warn!(
                    gateway,
                    reason,
                    "the text for HAProxy is not all that was asked for"
                );
                let tags = match gateway.as_str() {
                    "" => Vec::new(),
                    name => vec![format!("gateways:{name}")],
                };
                trouble("gateway_marshaller", tags, reason)
            })
            .collect();
        if !events.is_empty() {
            state.commit(Vec::new(), events).await?;
        }
        // What could not be made is not tried again before something changes, and stays said.
        let lasting = self.rendered.iter().any(|rendered| rendered.text.is_none());
        if lasting {
            self.said.extend(problems);
        } else {
            self.said = problems;
        }
        Ok(())
    }
}

/// Rewrites of the gateways' routes, as written.
fn rewrites(gateways: &[Gateway]) -> Rewrites {
    let mut all = Rewrites::new();
    for gateway in gateways {
        for (path, route) in &gateway.routes {
            let OrReference::Inline(route) = route else {
                continue;
            };
            let own: Vec<String> = route.rewrites.iter().filter_map(rule).collect();
            if !own.is_empty() {
                all.insert((gateway.name.clone(), path.clone()), own);
            }
        }
    }
    all
}

fn rule(rewrite: &Rewrite) -> Option<String> {
    match rewrite {
        Rewrite::Path(path) => Some(path.source().to_owned()),
        Rewrite::Reference(_) => None,
    }
}

/// Writes the text, beside the runtime: a template of a user's may take its time.
async fn render(template: String, sections: Arc<Sections>) -> Result<String, TemplateError> {
    tokio::task::spawn_blocking(move || template::render(&template, &sections))
        .await
        .expect("writing a text does not panic")
}

/// Below the prefix. An agent of Vamp's that was told a path in etcd looks for a child `value`.
fn key(state: &State, path: &str) -> String {
    let prefix = state.config.prefix.trim_matches('/');
    let child = if state.store.kind() == "etcd" {
        "/value"
    } else {
        ""
    };
    match prefix {
        "" => format!("{path}{child}"),
        prefix => format!("{prefix}/{path}{child}"),
    }
}

fn template_key(state: &State, name: &str) -> String {
    key(state, &format!("gateways/{HAPROXY}/{name}/template"))
}

fn configuration_key(state: &State, name: &str) -> String {
    key(state, &format!("gateways/{HAPROXY}/{name}/configuration"))
}

async fn read(store: &dyn Store, key: &str) -> Result<Option<String>, StoreError> {
    let entry = store.get(key).await?;
    Ok(entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned()))
}

/// Writes a value if it differs; whether it did.
async fn put(state: &State, key: &str, value: Vec<u8>) -> Result<bool, VgaError> {
    let limit = state.store.capabilities().value_bytes_max;
    if value.len() > limit {
        return Err(VgaError::TooLarge {
            key: key.to_owned(),
            bytes: value.len(),
            limit,
        });
    }
    let now = state.store.get(key).await?;
    if now.as_ref().is_some_and(|entry| entry.value == value) {
        return Ok(false);
    }
    // After the reading and before the writing: whoever leads meanwhile has written over what was read.
    if !state.leader.leads() {
        return Err(VgaError::NotLeading);
    }
    let expect = now.map_or(Expect::Absent, |entry| Expect::At(entry.revision));
    state.store.put(key, Bytes::from(value), expect, None).await?;
    Ok(true)
}

/// An event as Vamp's gateway driver told it.
async fn tell(state: &State, what: &str, name: &str) -> Result<(), PersistError> {
    let event = EventDraft {
        tags: vec![
            format!("marshaller:{what}"),
            format!("type:{HAPROXY}"),
            format!("name:{name}"),
        ],
        value: serde_json::Value::Null,
        timestamp_ms: now_ms(),
        kind: "event".to_owned(),
    };
    state.commit(Vec::new(), vec![event]).await?;
    Ok(())
}

/// The template as it is written in the store; the default one if none is.
pub(crate) async fn template(state: &State, name: &str) -> Result<String, VgaError> {
    let own = read(&*state.store, &template_key(state, name)).await?;
    Ok(own
        .filter(|template| !template.trim().is_empty())
        .unwrap_or_else(|| DEFAULT.to_owned()))
}

/// Why a template cannot be used, tried on the gateways of now.
pub(crate) async fn check(state: &State, template: &str) -> Result<Result<(), TemplateError>, VgaError> {
    let (sections, _, _) = Marshaller::default().load(state).await?;
    let rendered = render(template.to_owned(), Arc::new(sections)).await;
    Ok(rendered.map(|_| ()))
}

/// Writes a template, or removes it (`None`), and has the text made anew.
pub(crate) async fn set_template(state: &State, name: &str, template: Option<&str>) -> Result<(), VgaError> {
    let key = template_key(state, name);
    let changed = match template {
        Some(template) => put(state, &key, template.as_bytes().to_vec()).await?,
        None => state.store.delete(&key, Expect::Any).await?,
    };
    if changed {
        tell(state, "template", name).await.map_err(VgaError::Event)?;
    }
    state.wake.signal();
    Ok(())
}

/// The text that is published; `None` before the first.
pub(crate) async fn configuration(state: &State, name: &str) -> Result<Option<String>, VgaError> {
    Ok(read(&*state.store, &configuration_key(state, name)).await?)
}

#[cfg(test)]
mod tests;
