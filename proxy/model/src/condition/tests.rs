//! Tests of the language: what texts mean, which are refused and where.

use proptest::prelude::*;

use super::{Condition, ConditionError};

/// The tree of a text that must be a condition.
fn meaning(text: &str) -> String {
    match Condition::parse(text) {
        Ok(condition) => {
            assert_eq!(condition.source(), text);
            condition.expression().to_string()
        }
        Err(error) => panic!("`{text}` is refused: {error}"),
    }
}

fn refusal(text: &str) -> ConditionError {
    match Condition::parse(text) {
        Ok(condition) => panic!("`{text}` is taken as {}", condition.expression()),
        Err(error) => error,
    }
}

fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(meaning(text), *expected, "`{text}`");
    }
}

const FIREFOX: &str = r#"header "user-agent" contains "Firefox""#;
const CHROME: &str = r#"header "user-agent" contains "Chrome""#;

#[test]
fn comparisons() {
    let yes = r#"header "host" is "localhost""#;
    let no = r#"not header "host" is "localhost""#;
    for text in [
        "host == localhost",
        "host = localhost",
        "Host==localhost",
        "HOST=localhost",
        "host is localhost",
        "host IS localhost",
        "host has localhost",
        "hosthas localhost",
        "host contains localhost",
        "  host\n==\tlocalhost ",
        "host == 'localhost'",
        "host == \"localhost\"",
    ] {
        assert_eq!(meaning(text), yes, "`{text}`");
    }
    for text in [
        "host != localhost",
        "host ! localhost",
        "host!localhost",
        "host not localhost",
        "host NOT localhost",
        "host misses localhost",
        "not host == localhost",
        "!host == localhost",
        "! host == localhost",
    ] {
        assert_eq!(meaning(text), no, "`{text}`");
    }
    assert_eq!(
        meaning("not host != localhost"),
        r#"not not header "host" is "localhost""#
    );
}

