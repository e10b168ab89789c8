//! Templates (spec of the artifacts, §11).

use serde_json::{Map, Value};

use super::{
    common::{kind, metadata, name},
    cursor::Table,
};
use crate::Template;

/// A template; its definition is free.
pub(super) fn template(mut table: Table<'_>) -> Template {
    kind(&mut table, "template");
    let name = name(&mut table);
    let metadata = metadata(&mut table);
    let definition = match table.take_either(["definition", "def"]) {
        None => Map::new(),
        Some(cursor) => match cursor.to_value_as_written() {
            Value::Object(definition) => definition,
            _ => {
                cursor.unexpected_type("a map");
                Map::new()
            }
        },
    };
    table.finish();
    Template {
        name,
        metadata,
        definition,
    }
}
