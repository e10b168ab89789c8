//! Paths before and after.

use std::net::IpAddr;

use proptest::prelude::*;
use weir_model::PathRewrite;

use super::{PATH_BYTES_MAX, Rewrites, apply};
use crate::condition::RequestView;

struct Request<'r> {
    target: &'r str,
    headers: &'r [(&'r str, &'r [u8])],
}

impl RequestView for Request<'_> {
    fn method(&self) -> &[u8] {
        b"GET"
    }
    fn target(&self) -> &[u8] {
        self.target.as_bytes()
    }
    fn header_count(&self) -> usize {
        self.headers.len()
    }
    fn header(&self, index: usize) -> (&[u8], &[u8]) {
        let (name, value) = self.headers[index];
        (name.as_bytes(), value)
    }
    fn source(&self) -> IpAddr {
        IpAddr::from([10, 1, 2, 3])
    }
    fn destination(&self) -> IpAddr {
        IpAddr::from([10, 9, 9, 9])
    }
    fn destination_port(&self) -> u16 {
        8080
    }
}

const HEADERS: &[(&str, &[u8])] = &[
    ("Host", b"shop.example"),
    ("X-V", b"a, B?x=1 #\r"),
    ("Cookie", b"c=one; c=two"),
];

fn rewritten(target: &str, routes: &[&[&str]]) -> String {
    let routes: Vec<_> = routes
        .iter()
        .filter_map(|rules| {
            let rules: Vec<_> = rules
                .iter()
                .map(|rule| PathRewrite::parse(rule).unwrap_or_else(|error| panic!("`{rule}`: {error}")))
                .collect();
            Rewrites::of(&rules)
        })
        .collect();
    let request = Request {
        target,
        headers: HEADERS,
    };
    let rooted = target.starts_with(['/', '*']);
    let slash = if rooted { "" } else { "/" };
    let mut out = format!("....GET {slash}{target} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes();
    apply(
        &mut out,
        4,
        rooted,
        &request,
        routes.iter().map(|rewrites| &**rewrites),
    );
    let text = String::from_utf8(out).unwrap();
    let line = text
        .strip_prefix("....GET ")
        .and_then(|rest| rest.strip_suffix(" HTTP/1.1\r\nHost: h\r\n\r\n"))
        .unwrap_or_else(|| panic!("{text:?}"));
    line.to_owned()
}

#[test]
fn paths_are_made_of_parts_of_the_request() {
    for (target, rule, expected) in [
        ("/a.jpg", "/img/%[path] if path_end .jpg", "/img//a.jpg"),
        ("/a.png?q", "/img/%[path] if path_end .jpg", "/a.png?q"),
        ("/a?q=1&r", "/b if always_true", "/b?q=1&r"),
        ("/a?q", "/b?x=y if always_true", "/b?x=y&q"),
        ("/A/b", "%[path,lower]/%[method] if always_true", "/a/b/GET"),
        ("/a", "%[req.hdr(x-none)] if always_true", "/"),
        (
            "/a",
            "x%[src]:%[dst_port]/%[dst] if always_true",
            "/x10.1.2.3:8080/10.9.9.9",
        ),
        (
            "/a",
            "/%[hdr(x-v)]/%[cook(c)]/%[hdr_cnt(x-v)] if always_true",
            "/B%3Fx=1%20%23/two/2",
        ),
        (
            "/a?v=1&v=2",
            "/%[urlp(v)]/%[query] if always_true",
            "/1/v=1&v=2?v=1&v=2",
        ),
        ("/api/v1/x", "%[path,regsub(^/api,)] if path_beg /api", "/v1/x"),
        ("/a/b/a", "%[path,regsub(a,c)] if always_true", "/c/b/a"),
        ("/a/b/a", "%[path,regsub(a,$c,g)] if always_true", "/$c/b/$c"),
        (
            "/a/b",
            "%[path,regsub('/(.)/(.)','/\\2/\\1')] if always_true",
            "/b/a",
        ),
        ("/a%20b", "/%[path] if always_true", "//a%20b"),
        ("/a", "/ä if always_true", "/%C3%A4"),
        ("?q", "/%[path]x if always_true", "//x?q"),
        ("*", "/x if always_true", "*"),
        ("/a", "/x if always_false", "/a"),
        ("/a", "/x if { src 10.0.0.0/8 } !{ dst_port 80 }", "/x"),
    ] {
        assert_eq!(rewritten(target, &[&[rule]]), expected, "`{target}` by `{rule}`");
    }
}

#[test]
fn each_rule_sees_what_those_before_it_made() {
    let first: &[&str] = &[
        "/b%[path] if path /a",
        "/c%[path] if path_beg /b",
        "/d if path_beg /b",
    ];
    assert_eq!(rewritten("/a?q", &[first]), "/c/b/a?q");
    assert_eq!(rewritten("/a?q", &[first, &["/e if path_beg /c"]]), "/e?q");
    assert_eq!(rewritten("/x", &[first, &[]]), "/x");
}

#[test]
fn a_path_that_would_be_too_long_is_not_made() {
    let long = format!("/{}", "a".repeat(PATH_BYTES_MAX / 2));
    assert_eq!(
        rewritten(&long, &[&["%[path]%[path]%[path] if always_true"]]),
        long
    );
    let grows = "%[path,regsub(a,aaaaaaaa,g),regsub(a,aaaaaaaa,g),regsub(a,aaaaaaaa,g)]x if always_true";
    assert_eq!(rewritten(&long, &[&[grows, "/b if always_true"]]), "/b");
}

proptest! {
    #[test]
    fn the_request_line_stays_one(value in proptest::collection::vec(any::<u8>(), 0..20), path in "/[!-\"$->@-~]{0,12}") {
        let rewrite = PathRewrite::parse("%[req.fhdr(x)]%[path]%[cook(x)] if always_true").unwrap();
        let cookie = [b"x=", &value[..]].concat();
        let headers: [(&str, &[u8]); 2] = [("X", &value), ("Cookie", &cookie)];
        let request = Request { target: &path, headers: &headers };
        let mut out = format!("GET {path} HTTP/1.1\r\n").into_bytes();
        let rewrites = Rewrites::of(&[rewrite]).unwrap();
        apply(&mut out, 0, true, &request, std::iter::once(&*rewrites));
        let target = out.strip_prefix(b"GET /").and_then(|rest| rest.strip_suffix(b" HTTP/1.1\r\n")).unwrap();
        prop_assert!(target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#' && *byte != b'?'), "{}", target.escape_ascii());
    }
}
