//! Everything an agent serves, as one document.

mod check;
mod share;
#[cfg(test)]
mod tests;

use std::{collections::HashSet, fmt, sync::Arc};

use thiserror::Error;

use crate::{Digest, Gateway, GatewayName, Generation, InstanceId, Protocol, wire};

/// Everything an agent serves at one moment. Checked as a whole: names are unique, chains end, no two
/// gateways want the same socket or virtual host, weights total 10 000 or nothing.
///
/// A copy costs nothing. A snapshot that follows another ([`Snapshot::sound_part_after`], [`wire::v1::Reader`]) has the same
/// allocation of each gateway that did not change, and the same text of it.
#[derive(Clone)]
pub struct Snapshot {
    namespace: Arc<str>,
    generation: Generation,
    digest: Digest,
    gateways: Arc<[Arc<Gateway>]>,
    text: wire::v1::Text,
}

/// Why a gateway cannot be part of a snapshot.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("gateway `{gateway}`: {kind}")]
pub struct SnapshotProblem {
    /// The gateway at fault.
    pub gateway: GatewayName,
    /// What is wrong.
    pub kind: SnapshotProblemKind,
}

/// What is wrong with a gateway of a snapshot.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SnapshotProblemKind {
    /// Two gateways have one name.
    #[error("the name is used twice")]
    DuplicateName,
    /// Two gateways want one socket.
    #[error("port {port} is already used by gateway `{other}`")]
    DuplicateListener {
        /// The port in question.
        port: u16,
        /// Who has it.
        other: GatewayName,
    },
    /// Two gateways want one virtual host.
    #[error("virtual host `{host}` is already used by gateway `{other}`")]
    DuplicateVirtualHost {
        /// The host in question.
        host: String,
        /// Who has it.
        other: GatewayName,
    },
    /// A route leads to a gateway that is refused itself.
    #[error("route `{route}` leads to gateway `{target}`, which is refused")]
    RefusedTarget {
        /// The route.
        route: String,
        /// Where it leads.
        target: GatewayName,
    },
    /// Two routes have one name.
    #[error("route `{0}` is there twice")]
    DuplicateRoute(String),
    /// The weights neither total 100 % nor are all zero.
    #[error("the weights of its routes total {} instead of 100% (or 0%)", percent(*.0))]
    WeightTotal(u32),
    /// A route leads to a gateway that is not there.
    #[error("route `{route}` leads to gateway `{target}`, which does not exist")]
    UnknownTarget {
        /// The route.
        route: String,
        /// Where it leads.
        target: GatewayName,
    },
    /// Following the routes comes back to the gateway.
    #[error("its routes lead back to itself: {0}")]
    Cycle(String),
    /// More gateways in a row than [`Snapshot::CHAIN_MAX`].
    #[error("more than {} gateways in a row", Snapshot::CHAIN_MAX)]
    ChainTooLong,
    /// A route leads to a gateway of the other protocol.
    #[error("route `{route}` leads from {from} to {to}")]
    ProtocolMismatch {
        /// The route.
        route: String,
        /// Protocol of this gateway.
        from: Protocol,
        /// Protocol of the target.
        to: Protocol,
    },
    /// Conditions look at requests, a TCP gateway has none.
    #[error("route `{0}` has a condition, which a tcp gateway cannot evaluate")]
    ConditionOnTcp(String),
    /// Stickiness is by cookie, a TCP gateway has none.
    #[error("a tcp gateway cannot be sticky")]
    StickyOnTcp,
    /// A listener or an instance has port 0.
    #[error("{0} has port 0")]
    PortZero(String),
    /// An instance has no host.
    #[error("instance `{0}` has no host")]
    EmptyHost(String),
    /// Two instances of a route have one name.
    #[error("route `{route}` has instance `{instance}` twice")]
    DuplicateInstance {
        /// The route.
        route: String,
        /// The instance.
        instance: InstanceId,
    },
    /// A form that could not be read at all.
    #[error("{0}")]
    Unreadable(String),
}

fn percent(parts: u32) -> String {
    format!("{}.{:02}%", parts / 100, parts % 100)
}

impl Snapshot {
    /// Most gateways that one request may cross.
    pub const CHAIN_MAX: usize = 8;

