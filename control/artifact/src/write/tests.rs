//! What is written reads back.

mod generate;

use proptest::{collection::vec, prelude::*};
use serde_json::Value;

use self::generate::{artifact, text, tree};
use super::{value, yaml};
use crate::{read, tree};

fn only(text: &str) -> tree::Node {
    let mut documents = tree::documents(text).unwrap_or_else(|problem| panic!("{problem}\n{text}"));
    assert_eq!(documents.len(), 1, "{text}");
    documents.remove(0)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn trees_read_back(tree in tree()) {
        let wrapped = serde_json::json!({ "a": tree });
        prop_assert_eq!(only(&yaml(&wrapped)).to_value(), wrapped.clone(), "{}", yaml(&wrapped));
        prop_assert_eq!(only(&wrapped.to_string()).to_value(), wrapped);
    }

    #[test]
    fn keys_read_back(keys in vec(prop_oneof![text(), "[a-z: ]{100,1500}"], 1..4)) {
        let tree: Value = Value::Object(keys.into_iter().map(|key| (key, Value::from(1))).collect());
        prop_assert_eq!(only(&yaml(&tree)).to_value(), tree.clone());
        prop_assert_eq!(only(&tree.to_string()).to_value(), tree);
    }

    #[test]
    fn artifacts_read_back(artifact in artifact()) {
        let (kind, value) = (artifact.kind(), value(&artifact));
        prop_assert_eq!(read::stored(kind, &value), Ok(artifact.clone()));
        prop_assert_eq!(read::unchecked(kind, &only(&value.to_string())), Ok(artifact.clone()));
        prop_assert_eq!(read::unchecked(kind, &only(&yaml(&value))), Ok(artifact));
    }

    #[test]
    fn checks_take_whatever_there_is(artifact in artifact()) {
        let text = yaml(&value(&artifact));
        let _ = read::one(artifact.kind(), &text);
        let _ = read::deploy_request(&text);
    }
}

#[test]
fn yaml_looks_as_people_write_it() {
    let tree = serde_json::json!({
        "name": "shop", "weight": "50%", "port": "8080", "ports": {"web": "8080/http"}, "flag": "yes", "empty": {}, "none": [],
        "services": [{"breed": {"reference": "front:1"}}, "x", ["a", ["b"]]],
        "script": "line one\n\n  line two\n", "nothing": null, "condition": "User-Agent == Chrome && has cookie x",
        "[10.0.0.1:80]": 1.5, "é": "naïve"
    });
    insta::assert_snapshot!(yaml(&tree), @r#"
    name: shop
    weight: 50%
    port: "8080"
    ports:
      web: 8080/http
    flag: "yes"
    empty: {}
    none: []
    services:
    - breed:
        reference: front:1
    - x
    - - a
      - - b
    script: |
      line one

        line two
    nothing: null
    condition: User-Agent == Chrome && has cookie x
    "[10.0.0.1:80]": 1.5
    é: naïve
    "#);
}
