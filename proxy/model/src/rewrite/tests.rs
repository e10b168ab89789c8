//! Texts and what they mean, and what is refused.

use proptest::prelude::*;

use super::{Converter, PathRewrite, Piece};

fn shown(text: &str) -> String {
    let rewrite = PathRewrite::parse(text).unwrap_or_else(|error| panic!("`{text}`: {error}"));
    let mut out = String::new();
    for piece in rewrite.pieces() {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Sample(sample) => {
                out.push_str(&format!("<{}", sample.fetch));
                for converter in &sample.converters {
                    out.push_str(&match converter {
                        Converter::Lower => " lower".to_owned(),
                        Converter::Upper => " upper".to_owned(),
                        Converter::Substitute {
                            expression,
                            with,
                            all,
                        } => format!(" s/{expression}/{with}/{}", if *all { "g" } else { "" }),
                    });
                }
                out.push('>');
            }
        }
    }
    format!("{out} if {}", rewrite.condition())
}

#[test]
fn forms() {
    for (text, expected) in [
        (
            "/img/%[path] if path_beg /a",
            r#"/img/<path> if path begins with "/a""#,
        ),
        (
            "/%[req.hdr(X-V),lower]/x%%20 IF { path_end .jpg }",
            r#"/<a value of header "x-v" lower>/x%20 if path ends with ".jpg""#,
        ),
        ("/a if b if method GET", r#""#),
        (
            "%[path,regsub(^/api/,/)] if always_true",
            "<path s/^/api////> if always",
        ),
        (
            r"%[path,regsub('^/(a|b),[x]','/\1$',gi),upper] if { always_true }",
            "<path s/^/(a|b),[x]//${1}$$/g upper> if always",
        ),
        (
            "/x if { path_beg /a } !{ method POST } or { src 10.0.0.0/8 }",
            r#"/x if ((path begins with "/a" and not method is "POST") or client address is in 10.0.0.0/8)"#,
        ),
        (
            "/x if ! { path_reg ^/a{2} } || { hdr(x) '} ' }",
            r#"/x if (not path fits /^/a{2}/ or a value of header "x" is "} ")"#,
        ),
    ] {
        if expected.is_empty() {
            assert!(PathRewrite::parse(text).is_err(), "`{text}`");
        } else {
            assert_eq!(shown(text), expected, "`{text}`");
        }
    }
}

#[test]
fn refusals_tell_where_and_what() {
    for (text, position, part) in [
        ("/a", 2, "expected `NEW-PATH if CONDITION`"),
        ("", 0, "expected `NEW-PATH if CONDITION`"),
        (" if path /", 0, "must not be empty"),
        ("/a b if path /", 2, "no white space"),
        ("/%ci if path /", 1, "`%ci` is not supported"),
        ("/%[path if path /", 1, "lacks its `]`"),
        ("/%[nbsrv] if path /", 3, "`nbsrv` is not supported"),
        ("/%[path_beg] if path /", 3, "`path_beg` compares"),
        (
            "/%[path,base64] if path /",
            8,
            "the converter `base64` is not supported",
        ),
        ("/%[path,regsub(a)] if path /", 8, "regsub takes"),
        ("/%[path,regsub((,a)] if path /", 1, "lacks its `]`"),
        ("/%[path,regsub('(',a)] if path /", 8, "not a regular expression"),
        ("/%[path,regsub(a,b,x)] if path /", 8, "not `x`"),
        ("/a if nonsense", 6, "`nonsense` is not supported"),
        ("/a if { path / ", 6, "expected `}`"),
        ("/a if { path / } x", 17, "expected `{`"),
        ("/a if { path / } or", 17, "expected `{`"),
        ("/a if { path / } or ", 20, "expected a group"),
        ("/é if { nonsense }", 8, "`nonsense` is not supported"),
        ("/a if ", 6, "must not be empty"),
    ] {
        let error = match PathRewrite::parse(text) {
            Ok(rewrite) => panic!("`{text}` is {rewrite:?}"),
            Err(error) => error,
        };
        assert!(error.message.contains(part), "`{text}`: {error}");
        assert_eq!(error.position, position, "`{text}`: {error}");
    }
}

#[test]
fn bounds_hold() {
    let samples = |count: usize| format!("/{} if always_true", "%[path]".repeat(count));
    assert!(PathRewrite::parse(&samples(PathRewrite::SAMPLES_MAX)).is_ok());
    let error = PathRewrite::parse(&samples(PathRewrite::SAMPLES_MAX + 1)).unwrap_err();
    assert!(error.message.contains("more than 16 samples"), "{error}");
    let converters = |count: usize| format!("/%[path{}] if always_true", ",lower".repeat(count));
    assert!(PathRewrite::parse(&converters(PathRewrite::CONVERTERS_MAX)).is_ok());
    assert!(PathRewrite::parse(&converters(PathRewrite::CONVERTERS_MAX + 1)).is_err());
    let long = format!("/{} if always_true", "a".repeat(PathRewrite::LENGTH_MAX));
    assert!(PathRewrite::parse(&long).is_err());
}

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "/",
        "a",
        "%[",
        "]",
        "%%",
        "%",
        "path",
        "req.hdr(x)",
        ",lower",
        ",regsub(",
        "(",
        ")",
        ",",
        " if ",
        "{ ",
        " }",
        "!",
        " or ",
        "path_beg /a",
        "'",
        "\"",
        "\\",
        " ",
        "é",
        "always_true",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_panics_and_faults_are_inside(text in prop_oneof![any::<String>(), pieces()]) {
        match PathRewrite::parse(&text) {
            Ok(rewrite) => prop_assert_eq!(rewrite.source(), text),
            Err(error) => prop_assert!(error.position <= text.chars().count(), "{}", error),
        }
    }
}