    /// Checks the gateways and seals them.
    ///
    /// # Errors
    /// Every problem of every gateway. [`Snapshot::sound_part`] gives the rest.
    pub fn new(
        namespace: impl Into<String>,
        generation: Generation,
        gateways: Vec<Gateway>,
    ) -> Result<Self, Vec<SnapshotProblem>> {
        Self::new_shared(namespace, generation, shared(gateways))
    }

    /// As [`Snapshot::new`], of gateways that others may hold, too.
    ///
    /// # Errors
    /// Every problem of every gateway. [`Snapshot::sound_part_shared`] gives the rest.
    pub fn new_shared(
        namespace: impl Into<String>,
        generation: Generation,
        gateways: Vec<Arc<Gateway>>,
    ) -> Result<Self, Vec<SnapshotProblem>> {
        let problems = check::problems(&gateways);
        if problems.is_empty() {
            let known = Known::default();
            Ok(Self::seal(
                namespace.into(),
                generation,
                gateways,
                &known,
                |_| None,
                None,
            ))
        } else {
            let gateways = gateways.as_slice();
            Err(problems
                .into_iter()
                .filter_map(|(index, kind)| named(gateways, index, kind))
                .collect())
        }
    }

    /// Takes the gateways that can be served and tells why the others cannot. A gateway whose route leads
    /// to a refused gateway is refused as well. Of two that want the same (a name, a socket, a virtual host)
    /// the first is taken: it is not known to be the wrong one.
    pub fn sound_part(
        namespace: impl Into<String>,
        generation: Generation,
        gateways: Vec<Gateway>,
    ) -> (Self, Vec<SnapshotProblem>) {
        Self::sound_part_shared(namespace, generation, shared(gateways))
    }

    /// As [`Snapshot::sound_part`], of gateways that others may hold, too.
    pub fn sound_part_shared(
        namespace: impl Into<String>,
        generation: Generation,
        gateways: Vec<Arc<Gateway>>,
    ) -> (Self, Vec<SnapshotProblem>) {
        let known = Known::default();
        Self::sound_part_knowing(namespace.into(), generation, gateways, &known)
    }

    /// As [`Snapshot::sound_part`], in the place of another snapshot, with which it shares what is equal: a change of one gateway
    /// costs little then.
    pub fn sound_part_after(
        before: &Self,
        namespace: impl Into<String>,
        generation: Generation,
        gateways: Vec<Gateway>,
    ) -> (Self, Vec<SnapshotProblem>) {
        let gateways = share::with(&before.gateways, gateways);
        Self::sound_part_shared_after(before, namespace, generation, gateways)
    }

    /// As [`Snapshot::sound_part_after`], of gateways that others may hold, too.
    pub fn sound_part_shared_after(
        before: &Self,
        namespace: impl Into<String>,
        generation: Generation,
        gateways: Vec<Arc<Gateway>>,
    ) -> (Self, Vec<SnapshotProblem>) {
        let known = Known {
            before: Some(before),
            ..Known::default()
        };
        Self::sound_part_knowing(namespace.into(), generation, gateways, &known)
    }

    /// As [`Snapshot::sound_part`], of gateways that were read from these texts. `digest` is that of all the texts, if known.
    pub(crate) fn sound_part_of_texts(
        namespace: String,
        generation: Generation,
        gateways: Vec<Arc<Gateway>>,
        texts: &[&str],
        digest: Option<Digest>,
        before: Option<&Self>,
    ) -> (Self, Vec<SnapshotProblem>) {
        let known = Known {
            texts,
            digest,
            before,
        };
        Self::sound_part_knowing(namespace, generation, gateways, &known)
    }

    /// What this text says, if all of it is sound. `digest` is that of the text.
    pub(crate) fn of_text(
        namespace: String,
        generation: Generation,
        text: wire::v1::Text,
        digest: Digest,
        before: Option<&Self>,
    ) -> Option<Self> {
        let sections = text.sections().iter();
        let gateways: Arc<[_]> = sections
            .flat_map(|section| section.gateways().iter().cloned())
            .collect();
        let before = before.map(|before| &*before.gateways);
        is_sound(&gateways, before).then(|| Self {
            namespace: namespace.into(),
            generation,
            digest,
            gateways,
            text,
        })
    }

