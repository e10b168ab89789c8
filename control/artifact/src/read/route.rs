//! Routes of gateways (spec of the artifacts, §7.1).

use weir_model::{ConditionStrength, PathRewrite, Weight};

use super::{
    common::{anonymous, kind, metadata, name, reference, text},
    condition,
    cursor::{Cursor, Table},
    gateway::{Place, is_path, no_selector},
    options,
};
use crate::{
    NamedRewrite, NamedRoute, OrReference, Rewrite, Route,
    problem::shown,
    prove,
    units::{self, PercentError},
};

/// Checks that a path can be one of a gateway at that place.
pub(super) fn check_path(at: &Cursor<'_>, path: &str, place: Place) {
    let parts = path.split('/').count();
    let (code, expected) = match place {
        Place::Own if is_path(path) || is_outside(path) => return,
        Place::Own => (
            "UnsupportedRoutePathError",
            "`gateway`, `deployment/port`, `deployment/cluster/port`, `deployment/cluster/service/port` or `[host:port]`",
        ),
        Place::External if is_path(path) && parts == 2 => return,
        Place::External => ("UnresolvedGatewayPortError", "`cluster/port`"),
        Place::Internal if is_path(path) && (parts == 1 || parts == 4) => return,
        Place::Internal => (
            "UnsupportedRoutePathError",
            "the name of a service of the cluster",
        ),
    };
    at.problem(code, format!("`{}` is not {expected}", shown(path)));
}

/// `[host:port]`.
fn is_outside(path: &str) -> bool {
    path.strip_prefix('[')
        .and_then(|path| path.strip_suffix(']'))
        .and_then(|target| target.rsplit_once(':'))
        .is_some_and(|(host, port)| {
            !host.is_empty()
                && !host.contains(char::is_whitespace)
                && port.bytes().all(|b| b.is_ascii_digit())
                && port.parse::<u16>().is_ok_and(|port| port != 0)
        })
}

/// A route in place, or a reference to a stored one.
pub(super) fn or_reference(cursor: &Cursor<'_>, place: Place) -> OrReference<Route> {
    if let Some(scalar) = cursor.scalar() {
        return OrReference::Reference(scalar.text.clone());
    }
    if let Some(name) = reference(cursor, "route") {
        return OrReference::Reference(name);
    }
    let Some(mut table) = cursor.table() else {
        return OrReference::Inline(Route::default());
    };
    anonymous(&mut table, "route");
    OrReference::Inline(body(table, place))
}

/// A route that is stored on its own.
pub(super) fn named(mut table: Table<'_>) -> NamedRoute {
    kind(&mut table, "route");
    let name = name(&mut table);
    let metadata = metadata(&mut table);
    let cursor = table.cursor.clone();
    let route = body(table, Place::Own);
    cursor.warn(|steps| prove::route(&route, steps));
    NamedRoute {
        name,
        metadata,
        route,
    }
}

fn body(mut table: Table<'_>, place: Place) -> Route {
    let is_internal = place == Place::Internal;
    let weight = match is_internal {
        true => "RouteWeightError",
        false => "GatewayRouteWeightError",
    };
    let strength = match is_internal {
        true => "RouteConditionStrengthError",
        false => "GatewayRouteConditionStrengthError",
    };
    let route = Route {
        weight: share(&mut table, "weight", weight).and_then(|parts| Weight::from_parts(parts).ok()),
        condition: table
            .take("condition")
            .and_then(|cursor| condition::or_reference(&cursor)),
        condition_strength: share(&mut table, "condition_strength", strength)
            .and_then(|parts| ConditionStrength::from_parts(parts).ok()),
        rewrites: table
            .take("rewrites")
            .map(|cursor| rewrites(&cursor))
            .unwrap_or_default(),
        // `default` is what it is if nothing is written.
        balance: text(&mut table, "balance").filter(|balance| balance != "default"),
        options: options::route(&mut table),
        targets: Vec::new(),
    };
    table.ignore(&["targets"]);
    no_selector(&mut table, "the path of a route says where it leads");
    table.finish();
    route
}

/// A percentage; its own code if it has the form but is more than everything.
fn share(table: &mut Table<'_>, key: &'static str, code: &'static str) -> Option<u64> {
    let cursor = table.take(key)?;
    match units::percent(cursor.text()?) {
        Ok(parts) => Some(u64::from(parts)),
        Err(PercentError::Form) => {
            cursor.unexpected_type(units::PERCENT);
            None
        }
        Err(PercentError::Range) => {
            let text = cursor.text().unwrap_or_default();
            cursor.problem(
                code,
                format!("expected {}, found `{}`", units::PERCENT, shown(text)),
            );
            None
        }
    }
}

fn rewrites(cursor: &Cursor<'_>) -> Vec<Rewrite> {
    cursor.items_or_self().iter().filter_map(rewrite).collect()
}

fn rewrite(cursor: &Cursor<'_>) -> Option<Rewrite> {
    if let Some(scalar) = cursor.scalar() {
        return Some(Rewrite::Reference(scalar.text.clone()));
    }
    if let Some(name) = reference(cursor, "rewrite") {
        return Some(Rewrite::Reference(name));
    }
    let mut table = cursor.table()?;
    anonymous(&mut table, "rewrite");
    let path = table.require("path");
    table.finish();
    path_rewrite(&path?).map(Rewrite::Path)
}

/// A rewrite that is stored on its own.
pub(super) fn named_rewrite(mut table: Table<'_>) -> Option<NamedRewrite> {
    kind(&mut table, "rewrite");
    let name = name(&mut table);
    let metadata = metadata(&mut table);
    let path = table.require("path");
    table.finish();
    Some(NamedRewrite {
        name,
        metadata,
        path: path_rewrite(&path?)?,
    })
}

fn path_rewrite(cursor: &Cursor<'_>) -> Option<PathRewrite> {
    const CODE: &str = "UnsupportedPathRewriteError";
    match PathRewrite::parse(cursor.text()?) {
        Ok(rewrite) => Some(rewrite),
        Err(error) => {
            match cursor.place_inside(error.position) {
                Some(position) => cursor.problem_at(CODE, error.message, None, Some(position)),
                // The place inside is only in the words then.
                None => cursor.problem(CODE, error.to_string()),
            }
            None
        }
    }
}
