//! What is proven of conditions.

use std::cell::Cell;

use super::Prover;
use crate::Condition;

fn parse(text: &str) -> Condition {
    Condition::parse(text).unwrap_or_else(|error| panic!("`{text}`: {error}"))
}

fn possible(wanted: &[(&str, bool)]) -> Option<bool> {
    let steps = Cell::new(1_000_000);
    let conditions: Vec<_> = wanted.iter().map(|(text, truth)| (parse(text), *truth)).collect();
    let wanted: Vec<_> = conditions
        .iter()
        .map(|(condition, truth)| (condition.expression(), *truth))
        .collect();
    Prover::new(&steps).possible(&wanted)
}

#[test]
fn conditions_by_themselves() {
    for (text, expected) in [
        ("host == a", Some(true)),
        ("host == a and host == b", Some(false)),
        ("host == a and not host == a", Some(false)),
        ("has cookie a and misses cookie a", Some(false)),
        ("has cookie a and <cook_cnt(a) eq 0>", Some(false)),
        ("misses header X and header x has v", Some(false)),
        ("misses header X and <hdr_cnt(x) gt 0>", Some(false)),
        ("header x has v and header x has w", Some(true)),
        ("<method GET> and <method POST>", Some(false)),
        ("<method GET> and <method -i get>", Some(true)),
        ("<path_beg /a> and <path_beg /b>", Some(false)),
        ("<path_beg /a> and <path /b>", Some(false)),
        ("<path_beg /a> and <path_end b>", Some(true)),
        ("<path /a> and <path_reg ^/b>", Some(false)),
        ("<path /a> and <path_len gt 5>", Some(false)),
        ("<path_beg /abcdef> and <path_len lt 5>", Some(false)),
        ("<src 10.0.0.0/8> and <src 11.1.1.1>", Some(false)),
        ("<src 10.0.0.0/8> and <src 10.1.1.1>", Some(true)),
        ("<src 10.0.0.0/8> and <src ::1>", Some(false)),
        ("<dst_port lt 80> and <dst_port gt 80>", Some(false)),
        ("<dst_port gt 65535>", Some(false)),
        ("<hdr_cnt(a) lt 0>", Some(false)),
        ("<hdr_cnt(a) gt 9223372036854775807>", Some(false)),
        ("<urlp(a) 1> and <urlp(a) 2>", Some(true)),
        (
            "(host == a or host == b) and (host == c or host == d)",
            Some(false),
        ),
        (
            "(host == a or host == b) and (host == b or host == d)",
            Some(true),
        ),
    ] {
        assert_eq!(possible(&[(text, true)]), expected, "`{text}`");
    }
}

#[test]
fn what_is_always_true() {
    for (text, always) in [
        ("host == a or host != a", true),
        ("has cookie a or misses cookie a", true),
        ("has header a or <hdr_cnt(a) eq 0>", true),
        ("<dst_port ge 80> or <dst_port lt 90>", true),
        ("<hdr_cnt(a) ge 0>", true),
        ("not (host == a and host == b)", true),
        ("<path_beg /> or <path_beg /a>", false),
        ("host == a or host == b", false),
    ] {
        assert_eq!(possible(&[(text, false)]) == Some(false), always, "`{text}`");
    }
}

#[test]
fn what_implies_what() {
    for (one, other, implies) in [
        ("<path_beg /a/b>", "<path_beg /a>", true),
        ("<path_beg /a>", "<path_beg /a/b>", false),
        ("<path_beg /a /ab>", "<path_beg /a>", true),
        (
            "<path /a/b.jpg>",
            "<path_dir a> and <path_end .jpg> and <path_dom jpg>",
            true,
        ),
        ("<path_beg /a>", "<path_beg -i /A>", true),
        ("<path_beg -i /a>", "<path_beg /a>", false),
        ("<path_beg -i /1>", "<path_beg /1>", true),
        ("<path_end xab>", "<path_sub a>", true),
        ("<path /a>", "<path_reg ^/a$>", true),
        ("<path_reg a>", "<path_reg a b>", true),
        ("<path_reg -i a>", "<path_reg a>", false),
        ("header x has abc", "has header X", true),
        ("<hdr(x) a>", "has header X", true),
        ("<cook_cnt(a) 2>", "has cookie a", true),
        ("has cookie a", "<cook_cnt(a) ge 1>", true),
        ("user-agent == Safari", "user-agent == Version", true),
        ("<src 10.1.0.0/16>", "<src 10.0.0.0/8>", true),
        ("<dst_port 80 443>", "<dst_port 1:1000>", true),
        ("<path_len 3:5>", "<path_len 1:9>", true),
        ("host == a and has cookie b", "has cookie b", true),
        ("host == a", "host == a and has cookie b", false),
    ] {
        let certain = possible(&[(one, true), (other, false)]) == Some(false);
        assert_eq!(certain, implies, "`{one}` and `{other}`");
    }
}

