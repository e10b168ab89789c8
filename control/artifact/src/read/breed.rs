//! Breeds (spec of the artifacts, §2).

use indexmap::IndexMap;

use super::{
    common::{self, arguments, health_checks, key_name, kind, metadata, strict_key_name, trait_text},
    cursor::{Cursor, Table},
};
use crate::{Breed, Deployable, EnvironmentVariable, OrReference, PortValue, check, units};

/// Reads a breed from a map that is all breed. What cannot be read is left at its default: the problems are
/// noted, and names stay known to the checks.
pub(super) fn breed(mut table: Table<'_>) -> Breed {
    kind(&mut table, "breed");
    let breed = Breed {
        name: common::name(&mut table),
        metadata: metadata(&mut table),
        deployable: deployable(&mut table),
        ports: ports(&mut table),
        environment_variables: environment_variables(&mut table),
        constants: constants(&mut table),
        arguments: arguments(&mut table),
        dependencies: dependencies(&mut table),
        health_checks: health_checks(&mut table),
    };
    let cursor = table.cursor.clone();
    table.finish();
    cursor.check(|| check::breed_issues(&breed));
    breed
}

/// Reads a breed in place or a reference to one; an empty name is noted as a problem already.
pub(super) fn or_reference(cursor: &Cursor<'_>) -> OrReference<Breed> {
    if let Some(scalar) = cursor.scalar() {
        return OrReference::Reference(scalar.text.clone());
    }
    if let Some(name) = common::reference(cursor, "breed") {
        return OrReference::Reference(name);
    }
    match cursor.table() {
        Some(table) => OrReference::Inline(breed(table)),
        None => OrReference::Reference(String::new()),
    }
}

fn deployable(table: &mut Table<'_>) -> Deployable {
    let Some(cursor) = table.require("deployable") else {
        return Deployable::default();
    };
    if let Some(scalar) = cursor.scalar() {
        return Deployable {
            kind: None,
            definition: scalar.text.clone(),
        };
    }
    if !cursor.is_map() {
        cursor.unexpected_type("a text, or a map with a `definition`");
        return Deployable::default();
    }
    let Some(mut table) = cursor.table() else {
        return Deployable::default();
    };
    let kind = common::text(&mut table, "type");
    let definition = table
        .require("definition")
        .and_then(|cursor| cursor.text().map(str::to_owned));
    table.finish();
    Deployable {
        kind,
        definition: definition.unwrap_or_default(),
    }
}

fn ports(table: &mut Table<'_>) -> IndexMap<String, PortValue> {
    let Some(cursor) = table.take("ports") else {
        return IndexMap::new();
    };
    let mut ports = IndexMap::new();
    for (key, value) in cursor.pairs() {
        strict_key_name(&cursor, key, key);
        if value.is_null() {
            let hint = Some(units::PORT.to_owned());
            cursor.key_problem(
                key,
                "MissingPortValueError",
                format!("the port `{key}` has no value"),
                hint,
            );
        }
        let port = (!value.is_null())
            .then(|| trait_text(&value).and_then(|_| value.unit(units::port)))
            .flatten();
        let port = port.unwrap_or_else(|| PortValue {
            text: "0/http".to_owned(),
            number: 0,
            protocol: weir_model::Protocol::Http,
        });
        ports.insert(key.to_owned(), port);
    }
    ports
}

fn environment_variables(table: &mut Table<'_>) -> IndexMap<String, EnvironmentVariable> {
    let Some(cursor) = table.take_either(["environment_variables", "env"]) else {
        return IndexMap::new();
    };
    let mut variables = IndexMap::new();
    for (key, value) in cursor.pairs() {
        let (name, alias) = match key.strip_suffix(']').and_then(|key| key.split_once('[')) {
            Some((name, alias)) => (name, Some(alias)),
            None => (key, None),
        };
        strict_key_name(&cursor, key, name);
        if let Some(alias) = alias {
            strict_key_name(&cursor, key, alias);
        }
        let variable = EnvironmentVariable {
            alias: alias.map(str::to_owned),
            value: (!value.is_null()).then(|| trait_text(&value).unwrap_or_default().to_owned()),
        };
        variables.insert(name.to_owned(), variable);
    }
    variables
}

fn constants(table: &mut Table<'_>) -> IndexMap<String, String> {
    let Some(cursor) = table.take("constants") else {
        return IndexMap::new();
    };
    let mut constants = IndexMap::new();
    for (key, value) in cursor.pairs() {
        strict_key_name(&cursor, key, key);
        let text = if value.is_null() {
            let message = format!("the constant `{key}` has no value");
            cursor.key_problem(key, "MissingConstantValueError", message, None);
            None
        } else {
            trait_text(&value)
        };
        constants.insert(key.to_owned(), text.unwrap_or_default().to_owned());
    }
    constants
}

fn dependencies(table: &mut Table<'_>) -> IndexMap<String, OrReference<Box<Breed>>> {
    let Some(cursor) = table.take("dependencies") else {
        return IndexMap::new();
    };
    let mut dependencies = IndexMap::new();
    for (alias, value) in cursor.pairs() {
        key_name(&cursor, alias);
        if value.is_null() {
            continue;
        }
        let dependency = match value.has("breed") && !value.has("name") {
            false => or_reference(&value),
            true => match value.table() {
                Some(mut table) => {
                    let breed = table.take("breed").map(|cursor| or_reference(&cursor));
                    table.finish();
                    breed.unwrap_or_else(|| OrReference::Reference(String::new()))
                }
                None => continue,
            },
        };
        let dependency = match dependency {
            OrReference::Reference(name) => OrReference::Reference(name),
            OrReference::Inline(breed) => OrReference::Inline(Box::new(breed)),
        };
        dependencies.insert(alias.to_owned(), dependency);
    }
    dependencies
}