    fn sound_part_knowing(
        namespace: String,
        generation: Generation,
        gateways: Vec<Arc<Gateway>>,
        known: &Known<'_>,
    ) -> (Self, Vec<SnapshotProblem>) {
        if is_sound(&gateways, known.before.map(|before| &*before.gateways)) {
            let text = |index: usize| known.texts.get(index).copied();
            let sealed = Self::seal(namespace, generation, gateways, known, text, known.digest);
            return (sealed, Vec::new());
        }
        let mut found = check::problems(&gateways);
        found.extend(check::consequences(&gateways, &found));
        let refused: HashSet<usize> = found.iter().map(|(index, _)| *index).collect();
        let problems = found
            .into_iter()
            .filter_map(|(index, kind)| named(&gateways, index, kind))
            .collect();
        let all = gateways.into_iter().enumerate();
        let (indexes, sound): (Vec<usize>, Vec<_>) =
            all.filter(|(index, _)| !refused.contains(index)).unzip();
        debug_assert!(check::problems(&sound).is_empty(), "what is left has no problems");
        let text = |index: usize| known.texts.get(*indexes.get(index)?).copied();
        (
            Self::seal(namespace, generation, sound, known, text, None),
            problems,
        )
    }

    fn seal<'t>(
        namespace: String,
        generation: Generation,
        gateways: Vec<Arc<Gateway>>,
        known: &Known<'_>,
        text_of: impl Fn(usize) -> Option<&'t str>,
        digest: Option<Digest>,
    ) -> Self {
        let before = known.before.map(|before| &before.text);
        let text = wire::v1::Text::of(&gateways, before, text_of);
        Self {
            namespace: namespace.into(),
            generation,
            digest: digest.unwrap_or_else(|| text.digest()),
            gateways: gateways.into(),
            text,
        }
    }

    /// Namespace it belongs to.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its number.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Digest of its gateways: of their text as it was read, or as [`wire::v1`] writes it.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its gateways, in the order of the document.
    pub fn gateways(&self) -> &[Arc<Gateway>] {
        &self.gateways
    }

    /// Its gateways as they stand in its document.
    pub fn sections(&self) -> &[Arc<wire::v1::Section>] {
        self.text.sections()
    }

    pub(crate) fn text(&self) -> &wire::v1::Text {
        &self.text
    }

    /// The gateway of that name.
    pub fn gateway(&self, name: &str) -> Option<&Arc<Gateway>> {
        self.gateways.iter().find(|gateway| gateway.name.as_str() == name)
    }

    /// The same content under another number.
    #[must_use]
    pub fn with_generation(mut self, generation: Generation) -> Self {
        self.generation = generation;
        self
    }
}

/// What is known of gateways beforehand.
#[derive(Default)]
struct Known<'k> {
    /// The texts that they were read from, in their order; empty: not known.
    texts: &'k [&'k str],
    /// Digest of all of them.
    digest: Option<Digest>,
    /// The snapshot in whose place they come.
    before: Option<&'k Snapshot>,
}

/// Snapshots are equal if they say the same; how their texts are cut does not count.
impl PartialEq for Snapshot {
    fn eq(&self, other: &Self) -> bool {
        let same = |(one, two): (&Arc<Gateway>, &Arc<Gateway>)| Arc::ptr_eq(one, two) || one == two;
        self.namespace == other.namespace
            && self.generation == other.generation
            && self.digest == other.digest
            && self.gateways.len() == other.gateways.len()
            && self.gateways.iter().zip(&*other.gateways).all(same)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("namespace", &self.namespace)
            .field("generation", &self.generation)
            .field("digest", &self.digest)
            .field("gateways", &self.gateways)
            .finish_non_exhaustive()
    }
}

/// Whether none has a problem; at a glance if they differ from those of a snapshot (sound, then) only in what concerns no other
/// gateway.
fn is_sound(gateways: &[Arc<Gateway>], before: Option<&[Arc<Gateway>]>) -> bool {
    before.is_some_and(|before| check::is_sound_after(gateways, before))
        || check::problems(gateways).is_empty()
}

fn shared(gateways: Vec<Gateway>) -> Vec<Arc<Gateway>> {
    gateways.into_iter().map(Arc::new).collect()
}

fn named(gateways: &[Arc<Gateway>], index: usize, kind: SnapshotProblemKind) -> Option<SnapshotProblem> {
    let gateway = gateways.get(index)?.name.clone();
    Some(SnapshotProblem { gateway, kind })
}
