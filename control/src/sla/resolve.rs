//! References of slas to what they stand for. Vamp resolves none of them, so that they never work.

use std::{future::Future, pin::Pin};

use weir_artifact::{Artifact, ClusterSla, Escalation, Kind, OrReference, Sla};
use weir_persist::PersistError;

use crate::state::Shelf;

/// References inside references, this deep; those below stay as they are, which does nothing.
const DEPTH_MAX: usize = 8;

/// The sla that a cluster means; `None` if it names one that is not there.
pub(super) async fn sla(shelf: &Shelf, given: &ClusterSla) -> Result<Option<Sla>, PersistError> {
    match given {
        ClusterSla::Inline(sla) => Ok(Some(sla.clone())),
        ClusterSla::Reference(reference) => Ok(match shelf.artifact(Kind::Sla, &reference.name).await? {
            Some(Artifact::Sla(named)) => Some(Sla {
                escalation: reference.escalation.clone().or(named.sla.escalation),
                ..named.sla
            }),
            _ => None,
        }),
    }
}

/// An escalation with all that it refers to in place; `None` if it is itself a name that is not there. What is not
/// there further inside stays a reference.
pub(super) async fn escalation(
    shelf: &Shelf,
    given: OrReference<Escalation>,
) -> Result<Option<Escalation>, PersistError> {
    Ok(match resolved(shelf, given, 0).await? {
        OrReference::Inline(escalation) => Some(escalation),
        OrReference::Reference(_) => None,
    })
}

type Resolved<'a> = Pin<Box<dyn Future<Output = Result<OrReference<Escalation>, PersistError>> + Send + 'a>>;

fn resolved(shelf: &Shelf, given: OrReference<Escalation>, depth: usize) -> Resolved<'_> {
    Box::pin(async move {
        if depth >= DEPTH_MAX {
            return Ok(given);
        }
        let escalation = match given {
            OrReference::Inline(escalation) => escalation,
            OrReference::Reference(name) => match shelf.artifact(Kind::Escalation, &name).await? {
                Some(Artifact::Escalation(named)) => named.escalation,
                _ => return Ok(OrReference::Reference(name)),
            },
        };
        Ok(OrReference::Inline(match escalation {
            Escalation::ToAll(inner) => Escalation::ToAll(all(shelf, inner, depth).await?),
            Escalation::ToOne(inner) => Escalation::ToOne(all(shelf, inner, depth).await?),
            other => other,
        }))
    })
}

async fn all(
    shelf: &Shelf,
    inner: Vec<OrReference<Escalation>>,
    depth: usize,
) -> Result<Vec<OrReference<Escalation>>, PersistError> {
    let mut found = Vec::with_capacity(inner.len());
    for escalation in inner {
        found.push(resolved(shelf, escalation, depth + 1).await?);
    }
    Ok(found)
}
