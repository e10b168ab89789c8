//! Whatever is read never panics.

use proptest::{collection::vec, prelude::*};

use crate::{Kind, read, value, write};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        everything(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn yaml_like_texts_never_panic(text in "([\\[\\]{}:,?|>&*!%@`'\"#~<=$. \n\t-]|a|b|name|: |- |\n  ){0,60}") {
        everything(&text);
    }

    #[test]
    fn broken_documents_never_panic(seed in any::<prop::sample::Index>(), cut in any::<(prop::sample::Index, u8)>(), paste in "[\\[\\]{}:,?|>&*!'\"#~<$. \n-]{0,4}") {
        let documents = [
            include_str!("../../testdata/good/breed.txt"),
            include_str!("../../testdata/good/blueprint.txt"),
            include_str!("../../testdata/good/gateway.txt"),
            include_str!("../../testdata/good/deployment.txt"),
            include_str!("../../testdata/bad/blueprint.txt"),
            include_str!("../../testdata/bad/breed.txt"),
        ];
        let sections: Vec<&str> = documents.iter().flat_map(|text| text.split("=== ")).filter_map(|text| Some(text.split_once('\n')?.1)).collect();
        let characters: Vec<char> = seed.get(&sections).chars().collect();
        prop_assume!(!characters.is_empty());
        let from = cut.0.index(characters.len());
        let to = (from + usize::from(cut.1) % 16).min(characters.len());
        let broken: String = characters[..from].iter().copied().chain(paste.chars()).chain(characters[to..].iter().copied()).collect();
        everything(&broken);
    }
}

fn everything(text: &str) {
    for kind in Kind::ALL {
        if let Ok(artifact) = read::one(kind, text) {
            let _ = write::yaml(&write::value(&artifact));
        }
    }
    let _ = read::many(text);
    let _ = read::deploy_request(text);
    let _ = read::scale(text);
    let _ = value::parse(text);
}
