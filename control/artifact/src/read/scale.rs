//! Scales (spec of the artifacts, §3).

use super::{
    common::{anonymous, kind, metadata, name, reference},
    cursor::{Cursor, Table},
};
use crate::{NamedScale, OrReference, Scale, units};

/// A scale that is stored on its own.
pub(super) fn named(mut table: Table<'_>) -> Option<NamedScale> {
    kind(&mut table, "scale");
    let name = name(&mut table);
    let metadata = metadata(&mut table);
    let scale = values(table)?;
    Some(NamedScale {
        name,
        metadata,
        scale,
    })
}

/// A scale in place, or a reference.
pub(super) fn or_reference(cursor: &Cursor<'_>) -> Option<OrReference<Scale>> {
    if let Some(scalar) = cursor.scalar() {
        return Some(OrReference::Reference(scalar.text.clone()));
    }
    if let Some(name) = reference(cursor, "scale") {
        return Some(OrReference::Reference(name));
    }
    let mut table = cursor.table()?;
    anonymous(&mut table, "scale");
    values(table).map(OrReference::Inline)
}

fn values(mut table: Table<'_>) -> Option<Scale> {
    let cpu = table.require("cpu").and_then(|cursor| cursor.unit(units::cpu));
    let memory_mb = table
        .require("memory")
        .and_then(|cursor| cursor.unit(units::memory_mb));
    let instances = match table.take("instances") {
        None => Some(1),
        Some(cursor) => cursor.count(),
    };
    table.finish();
    Some(Scale {
        cpu: cpu?,
        memory_mb: memory_mb?,
        instances: instances?,
    })
}
