use super::*;

fn variable(name: &str) -> Option<&'static str> {
    match name {
        "PORT" => Some("31000"),
        "OPTS" => Some(" -a  -b "),
        "EMPTY" => Some(""),
        _ => None,
    }
}

fn words(text: &str) -> Vec<String> {
    split(text, variable).unwrap()
}

fn error(text: &str) -> SplitError {
    split(text, variable).unwrap_err()
}

#[test]
fn splits_as_a_shell() {
    assert_eq!(words("serve  --name\tx\n"), ["serve", "--name", "x"]);
    assert_eq!(
        words(r#"a 'b c' "d e" f\ g h'i'"j"k"#),
        ["a", "b c", "d e", "f g", "hijk"]
    );
    assert_eq!(words(r#"a '' """#), ["a", "", ""]);
    assert_eq!(words(r#"a "\"\\\$\n" '\n$PORT'"#), ["a", r#""\$\n"#, r"\n$PORT"]);
    assert_eq!(words("a\\\nb"), ["ab"]);
    assert_eq!(words("a *?~#= é"), ["a", "*?~#=", "é"]);
}

#[test]
fn variables_are_those_of_the_instance() {
    assert_eq!(
        words("serve $PORT :${PORT}x \"$PORT\" '$PORT' \\$PORT"),
        ["serve", "31000", ":31000x", "31000", "$PORT", "$PORT"]
    );
    assert_eq!(
        words("java x$OPTS.y \"$OPTS\""),
        ["java", "x", "-a", "-b", ".y", " -a  -b "]
    );
    assert_eq!(words("a $EMPTY \"$EMPTY\" b"), ["a", "", "b"]);
    assert_eq!(words("a $ $, \"$\""), ["a", "$", "$,", "$"]);
    assert_eq!(error("a $MISSING"), SplitError::Variable("MISSING".to_owned()));
    assert_eq!(error("a ${PORT:-80}"), SplitError::Name("PORT:-80".to_owned()));
    assert_eq!(error("a ${}"), SplitError::Name(String::new()));
}

#[test]
fn what_needs_a_shell_is_refused() {
    for (text, char) in [
        ("a | b", '|'),
        ("a && b", '&'),
        ("a; b", ';'),
        ("a >b", '>'),
        ("a `b`", '`'),
        ("a \"`b`\"", '`'),
    ] {
        assert_eq!(error(text), SplitError::Shell(char), "{text}");
    }
    for text in ["a $(b)", "a $$", "a \"$(b)\"", "a $1"] {
        assert_eq!(error(text), SplitError::Shell('$'), "{text}");
    }
    assert_eq!(words("a '|' \"a && b\" \\;"), ["a", "|", "a && b", ";"]);
}

#[test]
fn what_is_not_closed_is_refused() {
    assert_eq!(error("a 'b"), SplitError::Unclosed('\''));
    assert_eq!(error("a \"b"), SplitError::Unclosed('"'));
    assert_eq!(error("a \"b\\"), SplitError::Unclosed('"'));
    assert_eq!(error("a ${PORT"), SplitError::Unclosed('{'));
    assert_eq!(error("a \\"), SplitError::Trailing);
    assert_eq!(error(" \n"), SplitError::Empty);
    assert_eq!(error("$EMPTY"), SplitError::Empty);
}
