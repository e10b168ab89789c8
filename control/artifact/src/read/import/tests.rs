//! Problems beside imports, and documents that import each other.

use serde_json::{Value, json};

use crate::{
    Kind, Problem,
    read::{Documents, Expected, Found, Import, Library, Request},
};

fn nobody(_: &Import) -> Option<Value> {
    None
}

fn base(import: &Import) -> Option<Value> {
    (import.name == "base").then(|| json!({"definition": {"deployable": "stored", "ports": {"web": 80}}}))
}

fn told(problems: &[Problem]) -> Vec<(&'static str, &str, usize)> {
    problems
        .iter()
        .map(|problem| {
            let line = problem.position.map_or(0, |position| position.line);
            (problem.code, problem.path.as_str(), line)
        })
        .collect()
}

#[test]
fn a_wrong_import_hides_no_other_problem() {
    let text = "\
- kind: breed
  name: a b
  import:
  - base
  - none
  wrong: 1
- kind: breed
  name: c
  deployable: x
  import: []
  ports: {web: many}
- kind: breed
  name: d
- kind: blueprint
  name: e
  import: [{a: b}]
  clusters: {c: {breed: {name: f, deployable: x}, scale: {cpu: a lot, memory: 1}}}
";
    let problems = Documents::parse(text)
        .unwrap()
        .complete(base)
        .requests()
        .unwrap_err();
    assert_eq!(
        told(&problems),
        [
            ("IllegalName", "0/name", 2),
            ("ImportReferenceError", "0/import", 5),
            ("UnexpectedElement", "0/wrong", 6),
            ("EmptyImportError", "1/import", 10),
            // What others do not import is missing.
            ("MissingPathValueError", "2/deployable", 12),
            ("ImportDefinitionError", "3/import/0", 16),
            ("UnexpectedTypeError", "3/clusters/c/services/0/scale/cpu", 17),
            ("UnexpectedTypeError", "3/clusters/c/services/0/scale/memory", 17),
        ]
    );
}

#[test]
fn what_an_unknown_import_may_bring_is_not_missed() {
    let text = "{kind: blueprint, name: a, import: none, gateways: {80: front/web}}";
    let documents = || Documents::parse(text).unwrap();
    let problems = documents().requests().unwrap_err();
    assert_eq!(told(&problems), [("ImportReferenceError", "import", 1)]);
    let checked = documents().complete(nobody).check(Expected::Requests);
    assert_eq!((checked.documents, checked.problems.len()), (1, 0));
    assert_eq!(
        told(&checked.unknown_imports),
        [("ImportReferenceError", "import", 1)]
    );
    let checked = documents().complete(nobody).check(Expected::One(Kind::Breed));
    assert_eq!(
        told(&checked.problems),
        [
            ("InconsistentArtifactKind", "kind", 1),
            ("UnexpectedElement", "gateways", 1)
        ]
    );
    let known = |_: &Import| Some(json!({"definition": {"metadata": {}}}));
    let checked = documents().complete(known).check(Expected::Requests);
    assert!(checked.unknown_imports.is_empty());
    assert!(!checked.problems.is_empty(), "it is whole, and has no service");
}

fn deployables(text: &str, find: fn(&Import) -> Option<Value>) -> Vec<String> {
    let read = Documents::parse(text).unwrap().complete(find).requests().unwrap();
    read.value
        .iter()
        .filter_map(|request| match request {
            Request::Artifact(artifact) => {
                let value = crate::write::value(artifact);
                Some(value.pointer("/deployable/definition")?.as_str()?.to_owned())
            }
            Request::Deploy(..) => None,
        })
        .collect()
}

#[test]
fn documents_of_one_text_import_each_other() {
    let text = "
- {kind: breed, name: last, import: breeds/middle}
- {kind: breed, name: middle, import: own, env: {A: 1}}
- {kind: template, name: own, definition: {deployable: here}}
- {kind: breed, name: other, import: base}
";
    assert_eq!(deployables(text, base), ["here", "here", "stored"]);
    // The one of the text is newer than that which is there.
    let newer = "
- {kind: template, name: base, definition: {deployable: newer}}
- {kind: breed, name: a, import: base}
";
    assert_eq!(deployables(newer, base), ["newer"]);
    let itself = "
- {kind: breed, name: base, import: breeds/base}
- {kind: breed, name: other, import: breeds/base}
";
    let stored = |_: &Import| Some(json!({"name": "base", "deployable": "older"}));
    assert_eq!(deployables(itself, stored), ["older", "older"]);
    let circle = "
- {kind: breed, name: a, import: breeds/b}
- {kind: breed, name: b, import: breeds/a}
";
    let refused = Documents::parse(circle)
        .unwrap()
        .complete(nobody)
        .requests()
        .unwrap_err();
    assert!(!refused.is_empty());
}

#[test]
fn a_library_has_documents_of_several_texts() {
    let mut library = Library::default();
    for (text, kind) in [
        ("{name: own, def: {deployable: x}}", Some(Kind::Template)),
        ("{kind: breed, name: a, import: own, env: {A: 1}}", None),
        ("{name: nobody}", None),
    ] {
        library.add(&Documents::parse(text).unwrap(), kind);
    }
    let import = |kind, name: &str| Import {
        kind,
        name: name.to_owned(),
    };
    let Found::Body(found) = library.find(&import(Kind::Breed, "a"), nobody) else {
        panic!("it is there")
    };
    assert_eq!(found["deployable"], json!({"definition": "x"}));
    // As it is printed, not as it is written.
    assert_eq!(found["environment_variables"], json!({"A": "1"}));
    assert_eq!(
        library.find(&import(Kind::Breed, "nobody"), nobody),
        Found::Nothing
    );
    assert_eq!(
        library.find(&import(Kind::Template, "beyond"), |_| Some(json!(1))),
        Found::Body(json!(1))
    );
}