#[test]
fn several_together_cover_one() {
    let covered = possible(&[
        ("has cookie a or has cookie b", true),
        ("has cookie a", false),
        ("has cookie b", false),
    ]);
    assert_eq!(covered, Some(false));
}

#[test]
fn work_is_bounded() {
    let many: Vec<String> = (0..40)
        .map(|n| format!("(has cookie a{n} or has cookie b{n})"))
        .collect();
    assert_eq!(possible(&[(&many.join(" and "), true)]), None, "too many tests");
    let hard: Vec<String> = (0..23)
        .map(|n| format!("(has cookie a{n} or has cookie b{n})"))
        .collect();
    let condition = parse(&format!(
        "({}) and misses cookie z and has cookie z",
        hard.join(" and ")
    ));
    let steps = Cell::new(10_000);
    assert_eq!(
        Prover::new(&steps).possible(&[(condition.expression(), true)]),
        None
    );
    assert!(steps.get() < 100);
}

mod against_requests {
    use proptest::prelude::*;

    use super::{super::Prover, *};
    use crate::condition::Expression;

    fn tests() -> impl Strategy<Value = String> {
        let text = prop::sample::select(vec!["/", "/a", "/a/b", "/b", "b", "a", "/A"]);
        let how = prop::sample::select(vec!["str", "beg", "end", "sub", "dir", "dom", "reg"]);
        prop_oneof![
            4 => (how, any::<bool>(), text.clone(), text).prop_map(|(how, case, one, two)| {
                // A delimiter alone is refused.
                let (one, two) = if matches!(how, "dir" | "dom") { (one.trim_matches('/'), two.trim_matches('/')) } else { (one, two) };
                let (one, two) = (if one.is_empty() { "a" } else { one }, if two.is_empty() { "b" } else { two });
                format!("<path {} -m {how} {one} {two}>", if case { "-i" } else { "" })
            }),
            1 => (0_u8..6, 0_u8..6).prop_map(|(one, two)| format!("<path_len {}:{}>", one.min(two), one.max(two))),
            1 => (0_u8..4).prop_map(|count| format!("<hdr_cnt(x) {count}>")),
            1 => (0_u8..4, prop::sample::select(vec!["ge", "lt"])).prop_map(|(count, operator)| format!("<fhdr_cnt(x) {operator} {count}>")),
            1 => Just("has header X".to_owned()),
        ]
    }

    fn conditions() -> impl Strategy<Value = String> {
        tests().prop_recursive(4, 12, 3, |inner| {
            prop_oneof![
                inner.clone().prop_map(|x| format!("not ({x})")),
                (inner.clone(), inner.clone()).prop_map(|(x, y)| format!("({x} and {y})")),
                (inner.clone(), inner).prop_map(|(x, y)| format!("({x} or {y})")),
            ]
        })
    }

    /// A path, and how many headers `x` of one value there are.
    fn holds(expression: &Expression, path: &str, headers: i64) -> bool {
        use crate::condition::{Fetch, Matcher};
        match expression {
            Expression::All(parts) => parts.iter().all(|part| holds(part, path, headers)),
            Expression::Any(parts) => parts.iter().any(|part| holds(part, path, headers)),
            Expression::Not(inner) => !holds(inner, path, headers),
            Expression::Test(test) => match (&test.fetch, &test.matcher) {
                (
                    Fetch::Path,
                    Matcher::Text {
                        how,
                        ignore_case,
                        patterns,
                    },
                ) => {
                    let path = if *ignore_case {
                        path.to_ascii_lowercase()
                    } else {
                        path.to_owned()
                    };
                    patterns
                        .iter()
                        .any(|pattern| super::super::text::fits(&path, *how, pattern))
                }
                (Fetch::Path, Matcher::Regex(all)) => all.iter().any(|regex| regex.is_match(path.as_bytes())),
                (Fetch::Path, Matcher::Length(ranges)) => {
                    super::super::tie::covers(ranges, path.len() as i64)
                }
                (Fetch::HeaderCount(_) | Fetch::FullHeaderCount(_), Matcher::Integer(ranges)) => {
                    super::super::tie::covers(ranges, headers)
                }
                (Fetch::FullHeader(_), Matcher::Found) => headers > 0,
                other => panic!("{other:?}"),
            },
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

        #[test]
        fn what_is_said_to_be_impossible_is(one in conditions(), other in conditions(), truth in any::<bool>()) {
            let (one, other) = (parse(&one), parse(&other));
            let steps = Cell::new(1_000_000);
            let answer = Prover::new(&steps).possible(&[(one.expression(), true), (other.expression(), truth)]);
            for path in ["/", "/a", "/a/b", "/b", "/A", "/A/B", "/a/b/a", "/ab", "/b/a", "/aab", "/abab", "/c", "/c/d"] {
                for headers in 0..5 {
                    if holds(one.expression(), path, headers) && holds(other.expression(), path, headers) == truth {
                        prop_assert_ne!(answer, Some(false), "{} with {} headers", path, headers);
                    }
                }
            }
        }
    }
}
