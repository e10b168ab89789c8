//! How the sockets of gateways are used and the instances of routes reached, in the words of an edge's own document.

use serde_json::{Map, Value};
use weir_model::{
    GatewayOptions, RouteOptions,
    document::{self, DocumentProblem},
};

use super::cursor::{Cursor, Table};

pub(super) fn gateway(table: &mut Table<'_>) -> GatewayOptions {
    let options = document::gateway_options(taken(table, &document::GATEWAY_OPTIONS));
    kept(&table.cursor, "IllegalGatewayOption", options)
}

pub(super) fn route(table: &mut Table<'_>) -> RouteOptions {
    let options = document::route_options(taken(table, &document::ROUTE_OPTIONS));
    kept(&table.cursor, "IllegalRouteOption", options)
}

fn taken(table: &mut Table<'_>, keys: &[&'static str]) -> Map<String, Value> {
    let values = keys
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), table.take(key)?.to_value_as_written())));
    values.collect()
}

fn kept<T: Default>(cursor: &Cursor<'_>, code: &'static str, read: Result<T, Vec<DocumentProblem>>) -> T {
    read.unwrap_or_else(|problems| {
        for problem in problems {
            at(cursor, &problem.path).problem(code, problem.message);
        }
        T::default()
    })
}

/// As near to a place as there is something.
fn at<'a>(cursor: &Cursor<'a>, path: &str) -> Cursor<'a> {
    let mut cursor = cursor.clone();
    for step in path.split('/') {
        let next = match step.parse::<usize>() {
            Ok(index) if cursor.is_list() => cursor.items().into_iter().nth(index),
            _ => cursor.entry(step),
        };
        match next {
            Some(next) => cursor = next,
            None => break,
        }
    }
    cursor
}
