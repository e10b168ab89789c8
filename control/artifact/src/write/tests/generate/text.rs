//! Texts, names and trees that are hard to write.

use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Map, Value};

/// Texts that YAML takes for something else unless they are quoted.
const NASTY: [&str; 62] = [
    "",
    " ",
    "8080",
    "yes",
    "No",
    "on",
    "y",
    "1.0",
    "1e3",
    "~",
    "null",
    "NULL",
    "true",
    ".inf",
    "-.inf",
    ".nan",
    "0x1f",
    "0o7",
    "010",
    "1_000",
    "12:30",
    "12:30:45",
    "2001-01-01",
    "+1",
    "-1",
    "-",
    "--",
    "---",
    "...",
    "- a",
    "? a",
    ": a",
    "a: b",
    "a:",
    "a :b",
    "#",
    "# a",
    "a # b",
    "a#b",
    "'a'",
    "\"a\"",
    "a'b",
    "[a]",
    "{a}",
    "a, b",
    "&a",
    "*a",
    "!a",
    "!!str a",
    "|",
    ">",
    "%a",
    "@a",
    "`a",
    "<<",
    "=",
    "\\",
    "$x",
    "${x}",
    "\u{85}",
    "\u{2028}",
    "\u{feff}",
];

pub(in crate::write::tests) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        select(&NASTY[..]).prop_map(str::to_owned),
        "\\PC{0,12}",
        "[ -~]{0,20}",
        "([a-z#:'\"\\- \t]{0,6}\n){0,4}[a-z ]{0,5}",
        any::<String>(),
    ]
}

pub(in crate::write::tests) fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_$é][A-Za-z0-9_:.$%-]{0,8}"
}

pub(in crate::write::tests) fn strict() -> impl Strategy<Value = String> {
    "p[A-Za-z0-9_:$%-]{0,8}"
}

pub(in crate::write::tests) fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((text(), inner), 0..4).prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

pub(in crate::write::tests) fn metadata() -> impl Strategy<Value = Map<String, Value>> {
    vec((text(), tree()), 0..3).prop_map(|entries| entries.into_iter().collect())
}