/// Not of imports, but of texts of earlier versions as well.
#[test]
fn services_of_vamp_0_9_2_have_their_dialects() {
    let text = "{name: a, clusters: {c: {breed: b, docker: {Privileged: true}, marathon: {x: [1]}}}}";
    let read = Documents::parse(text).unwrap().one(Kind::Blueprint).unwrap();
    let service = crate::write::value(&read.value)["clusters"]["c"]["services"][0].clone();
    assert_eq!(
        service["dialects"],
        json!({"docker": {"Privileged": true}, "marathon": {"x": [1]}})
    );
    let warned: Vec<_> = read
        .warnings
        .iter()
        .map(|warning| (warning.code, warning.path.as_str()))
        .collect();
    assert_eq!(
        warned,
        [
            ("OldDialect", "clusters/c/services/0/docker"),
            ("OldDialect", "clusters/c/services/0/marathon")
        ]
    );
    let wrong =
        "{name: a, clusters: {c: {breed: b, docker: 1, rancher: {}, dialects: {rancher: {}}, mesos: {}}}}";
    let problems = Documents::parse(wrong).unwrap().one(Kind::Blueprint).unwrap_err();
    let mut codes: Vec<_> = problems
        .iter()
        .map(|problem| (problem.code, problem.path.as_str()))
        .collect();
    codes.sort_unstable();
    assert_eq!(
        codes,
        [
            ("UnexpectedElement", "clusters/c/services/0/mesos"),
            ("UnexpectedElement", "clusters/c/services/0/rancher"),
            ("UnexpectedTypeError", "clusters/c/services/0/docker"),
        ]
    );
}

/// A text that imports much again and again is refused, not multiplied.
#[test]
fn what_is_imported_counts() {
    let many: Vec<u32> = (0..60_000).collect();
    let find = |_: &Import| Some(json!({"definition": {"metadata": {"m": many}}}));
    let one = "- {kind: breed, name: a, deployable: b, import: x}\n";
    let read = |count| {
        Documents::parse(&one.repeat(count))
            .unwrap()
            .complete(find)
            .requests()
    };
    assert!(read(3).is_ok());
    let problems = read(40).unwrap_err();
    assert!(
        problems.iter().any(|problem| problem.code == "YamlParsingError"),
        "{problems:?}"
    );
    assert!(problems.len() < 40);
}

/// Documents that multiply each other: a template of many values that each of `count` imports, and a first that imports
/// those.
fn bomb(count: usize) -> String {
    let values = "1,".repeat(150_000);
    let all: String = (0..count).map(|number| format!("breeds/b{number},")).collect();
    let each: String = (0..count)
        .map(|number| format!("- {{kind: breed, name: b{number}, import: t, metadata: {{n: {number}}}}}\n"))
        .collect();
    format!(
        "- {{kind: breed, name: first, import: [{all}], deployable: x}}\n{each}\
         - {{kind: template, name: t, definition: {{deployable: x, metadata: {{m: [{values}]}}}}}}\n"
    )
}

#[test]
fn what_documents_bring_into_each_other_counts() {
    let problems = Documents::parse(&bomb(40))
        .unwrap()
        .complete(nobody)
        .check(Expected::Requests)
        .problems;
    let told: Vec<_> = problems
        .iter()
        .filter(|problem| problem.message.contains("imports that bring"))
        .map(|problem| (problem.code, problem.path.as_str()))
        .collect();
    assert_eq!(told, [("YamlParsingError", "0/import")], "{problems:?}");
    // What was put together is bounded, and what is asked for later is refused as well.
    let mut library = Library::default();
    library.add(&Documents::parse(&bomb(40)).unwrap(), None);
    let found: Vec<Found> = (0..40)
        .map(|number| {
            let name = format!("b{number}");
            let kind = Kind::Breed;
            library.find(&Import { kind, name }, nobody)
        })
        .collect();
    let bodies = found
        .iter()
        .filter(|found| matches!(found, Found::Body(_)))
        .count();
    assert!((2..6).contains(&bodies), "{bodies}");
    let refused = found.iter().filter(|found| **found == Found::TooMuch).count();
    assert_eq!(bodies + refused, 40);
}

/// What takes the place of what was imported does not make the work undone.
#[test]
fn what_is_imported_in_vain_counts() {
    let many: Vec<u32> = (0..60_000).collect();
    let find = |_: &Import| Some(json!({"definition": {"metadata": {"m": many}}}));
    let one = "- {kind: breed, name: a, deployable: b, import: x, metadata: {m: 1}}\n";
    let read = |count| {
        Documents::parse(&one.repeat(count))
            .unwrap()
            .complete(find)
            .requests()
    };
    assert!(read(3).is_ok());
    let problems = read(40).unwrap_err();
    assert!(
        problems
            .iter()
            .any(|problem| problem.message.contains("imports that bring")),
        "{problems:?}"
    );
}
