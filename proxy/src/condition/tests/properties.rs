//! Conditions and requests by chance, against an evaluation that is as simple as can be.

use std::net::IpAddr;

use proptest::prelude::*;
use weir_model::{
    Condition,
    condition::{Expression, Fetch, Matcher, TextMatch},
};

use super::{super::Compiled, Request, compiled, get};

/// Every value that a fetch gives, made by other means than the code under test.
fn values(fetch: &Fetch, request: &Request) -> Vec<String> {
    let lines = |name: &str| -> Vec<String> {
        let mut lines = request.headers.clone();
        lines.retain(|(key, _)| key.to_lowercase() == name);
        lines
            .into_iter()
            .map(|(_, value)| value.trim().to_owned())
            .collect()
    };
    let items = |name: &str| -> Vec<String> {
        let joined = lines(name);
        joined
            .iter()
            .flat_map(|line| line.split(','))
            .map(|item| item.trim().to_owned())
            .collect()
    };
    let cookies = |name: &str| -> Vec<String> {
        let joined = lines("cookie").join(";");
        let pairs = joined.split(';').filter_map(|pair| pair.trim().split_once('='));
        pairs
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned())
            .collect()
    };
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    match fetch {
        Fetch::Method => vec![request.method.clone()],
        Fetch::Path => vec![path.to_owned()],
        Fetch::Url => vec![request.target.clone()],
        Fetch::Query => request
            .target
            .split_once('?')
            .map(|(_, query)| query.to_owned())
            .into_iter()
            .collect(),
        Fetch::UrlParameter(name) => query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.to_owned())
            .collect(),
        Fetch::Header(name) => items(name),
        Fetch::FullHeader(name) => lines(name),
        Fetch::HeaderCount(name) => vec![items(name).len().to_string()],
        Fetch::FullHeaderCount(name) => vec![lines(name).len().to_string()],
        Fetch::Cookie(name) => cookies(name),
        Fetch::CookieCount(name) => vec![cookies(name).len().to_string()],
        Fetch::Source => vec![request.source.to_string()],
        Fetch::Destination => vec!["10.9.9.9".to_owned()],
        Fetch::DestinationPort => vec![request.port.to_string()],
    }
}

fn naive(expression: &Expression, request: &Request) -> bool {
    let test = match expression {
        Expression::All(parts) => return parts.iter().all(|part| naive(part, request)),
        Expression::Any(parts) => return parts.iter().any(|part| naive(part, request)),
        Expression::Not(inner) => return !naive(inner, request),
        Expression::Test(test) => test,
    };
    values(&test.fetch, request)
        .iter()
        .any(|value| match &test.matcher {
            Matcher::Found => true,
            Matcher::Text {
                how,
                ignore_case,
                patterns,
            } => {
                let value = if *ignore_case {
                    value.to_lowercase()
                } else {
                    value.clone()
                };
                let words = |delimiters: &'static str| value.split(move |c| delimiters.contains(c));
                patterns.iter().any(|pattern| match how {
                    TextMatch::Exact => value == *pattern,
                    TextMatch::Prefix => value.starts_with(pattern),
                    TextMatch::Suffix => value.ends_with(pattern),
                    TextMatch::Substring => value.contains(pattern),
                    TextMatch::Directory => words("/?").any(|word| word == pattern),
                    TextMatch::Domain => words("/?.:").any(|word| word == pattern),
                })
            }
            Matcher::Regex(expressions) => expressions.iter().any(|regex| regex.is_match(value.as_bytes())),
            Matcher::Length(ranges) => ranges
                .iter()
                .any(|(low, high)| (*low..=*high).contains(&(value.len() as i64))),
            Matcher::Integer(ranges) => value
                .parse()
                .is_ok_and(|number: i64| ranges.iter().any(|(low, high)| number >= *low && number <= *high)),
            Matcher::Network(networks) => value
                .parse()
                .is_ok_and(|address: IpAddr| networks.iter().any(|(network, _)| *network == address)),
        })
}

