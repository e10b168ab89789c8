use super::{Data, Node, documents};
use crate::{
    Position,
    read::{BYTES_MAX, DEPTH_MAX, NODES_MAX},
};

fn one(text: &str) -> Node {
    let mut documents = documents(text).unwrap();
    assert_eq!(documents.len(), 1, "{text}");
    documents.remove(0)
}

fn json(text: &str) -> String {
    one(text).to_value().to_string()
}

fn refused(text: &str) -> String {
    let problem = documents(text).unwrap_err();
    assert_eq!(problem.code, "YamlParsingError");
    problem.message
}

#[test]
fn free_content_is_what_yaml_says() {
    for (text, value) in [
        (
            "[1, 1.0, 1.50, -3, +4, 1e3, .5, 010, 1_000, 0x1f, 1:30]",
            r#"[1,1.0,1.5,-3,4,1000.0,0.5,"010","1_000","0x1f","1:30"]"#,
        ),
        (
            "[true, False, yes, on, null, ~, Null]",
            r#"[true,false,"yes","on",null,null,null]"#,
        ),
        (
            "['1', \"true\", !!str 2, ! 3, 2001-01-01, a b]",
            r#"["1","true","2","3","2001-01-01","a b"]"#,
        ),
        (
            "[9223372036854775807, 18446744073709551615, 99999999999999999999, 1e999, .inf]",
            r#"[9223372036854775807,18446744073709551615,1e+20,"1e999",".inf"]"#,
        ),
        ("|\n a\n b\n", r#""a\nb\n""#),
        (">-\n a\n b\n", r#""a b""#),
    ] {
        let text = format!("x: {text}");
        assert_eq!(json(&text), format!(r#"{{"x":{value}}}"#), "{text}");
    }
}

#[test]
fn keys_are_texts() {
    for (text, value) in [
        ("8080: a", r#"{"8080":"a"}"#),
        ("1.0: a", r#"{"1.0":"a"}"#),
        ("true: a", r#"{"true":"a"}"#),
        ("[10.0.0.1:80]: a", r#"{"[10.0.0.1:80]":"a"}"#),
        ("[a, b]: c", r#"{"[a, b]":"c"}"#),
        ("a: 1\na: 2", r#"{"a":2}"#),
        ("? a\n: b", r#"{"a":"b"}"#),
        ("{\"a\":1,\"b\":[]}", r#"{"a":1,"b":[]}"#),
    ] {
        assert_eq!(json(text), value, "{text}");
    }
    for text in ["{a: b}: c", "? - a\n: b", "[[a]]: b", ": a", "&x [*x]: b"] {
        refused(text);
    }
}

#[test]
fn documents_and_lists_at_the_top_are_flattened() {
    let found = documents("--- a\n---\n---\n- [b, [c]]\n- d\n...\n").unwrap();
    let found: Vec<String> = found.iter().map(|node| node.to_value().to_string()).collect();
    assert_eq!(found, [r#""a""#, r#""b""#, r#""c""#, r#""d""#]);
    assert!(documents("").unwrap().is_empty());
    assert_eq!(json("\u{feff}a: b"), r#"{"a":"b"}"#);
}

#[test]
fn aliases_and_merge_keys() {
    assert_eq!(json("a: &x {b: 1}\nc: *x"), r#"{"a":{"b":1},"c":{"b":1}}"#);
    assert_eq!(
        json("a: &x {b: 1, c: 2}\nd: &y {c: 3, e: 4}\nf: {<<: [*x, *y], b: 5}"),
        r#"{"a":{"b":1,"c":2},"d":{"c":3,"e":4},"f":{"b":5,"c":2,"e":4}}"#
    );
    assert_eq!(json("'<<': a"), r#"{"<<":"a"}"#);
    refused("<<: a");
    refused("a: &x [*x]");
    refused("a: *nobody");
    // An anchor does not reach the next document.
    refused("a: &x 1\n--- \nb: *x");
}

#[test]
fn places_are_those_of_the_text() {
    let node = one("a: 1\n\"ü\": {b: [x,\n  y]}\n");
    let Data::Map(entries) = &node.data else { panic!() };
    let at = |line, column| Some(Position { line, column });
    assert_eq!(
        (entries["a"].key_position, entries["a"].node.position),
        (at(1, 1), at(1, 4))
    );
    let Data::Map(inner) = &entries["ü"].node.data else {
        panic!()
    };
    assert_eq!(inner["b"].key_position, at(2, 7));
    let Data::List(items) = &inner["b"].node.data else {
        panic!()
    };
    assert_eq!((items[0].position, items[1].position), (at(2, 11), at(3, 3)));
    assert_eq!(documents("a: 1\nb: ]").unwrap_err().position, at(2, 4));
}

#[test]
fn tags_of_applications_are_refused() {
    for text in [
        "!foo a",
        "a: !!binary YQ==",
        "!!java.lang.String a",
        "- !<tag:x> b",
        "!!set {a}",
    ] {
        refused(text);
    }
    assert_eq!(
        json("a: !!int 1\nb: !!map {}\nc: !!seq []"),
        r#"{"a":1,"b":{},"c":[]}"#
    );
}

#[test]
fn json_by_the_book_is_read_where_the_scanner_cannot() {
    let key = "k".repeat(3000);
    let text = format!("{{\"{key}\": \"\\ud83d\\ude00\",\n\t\"b\": [1.5, null]}}");
    assert_eq!(json(&text), format!("{{\"{key}\":\"😀\",\"b\":[1.5,null]}}"));
}

#[test]
fn bombs_are_refused_before_they_expand() {
    // Ten levels of ten: 10^10 nodes.
    let mut laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert!(refused(&laughs).contains("aliases counted"));
    // Few nodes, much text.
    let text = format!("a: &a {}\nb: [{}]", "x".repeat(100_000), ["*a"; 1000].join(", "));
    assert!(refused(&text).contains("bytes of text"));
    // By merge keys.
    let mut merges = "a0: &a0 {x: 1, y: 2}\n".to_owned();
    for level in 1..40 {
        merges.push_str(&format!(
            "a{level}: &a{level} {{<<: [*a{0}, *a{0}], z{level}: *a{0}}}\n",
            level - 1
        ));
    }
    assert!(refused(&merges).contains("aliases counted"));
}

#[test]
fn depth_is_bounded_also_through_aliases() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let mapped = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    assert!(documents(&format!("a: {}", nested(DEPTH_MAX - 1))).is_ok());
    assert!(refused(&format!("a: {}", nested(DEPTH_MAX))).contains("levels"));
    assert!(documents(&mapped(DEPTH_MAX)).is_ok());
    assert!(refused(&mapped(DEPTH_MAX + 1)).contains("levels"));
    for depth in [100, 1000, 100_000] {
        refused(&nested(depth));
        refused(&mapped(depth));
        refused(&"- ".repeat(depth));
        refused(&"? ".repeat(depth));
    }
    let half = DEPTH_MAX / 2;
    let by_alias = format!(
        "a: &a {}\nb: {}*a{}",
        nested(half),
        "[".repeat(half),
        "]".repeat(half)
    );
    assert!(refused(&by_alias).contains("levels"));
}

#[test]
fn size_is_bounded() {
    assert!(refused(&"x".repeat(10 * 1024 * 1024)).contains("bytes"));
    assert!(documents(&format!("a: {}", "x".repeat(BYTES_MAX - 10))).is_ok());
    assert!(refused(&format!("[{}]", "1,".repeat(NODES_MAX + 1))).contains("values"));
    assert_eq!(
        documents(&format!("[{}]", "1,".repeat(NODES_MAX - 10)))
            .unwrap()
            .len(),
        NODES_MAX - 10
    );
}