#[test]
fn user_agents() {
    for text in [
        "User-Agent is Firefox",
        "user.agent == firefox",
        "USERAGENT = FIREFOX",
    ] {
        assert_eq!(meaning(text), FIREFOX, "`{text}`");
    }
    check(&[
        ("user-agent == chrome", CHROME),
        (
            "user-agent == safari",
            r#"(header "user-agent" contains "Safari" and header "user-agent" contains "Version")"#,
        ),
        (
            "user-agent != Safari",
            r#"not (header "user-agent" contains "Safari" and header "user-agent" contains "Version")"#,
        ),
        ("user-agent == ie", r#"header "user-agent" contains "MSIE""#),
        ("user-agent == EDGE", r#"header "user-agent" contains "Edge""#),
        ("user-agent == curl", r#"header "user-agent" contains "curl""#),
        (
            "user-agent misses 'curl/7 (x)'",
            r#"not header "user-agent" contains "curl/7 (x)""#,
        ),
    ]);
}

#[test]
fn headers_and_cookies() {
    check(&[
        ("has header X-Canary", r#"header "x-canary" is there"#),
        ("contains header X-Canary", r#"header "x-canary" is there"#),
        ("misses header X-Canary", r#"not header "x-canary" is there"#),
        ("Has Cookie Vamp", r#"cookie "Vamp" is there"#),
        ("misses cookie vamp", r#"not cookie "vamp" is there"#),
        ("cookie a has b", r#"cookie "a" contains "b""#),
        ("cookie a misses b", r#"not cookie "a" contains "b""#),
        (
            "header X-Test contains 'a b'",
            r#"header "x-test" contains "a b""#,
        ),
        (
            "header X-Test misses it''s",
            r#"not header "x-test" contains "it''s""#,
        ),
        ("header X-Test has 'it''s'", r#"header "x-test" contains "it's""#),
        ("cookie 'a b' has c", r#"cookie "a b" contains "c""#),
        ("cookie has has has", r#"cookie "has" contains "has""#),
        ("host == 'open", r#"header "host" is "'open""#),
        ("host == 'a'b", r#"header "host" is "'a'b""#),
        ("host == a&b||c", r#"header "host" is "a&b||c""#),
        ("host == ünïcode", r#"header "host" is "ünïcode""#),
    ]);
}

#[test]
fn precedence_and_words() {
    let (a, b, c) = (
        r#"header "host" is "a""#,
        r#"header "host" is "b""#,
        r#"header "host" is "c""#,
    );
    let expected = format!("({a} or ({b} and {c}))");
    for text in [
        "host == a or host == b and host == c",
        "host == a OR host == b AND host == c",
        "host == a || host == b && host == c",
        "host == a | host == b & host == c",
        "host == a or (host == b and host == c)",
        "((host == a)) or\nhost == b\tand ( host == c )",
    ] {
        assert_eq!(meaning(text), expected, "`{text}`");
    }
    assert_eq!(
        meaning("(host == a or host == b) and not host == c"),
        format!("(({a} or {b}) and not {c})")
    );
    assert_eq!(
        meaning("!(host == a and host == b) or host == c"),
        format!("(not ({a} and {b}) or {c})")
    );
    assert_eq!(
        meaning("not <hdr_sub(user-agent) Android> and User-Agent != Chrome"),
        format!(r#"(not a value of header "user-agent" contains "Android" and not {CHROME})"#)
    );
    assert_eq!(
        meaning("(User-Agent = Chrome OR User-Agent = Firefox) AND has cookie vamp"),
        format!(r#"(({CHROME} or {FIREFOX}) and cookie "vamp" is there)"#)
    );
}

#[test]
fn refusals_tell_where_and_what() {
    for (text, position, part) in [
        ("", 0, "must not be empty"),
        (" \n ", 0, "must not be empty"),
        ("host == a or", 12, "white space after the operator"),
        ("host == a or(host == b)", 12, "white space after the operator"),
        ("host == a or ", 13, "expected a test"),
        ("host == a host == b", 10, "`or`"),
        ("host ~ a", 5, "expected `==` or `!=`, found `~`"),
        ("host ==", 7, "expected a value, found the end"),
        ("user agent == Firefox", 4, "expected `-agent`"),
        ("has heder X", 4, "expected `header` or `cookie`, found `heder`"),
        ("(host == a", 10, "`)`"),
        ("host == a)", 9, "the end of the condition, found `)`"),
        ("!!host == a", 1, "expected a test"),
        ("NOT host == a", 0, "`NOT` must be in lower case"),
        ("host == ''", 8, "must not be empty"),
        ("has header a:b", 11, "`a:b` cannot be the name of a header"),
        ("cookie a b", 9, "expected `has` or `misses`"),
        ("host == a and <nbsrv gt 1>", 15, "`nbsrv` is not supported"),
        ("host == é and <path_beg>", 15, "needs something to compare with"),
        ("<path_beg /a", 12, "expected `>`"),
        ("<>", 1, "must not be empty"),
        ("nonsense", 0, "as a native ACL: `nonsense` is not supported"),
        ("nonsense", 0, "expected a test"),
        ("res.hdr_len(host) 3", 0, "`res.hdr_len` is not supported"),
        ("path_beg", 0, "needs something to compare with"),
    ] {
        let error = refusal(text);
        assert!(error.message.contains(part), "`{text}`: {error}");
        assert_eq!(error.position, position, "`{text}`: {error}");
    }
    assert_eq!(
        refusal("host ~ a").to_string(),
        "expected `==` or `!=`, found `~` (at character 6)"
    );
}

#[test]
fn native_acls() {
    check(&[
        (
            "hdr_sub(user-agent) Android",
            r#"a value of header "user-agent" contains "Android""#,
        ),
        ("<path_beg /a /b>", r#"path begins with ("/a" or "/b")"#),
        ("path_beg -i /A", r#"path begins with "/a" in any case"#),
        ("path -m end .jpg", r#"path ends with ".jpg""#),
        ("path_dir /img/", r#"path contains between slashes "img""#),
        ("path_dom .b.", r#"path contains between dots "b""#),
        ("path_sub a", r#"path contains "a""#),
        ("path /", r#"path is "/""#),
        (r"path_reg ^/a\.b\d+$", r"path fits /^/a\.b\d+$/"),
        (r"path_reg a\\.b", r"path fits /a\.b/"),
        (r"path_reg a\ b", r"path fits /a b/"),
        ("url_beg /x?y", r#"url begins with "/x?y""#),
        ("url /x", r#"url is "/x""#),
        ("url_reg -i X", "url fits /(?i)X/"),
        ("path_len ge 3", "path has a length that is at least 3"),
        (
            "hdr_len(A) 3:5 9",
            r#"a value of header "a" has a length that is (3 to 5 or 9)"#,
        ),
        ("cook(a) -m len 0", r#"cookie "a" has a length that is 0"#),
        ("query_beg a=", r#"query begins with "a=""#),
        ("query -m found", "query is there"),
        ("dst 10.0.0.0/8 ::1", "own address is in (10.0.0.0/8 or ::1/128)"),
        ("method GET HEAD", r#"method is ("GET" or "HEAD")"#),
        ("hdr(host) a", r#"a value of header "host" is "a""#),
        ("req.hdr(Host) a", r#"a value of header "host" is "a""#),
        ("hdr_str(host) a", r#"a value of header "host" is "a""#),
        (
            "hdr_dom(host) -i Shop",
            r#"a value of header "host" contains between dots "shop" in any case"#,
        ),
        (
            "fhdr(User-Agent) -m sub 'V W'",
            r#"header "user-agent" contains "V W""#,
        ),
        ("req.fhdr(a) -m found", r#"header "a" is there"#),
        ("fhdr_cnt(a) 1", r#"number of headers "a" is 1"#),
        (
            "req.hdr_cnt(V) gt 0",
            r#"number of values of header "v" is at least 1"#,
        ),
        ("hdr_cnt(a) eq 0", r#"number of values of header "a" is 0"#),
        (
            "hdr_cnt(a) -m bool",
            r#"number of values of header "a" is (at most -1 or at least 1)"#,
        ),
        (
            "hdr_val(a) 1:5 9: :0",
            r#"a value of header "a" is (1 to 5 or at least 9 or at most 0)"#,
        ),
        ("hdr_val(a) lt 5", r#"a value of header "a" is at most 4"#),
        (
            "hdr_val(a) le 5 6",
            r#"a value of header "a" is (at most 5 or at most 6)"#,
        ),
        (
            "hdr_val(a) ge 5 eq 1",
            r#"a value of header "a" is (at least 5 or 1)"#,
        ),
        ("hdr_val(a) -- -5", r#"a value of header "a" is -5"#),
        ("hdr(a) -m int 3", r#"a value of header "a" is 3"#),
        (
            "hdr_ip(x-forwarded-for) 10.0.0.0/8",
            r#"a value of header "x-forwarded-for" is in 10.0.0.0/8"#,
        ),
        ("cook(A) -m found", r#"cookie "A" is there"#),
        ("req.cook_sub(a) b", r#"cookie "a" contains "b""#),
        ("req.cook_cnt(a) eq 0", r#"number of cookies "a" is 0"#),
        ("urlp(debug) 1", r#"url parameter "debug" is "1""#),
        ("url_param(debug) -m found", r#"url parameter "debug" is there"#),
        ("urlp_reg(a) ^b", r#"url parameter "a" fits /^b/"#),
        (
            "src 10.0.0.1 ::1 10.0.0.0/255.0.0.0",
            "client address is in (10.0.0.1/32 or ::1/128 or 10.0.0.0/8)",
        ),
        ("src ::ffff:10.0.0.0/104", "client address is in 10.0.0.0/8"),
        ("dst_port 80 8000:8999", "port is (80 or 8000 to 8999)"),
        ("path -- -x", r#"path is "-x""#),
        (
            r##"path "a b" 'c"d' e\#f "g\"h""##,
            r##"path is ("a b" or "c\"d" or "e#f" or "g\"h")"##,
        ),
        (
            "hdr_val(a) gt 9223372036854775807",
            r#"a value of header "a" is ()"#,
        ),
    ]);
}

#[test]
fn native_acls_refused() {
    for (text, part) in [
        ("nbsrv(be) lt 2", "`nbsrv` is not supported; supported are path"),
        ("path_leng 3", "`path_leng` is not supported"),
        ("req.path /", "`req.path` is not supported"),
        ("res.hdr(a) b", "`res.hdr` is not supported"),
        ("PATH /", "`PATH` is not supported"),
        ("path,lower /a", "the converter `lower` is not supported"),
        ("req.hdr(host),lower a", "the converter `lower` is not supported"),
        ("hdr(host a", "lacks its `)`"),
        ("hdr(host)a", "must be followed by white space"),
        ("hdr(host,1) a", "an occurrence or a delimiter is not supported"),
        ("hdr a", "`hdr` needs a name in parentheses"),
        ("hdr() a", "`hdr` needs a name in parentheses"),
        ("path(a) a", "takes nothing in parentheses"),
        ("path -f /etc/passwd", "the flag `-f` is not supported"),
        ("path -m size 3", "-m size is not supported; use one of found"),
        ("path_len x", "`x` is neither a number nor"),
        ("src -m len 3", "gives an address"),
        ("dst_portal 3", "`dst_portal` is not supported"),
        ("dst x", "neither an IP address nor"),
        ("query_cnt 3", "`query_cnt` is not supported"),
        ("path -m val 3", "-m val is not supported"),
        ("path -m", "-m needs one of"),
        ("path_beg -m end a", "says already how to compare"),
        ("path -m bool", "gives a text"),
        ("src -m str a", "gives an address"),
        ("hdr_cnt(a) -m str 1", "gives a number"),
        ("path -m found x", "take no patterns"),
        ("path_beg", "needs something to compare with"),
        ("path_dir /", "nothing between the delimiters"),
        ("path_reg (", "unclosed group"),
        ("path_reg (a)\\1", "is not a regular expression that can be used"),
        (r"path_reg (\w{200}){200}", "needs more than 256 KiB"),
        ("path /a#b", "`#` begins a comment"),
        ("path 'a", "the quote ' is never closed"),
        ("hdr_val(a) x", "`x` is neither a number nor"),
        ("hdr_val(a) gt", "`gt` needs a number after it"),
        ("hdr_val(a) gt 1:2", "gt compares with a number"),
        ("hdr_val(a) 5:1", "the range `5:1` is empty"),
        ("hdr_val(a) -1", "the flag `-1` is not supported"),
        ("src example.org", "neither an IP address nor"),
        ("src 10.0.0.0/33", "neither an IP address nor"),
        ("src 10.0.0.0/255.0.255.0", "neither an IP address nor"),
        ("src ::1/129", "neither an IP address nor"),
        ("hdr_sub(a:b) c", "cannot be the name of a header"),
    ] {
        let error = refusal(text);
        assert!(error.message.contains(part), "`{text}`: {error}");
    }
}

#[test]
fn bounds_hold_at_the_edge() {
    let nested = |depth: usize| format!("{}host == a{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Condition::parse(&nested(Condition::DEPTH_MAX)).is_ok());
    let error = refusal(&nested(Condition::DEPTH_MAX + 1));
    assert!(error.message.contains("more than 64 parentheses"), "{error}");
    assert_eq!(error.position, Condition::DEPTH_MAX);

    let many = |part: &str, count: usize| vec![part; count].join(" or ");
    assert!(Condition::parse(&many("host == a", Condition::TESTS_MAX)).is_ok());
    let error = refusal(&many("host == a", Condition::TESTS_MAX + 1));
    assert!(error.message.contains("more than 256 tests"), "{error}");
    assert!(Condition::parse(&many("<path_reg a>", Condition::REGEXES_MAX)).is_ok());
    let error = refusal(&many("<path_reg a>", Condition::REGEXES_MAX + 1));
    assert!(error.message.contains("more than 32 regular"), "{error}");

    let long = |length: usize| format!("host == {}", "a".repeat(length - "host == ".len()));
    assert!(Condition::parse(&long(Condition::LENGTH_MAX)).is_ok());
    let error = refusal(&long(Condition::LENGTH_MAX + 1));
    assert!(error.message.contains("longer than 8192 bytes"), "{error}");
}

#[test]
fn hostile_repetitions_end_quickly() {
    for part in [
        "(", "!", "not ", "<", "'", "\"", "host ", "(!", "a", "\\", "&& ", "or (", "é", "''",
    ] {
        let text = part.repeat(Condition::LENGTH_MAX / part.len());
        assert!(
            Condition::parse(&text).is_err(),
            "`{part}` repeated is not a condition"
        );
    }
}

/// Pieces of the language, so that random texts come close to conditions.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "host",
        "user-agent",
        "==",
        "!=",
        "!",
        "not",
        "is",
        "has",
        "misses",
        "header",
        "cookie",
        "and",
        "or",
        "||",
        "&",
        "(",
        ")",
        "<",
        ">",
        " ",
        " ",
        " ",
        "'",
        "\"",
        "\\",
        "x",
        "Safari",
        "path_beg",
        "hdr(a)",
        "-m",
        "reg",
        "-i",
        "--",
        "/a",
        "[",
        "10.0.0.1",
        "/8",
        ":",
        "#",
        "é",
        "\n",
        "\u{0}",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// Texts of conditions.
fn conditions() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "host == a",
        "user-agent != Safari",
        "has cookie 'a b'",
        "header x misses y",
        "<path_beg -i /A>",
        "<hdr_cnt(x) gt 2>",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(5, 40, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|x| format!("not ({x})")),
            (inner.clone(), inner.clone()).prop_map(|(x, y)| format!("({x}) and ({y})")),
            (inner.clone(), inner).prop_map(|(x, y)| format!("({x} || {y})")),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = Condition::parse(&text);
    }

    #[test]
    fn no_near_condition_panics_and_faults_are_inside(text in pieces()) {
        if let Err(error) = Condition::parse(&text) {
            prop_assert!(error.position <= text.chars().count(), "{error}");
            prop_assert!(!error.message.is_empty());
        }
    }

    #[test]
    fn what_the_grammar_makes_is_taken(text in conditions()) {
        prop_assert!(Condition::parse(&text).is_ok(), "{text}");
    }

    #[test]
    fn white_space_around_operators_is_no_matter(text in conditions()) {
        let spread = text.replace(" and ", " \t&&\n  ").replace(" || ", "\nOr \t");
        let (text, spread) = (Condition::parse(&text).unwrap(), Condition::parse(&spread).unwrap());
        prop_assert_eq!(text.expression().to_string(), spread.expression().to_string());
    }

    #[test]
    fn quoted_values_are_taken_as_they_are(value in "[^'\"\u{0}]{1,20}") {
        for quoted in [format!("'{value}'"), format!("\"{value}\"")] {
            let expected = format!("header \"host\" is {value:?}");
            prop_assert_eq!(meaning(&format!("host == {quoted}")), expected);
        }
    }
}