const NAMES: [&str; 4] = ["host", "x-a", "X-B", "Cookie"];

fn words() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "a", "A", "b", "ab", "a.b", "/a", "/a/b", "1", "2", "a=b", "b=a",
    ])
    .prop_map(str::to_owned)
}

fn tests() -> impl Strategy<Value = String> {
    let name = prop::sample::select(NAMES.to_vec());
    let text_fetch = prop_oneof![
        name.clone().prop_map(|name| format!("hdr({name})")),
        name.clone().prop_map(|name| format!("fhdr({name})")),
        Just("path".to_owned()),
        Just("url".to_owned()),
        Just("method".to_owned()),
        words().prop_map(|name| format!("cook({})", name.replace(['/', '='], ""))),
        words().prop_map(|name| format!("urlp({})", name.replace(['/', '='], ""))),
    ];
    let how = prop::sample::select(vec!["str", "beg", "end", "sub", "dir", "dom", "reg", "int"]);
    let text = (text_fetch.clone(), how, any::<bool>(), words(), words()).prop_map(
        |(fetch, how, ignore_case, one, two)| {
            let case = if ignore_case { "-i " } else { "" };
            let (one, two) = match how {
                "int" => ("1".to_owned(), "2:9".to_owned()),
                // The oracle compares single words.
                "dir" | "dom" => (one.replace(['/', '.'], ""), two.replace(['/', '.'], "")),
                _ => (one, two),
            };
            format!("<{fetch} {case}-m {how} {one} {two}>")
        },
    );
    let operator = prop::sample::select(vec!["eq", "ge", "gt", "le", "lt"]);
    prop_oneof![
        4 => text,
        1 => text_fetch.prop_map(|fetch| format!("<{fetch} -m found>")),
        1 => (name, operator, 0..4).prop_map(|(name, operator, count)| format!("<hdr_cnt({name}) {operator} {count}>")),
        1 => Just("<src 10.1.2.3>".to_owned()),
        1 => words().prop_map(|value| format!("host == {value}")),
        1 => words().prop_map(|value| format!("cookie a misses {value}")),
    ]
}

fn conditions() -> impl Strategy<Value = String> {
    tests().prop_recursive(6, 30, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|x| format!("not ({x})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(x, y, z)| format!("({x} and {y} and {z})")),
            (inner.clone(), inner.clone(), inner).prop_map(|(x, y, z)| format!("({x} or {y} or {z})")),
        ]
    })
}

fn requests() -> impl Strategy<Value = Request> {
    let header = (
        prop::sample::select(NAMES.to_vec()),
        prop::collection::vec(words(), 0..3),
        prop::sample::select(vec![", ", ",", " "]),
    )
        .prop_map(|(name, values, between)| {
            // Commas end cookies as well, which the oracle does not know.
            let between = if name == "Cookie" { "; " } else { between };
            (name.to_owned(), values.join(between))
        });
    (
        prop::sample::select(vec!["GET", "a", "A"]),
        prop::sample::select(vec!["/", "/a", "/a/b.a", "/A?a=b&b=1", "/ab/?x&a=a"]),
        prop::collection::vec(header, 0..5),
    )
        .prop_map(|(method, target, headers)| Request {
            method: method.to_owned(),
            headers,
            ..get(target)
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_naive_evaluation(text in conditions(), request in requests()) {
        let condition = Condition::parse(&text).unwrap();
        prop_assert_eq!(Compiled::new(&condition).matches(&request), naive(condition.expression(), &request));
    }

    #[test]
    fn negation_is_the_complement(text in conditions(), request in requests()) {
        let negated = compiled(&format!("not ({text})"));
        prop_assert_eq!(negated.matches(&request), !compiled(&text).matches(&request));
    }

    #[test]
    fn every_jump_leads_forward(text in conditions()) {
        let compiled = compiled(&text);
        for (index, step) in compiled.steps.iter().enumerate() {
            prop_assert!(step.if_true.0 as usize > index && step.if_false.0 as usize > index);
        }
        prop_assert_eq!(compiled.start.0, 0);
    }
}
