//! Documents of version 1.x as they stand in stores and on disks. A file here never changes: a reader of any
//! later program must take it as it was taken when it was written.

use super::{WireError, read, write};
use crate::{Digest, Generation, Snapshot};

const FULL: &str = include_str!("../../../testdata/v1/full.json");
const REWRITES: &str = include_str!("../../../testdata/v1/rewrites.json");
const EMPTY: &str = include_str!("../../../testdata/v1/empty.json");
const FUTURE_MINOR: &str = include_str!("../../../testdata/v1/future_minor.json");
const FUTURE_MAJOR: &str = include_str!("../../../testdata/v1/future_major.json");
const WRONG_DIGEST: &str = include_str!("../../../testdata/v1/wrong_digest.json");
const FAULTY_GATEWAYS: &str = include_str!("../../../testdata/v1/faulty_gateways.json");

fn names(snapshot: &Snapshot) -> Vec<&str> {
    snapshot
        .gateways()
        .iter()
        .map(|gateway| gateway.name.as_str())
        .collect()
}

#[test]
fn what_is_of_today_is_written_as_it_was_read() {
    for (text, generation, count) in [(FULL, u64::MAX, 4), (REWRITES, 7, 1), (EMPTY, 0, 0)] {
        let reading = read(text.as_bytes()).unwrap();
        assert!(reading.refused.is_empty(), "{:?}", reading.refused);
        assert_eq!(reading.snapshot.generation(), Generation(generation));
        assert_eq!(reading.snapshot.gateways().len(), count);
        assert_eq!(reading.snapshot.digest(), reading.digest);
        assert_eq!(String::from_utf8(write(&reading.snapshot)).unwrap(), text);
    }
}

#[test]
fn the_full_document_means_what_it_meant() {
    let snapshot = read(FULL.as_bytes()).unwrap().snapshot;
    assert_eq!(snapshot.namespace(), "vamp/ünits");
    insta::assert_debug_snapshot!(snapshot.gateways());
}

#[test]
fn rewrites_are_read_and_one_that_is_none_refuses_its_gateway() {
    let snapshot = read(REWRITES.as_bytes()).unwrap().snapshot;
    let rewrites = &snapshot.gateways()[0].routes[0].options.rewrites;
    let sources: Vec<_> = rewrites.iter().map(|rewrite| rewrite.source()).collect();
    assert_eq!(
        sources,
        [
            "/img/%[path] if path_end .jpg",
            "%[path,regsub(^/api,)] if { path_beg /api } !{ method POST }"
        ]
    );
    let faulty = REWRITES.replace("if path_end .jpg", "if nobody knows");
    let WireError::Digest { stated, actual } = read(faulty.as_bytes()).unwrap_err() else {
        panic!("the digest is of other content");
    };
    let faulty = faulty.replace(&stated.to_string(), &actual.to_string());
    let refused = read(faulty.as_bytes()).unwrap().refused;
    assert_eq!(refused.len(), 1);
    assert!(
        refused[0].reason.contains("`nobody` is not supported"),
        "{}",
        refused[0].reason
    );
}

#[test]
fn the_generation_is_not_in_the_digest() {
    let snapshot = read(FULL.as_bytes()).unwrap().snapshot;
    let next = snapshot.clone().with_generation(Generation(5));
    assert_eq!(next.digest(), snapshot.digest());
    assert_eq!(read(&write(&next)).unwrap().snapshot, next);
}

#[test]
fn additions_of_later_minor_versions_are_passed_over() {
    let reading = read(FUTURE_MINOR.as_bytes()).unwrap();
    assert!(reading.refused.is_empty(), "{:?}", reading.refused);
    assert_eq!(names(&reading.snapshot), ["shop"]);
    // They are in the digest, and in what is written again.
    assert!(FUTURE_MINOR.contains(&reading.digest.to_string()));
    assert_eq!(reading.snapshot.digest(), reading.digest);
}

#[test]
fn another_major_version_is_refused_whatever_its_shape() {
    let error = read(FUTURE_MAJOR.as_bytes()).unwrap_err();
    assert!(
        matches!(&error, WireError::Version(version) if version == "2.0"),
        "{error}"
    );
    for version in ["10.0", "", "0.9", "v1"] {
        let text = FULL.replacen("1.0", version, 1);
        assert!(
            matches!(read(text.as_bytes()), Err(WireError::Version(_))),
            "{version}"
        );
    }
}

#[test]
fn a_document_that_was_altered_is_refused() {
    let error = read(WRONG_DIGEST.as_bytes()).unwrap_err();
    let WireError::Digest { stated, actual } = error else {
        panic!("{error}");
    };
    assert_eq!(stated.to_string(), format!("sha256:{}", "0".repeat(64)));
    assert_eq!(actual, Digest::of(br#"[{"name":"closed","routes":[]}]"#));

    let altered = FULL.replacen("9000", "9001", 1);
    assert!(matches!(read(altered.as_bytes()), Err(WireError::Digest { .. })));
}

#[test]
fn a_document_that_was_cut_is_refused() {
    for length in (0..FULL.len()).filter(|length| FULL.is_char_boundary(*length)) {
        let (cut, _) = FULL.split_at(length);
        assert!(
            matches!(read(cut.as_bytes()), Err(WireError::Malformed(_))),
            "after {length} bytes"
        );
    }
    assert!(matches!(read(b"\xff"), Err(WireError::Malformed(_))));
}

#[test]
fn faulty_gateways_are_refused_by_name_and_the_rest_is_read() {
    let reading = read(FAULTY_GATEWAYS.as_bytes()).unwrap();
    assert_eq!(names(&reading.snapshot), ["sound", "leads to sound"]);
    assert_eq!(reading.snapshot.gateways()[0].routes.len(), 1);
    assert!(FAULTY_GATEWAYS.contains(&reading.digest.to_string()));
    let refused: Vec<_> = reading
        .refused
        .iter()
        .map(|refusal| (refusal.gateway.as_str(), &*refusal.reason))
        .collect();
    let expected = [
        (
            "bad condition",
            "condition of route `a`: expected `==` or `!=`, found `~` (at character 6)",
        ),
        ("unknown balance", "unknown variant `ring_hash`"),
        (
            "too heavy",
            "10001 is more than 10000 parts per ten thousand (100%)",
        ),
        (
            "two targets",
            "route `a` must lead either to a gateway or to instances",
        ),
        ("#5", "missing field `name`"),
        (
            "leads to bad",
            "route `a` leads to gateway `bad condition`, which is refused",
        ),
        ("sound", "the name is used twice"),
        (
            "leads on",
            "route `a` leads to gateway `leads to bad`, which is refused",
        ),
    ];
    assert_eq!(refused.len(), expected.len(), "{refused:#?}");
    for ((gateway, reason), (expected_gateway, expected_reason)) in refused.into_iter().zip(expected) {
        assert_eq!(gateway, expected_gateway);
        assert!(reason.starts_with(expected_reason), "{gateway}: {reason}");
    }
}
