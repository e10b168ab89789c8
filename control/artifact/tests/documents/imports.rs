//! Documents that import others.

use serde_json::{Value, json};
use weir_artifact::{
    Artifact, Kind,
    read::{Documents, Import},
    write,
};

fn import(kind: Kind, name: &str) -> Import {
    Import {
        kind,
        name: name.to_owned(),
    }
}

fn shelf(import: &Import) -> Option<Value> {
    Some(match (import.kind, import.name.as_str()) {
        (Kind::Template, "base") => {
            json!({"name": "base", "kind": "template", "metadata": {}, "definition": {
                "deployable": "acme/base", "environment_variables": {"A": "1", "B": "1"}, "metadata": {"tags": [1, 2]},
            }})
        }
        (Kind::Template, "more") => json!({"definition": {
            "environment_variables": {"B": "2"}, "metadata": {"tags": [2, 3], "deep": {"a": 1}},
        }}),
        (Kind::Breed, "front:1") => {
            json!({"name": "front:1", "kind": "breed", "deployable": "x", "ports": {"web": "80/http"}})
        }
        _ => return None,
    })
}

#[test]
fn what_is_imported_is_merged_and_the_own_body_wins() {
    let text = "
        name: shop
        import: [base, more, breeds/front:1]
        environment_variables: {C: 3, A: 7}
        metadata: {tags: [4, 1], deep: {b: 2}}";
    let documents = Documents::parse(text).unwrap();
    assert_eq!(
        documents.imports(),
        [
            import(Kind::Template, "base"),
            import(Kind::Template, "more"),
            import(Kind::Breed, "front:1")
        ]
    );
    let read = documents.complete(shelf).one(Kind::Breed).unwrap();
    let value = write::value(&read.value);
    assert_eq!(value["name"], "shop");
    assert_eq!(value["deployable"], json!({"definition": "x"}));
    assert_eq!(value["ports"], json!({"web": "80/http"}));
    assert_eq!(
        value["environment_variables"],
        json!({"A": "7", "B": "2", "C": "3"})
    );
    assert_eq!(
        value["metadata"],
        json!({"tags": [1, 2, 3, 4], "deep": {"a": 1, "b": 2}})
    );
}

#[test]
fn faults_of_what_is_imported_are_where_it_is_imported() {
    let bad = |_: &Import| Some(json!({"definition": {"nobody": 1, "ports": {"a b": 1}}}));
    let text = "name: a\ndeployable: b\nimport: x\n";
    let documents = Documents::parse(text).unwrap().complete(bad);
    let problems = documents.one(Kind::Breed).unwrap_err();
    let found: Vec<_> = problems
        .iter()
        .map(|problem| {
            (
                problem.code,
                problem.path.as_str(),
                problem.position.unwrap().line,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("IllegalStrictName", "ports/a b", 3),
            ("UnexpectedElement", "nobody", 3)
        ]
    );
}

#[test]
fn nothing_found_is_a_problem_of_each() {
    let text = "- {kind: breed, name: a, deployable: b, import: [base, none]}\n- {kind: blueprint, name: b, import: gateways/a/b}\n";
    let documents = Documents::parse(text).unwrap();
    assert_eq!(documents.imports().len(), 3);
    let problems = documents.complete(shelf).many().unwrap_err();
    let found: Vec<_> = problems
        .iter()
        .map(|problem| (problem.code, problem.path.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            ("ImportReferenceError", "0/import"),
            ("ImportReferenceError", "1/import")
        ]
    );
    assert!(problems[1].message.contains("gateway `a/b`"), "{}", problems[1]);
}

#[test]
fn imports_may_be_all_there_is() {
    let documents = Documents::parse("import: breeds/front:1").unwrap();
    let read = documents.complete(shelf).one(Kind::Breed).unwrap();
    assert!(matches!(&read.value, Artifact::Breed(breed) if breed.name == "front:1"));
    assert_eq!(Documents::parse("name: a").unwrap().imports(), []);
    let many = (0..65).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    let problems = Documents::parse(&format!("import: [{many}]"))
        .unwrap()
        .one(Kind::Breed);
    assert_eq!(problems.unwrap_err()[0].code, "ImportDefinitionError");
}
