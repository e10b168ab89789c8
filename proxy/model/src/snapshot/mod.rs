//! Everything an agent serves, as one document.

mod check;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use thiserror::Error;

use crate::{Digest, Gateway, GatewayName, Generation, InstanceId, Protocol, wire};

/// Everything an agent serves at one moment. Checked as a whole: names are unique, chains end, no two
/// gateways want the same socket or virtual host, weights total 10 000 or nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    namespace: String,
    generation: Generation,
    digest: Digest,
    gateways: Vec<Gateway>,
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
        let problems = check::problems(&gateways);
        if problems.is_empty() {
            Ok(Self::seal(namespace.into(), generation, gateways))
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
        mut gateways: Vec<Gateway>,
    ) -> (Self, Vec<SnapshotProblem>) {
        let mut found = check::problems(&gateways);
        found.extend(check::consequences(&gateways, &found));
        let refused: HashSet<usize> = found.iter().map(|(index, _)| *index).collect();
        let problems = found
            .into_iter()
            .filter_map(|(index, kind)| named(&gateways, index, kind))
            .collect();
        let mut index = 0;
        gateways.retain(|_| {
            let is_sound = !refused.contains(&index);
            index += 1;
            is_sound
        });
        debug_assert!(
            check::problems(&gateways).is_empty(),
            "what is left has no problems"
        );
        (Self::seal(namespace.into(), generation, gateways), problems)
    }

    fn seal(namespace: String, generation: Generation, gateways: Vec<Gateway>) -> Self {
        let digest = wire::v1::digest(&gateways);
        Self {
            namespace,
            generation,
            digest,
            gateways,
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

    /// Digest of its gateways.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its gateways, in the order of the document.
    pub fn gateways(&self) -> &[Gateway] {
        &self.gateways
    }

    /// The gateway of that name.
    pub fn gateway(&self, name: &str) -> Option<&Gateway> {
        self.gateways.iter().find(|gateway| gateway.name.as_str() == name)
    }

    /// The same content under another number.
    #[must_use]
    pub fn with_generation(mut self, generation: Generation) -> Self {
        self.generation = generation;
        self
    }
}

fn named(gateways: &[Gateway], index: usize, kind: SnapshotProblemKind) -> Option<SnapshotProblem> {
    let gateway = gateways.get(index)?.name.clone();
    Some(SnapshotProblem { gateway, kind })
}
