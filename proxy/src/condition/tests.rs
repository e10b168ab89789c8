//! What conditions mean on requests.

mod properties;

use std::net::IpAddr;

use weir_model::{Condition, condition::Expression};

use super::{Compiled, RequestView};

#[derive(Clone, Debug)]
struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    source: IpAddr,
    port: u16,
}

impl RequestView for Request {
    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }

    fn target(&self) -> &[u8] {
        self.target.as_bytes()
    }

    fn header_count(&self) -> usize {
        self.headers.len()
    }

    fn header(&self, index: usize) -> (&[u8], &[u8]) {
        let (name, value) = &self.headers[index];
        (name.as_bytes(), value.as_bytes())
    }

    fn source(&self) -> IpAddr {
        self.source
    }

    fn destination(&self) -> IpAddr {
        IpAddr::from([10, 9, 9, 9])
    }
    fn destination_port(&self) -> u16 {
        self.port
    }
}

fn get(target: &str) -> Request {
    Request {
        method: "GET".to_owned(),
        target: target.to_owned(),
        headers: Vec::new(),
        source: IpAddr::from([10, 1, 2, 3]),
        port: 8080,
    }
}

fn with(headers: &[(&str, &str)]) -> Request {
    Request {
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..get("/")
    }
}

fn compiled(condition: &str) -> Compiled {
    match Condition::parse(condition) {
        Ok(condition) => Compiled::new(&condition),
        Err(error) => panic!("`{condition}`: {error}"),
    }
}

fn check(request: &Request, cases: &[(&str, bool)]) {
    for (condition, expected) in cases {
        assert_eq!(
            compiled(condition).matches(request),
            *expected,
            "`{condition}` on {request:?}"
        );
    }
}

#[test]
fn host_is_compared_whole_and_with_case() {
    let request = with(&[("hOST", " Shop.example:8080 ")]);
    check(
        &request,
        &[
            ("host == Shop.example:8080", true),
            ("host == shop.example:8080", false),
            ("host == Shop.example", false),
            ("host != Shop.example", true),
            ("<hdr(host) -i shop.example:8080>", true),
            ("<hdr_dom(host) example>", true),
            ("<hdr_dom(host) exam>", false),
            ("<hdr_dom(host) -i shop.EXAMPLE>", true),
            ("<hdr_beg(host) Shop>", true),
            ("<hdr_end(host) :8080>", true),
            ("<hdr_reg(host) ^Shop>", true),
            ("<hdr_reg(host) -i ^shop>", true),
            ("<hdr_reg(host) ^shop>", false),
        ],
    );
    check(&get("/"), &[("host == a", false), ("host != a", true)]);
}

#[test]
fn user_agents() {
    let safari = with(&[(
        "User-Agent",
        "Mozilla/5.0 (KHTML, like Gecko) Version/9 Safari/601",
    )]);
    let chrome = with(&[(
        "User-Agent",
        "Mozilla/5.0 (KHTML, like Gecko) Chrome/57 Safari/537",
    )]);
    check(
        &safari,
        &[
            ("user-agent == safari", true),
            ("user-agent != safari", false),
            ("user-agent == chrome", false),
            ("user-agent == 'KHTML, like'", true),
            ("user-agent == mozilla", false),
            // HAProxy's hdr splits at commas, fhdr does not.
            ("<hdr_sub(user-agent) 'KHTML, like'>", false),
            ("<fhdr_sub(user-agent) 'KHTML, like'>", true),
        ],
    );
    check(
        &chrome,
        &[("user-agent == safari", false), ("user-agent == Chrome", true)],
    );
}

#[test]
fn any_value_of_a_header_suffices_and_negation_means_none() {
    let request = with(&[
        ("X-Test", "one"),
        ("Accept", "*/*"),
        ("x-test", "two, \"three, four\""),
        ("X-Empty", ""),
    ]);
    check(
        &request,
        &[
            ("has header x-TEST", true),
            ("misses header x-test", false),
            ("has header x-empty", true),
            ("has header x-other", false),
            ("header x-test has two", true),
            ("header x-test misses two", false),
            ("header x-test misses five", true),
            ("header x-test has ', \"'", true),
            ("<hdr(x-test) one>", true),
            ("<hdr(x-test) two>", true),
            ("!<hdr(x-test) two>", false),
            ("<hdr(x-test) three>", false),
            ("<hdr(x-test) \"\\\"three, four\\\"\">", true),
            ("<hdr_cnt(x-test) eq 3>", true),
            ("<fhdr_cnt(x-test) eq 2>", true),
            ("<hdr_cnt(x-other) eq 0>", true),
            ("<hdr_cnt(x-test) -m bool>", true),
            ("<hdr_cnt(x-other) -m bool>", false),
            ("<hdr_cnt(x-other) -m found>", true),
            ("<hdr(x-test) -m str five one>", true),
            ("<hdr(x-empty) ''>", true),
        ],
    );
}

#[test]
fn cookies() {
    let request = with(&[
        ("Cookie", "vamp=blue; a=\"x;y\"; vamp =green;flag"),
        ("cookie", "Other=1; vamp=red"),
    ]);
    check(
        &request,
        &[
            ("has cookie vamp", true),
            ("has cookie VAMP", false),
            ("misses cookie VAMP", true),
            ("has cookie flag", false),
            ("cookie vamp has ree", true),
            ("cookie vamp misses blue", false),
            ("cookie vamp misses black", true),
            ("<cook(a) -m found>", true),
            ("<cook(a) \"\\\"x;y\\\"\">", true),
            ("<cook_cnt(vamp) eq 3>", true),
            ("<cook_beg(vamp) gr>", true),
            ("<cook_val(Other) ge 1>", true),
        ],
    );
    check(
        &get("/"),
        &[("misses cookie vamp", true), ("<cook_cnt(vamp) eq 0>", true)],
    );
}

#[test]
fn targets() {
    check(
        &get("/img/a.jpg?debug=1&x=/no/&x=b;y"),
        &[
            ("path_beg /img", true),
            ("path_end .jpg", true),
            ("path_end y", false),
            ("path_sub debug", false),
            ("path_dir img", true),
            ("path_dir no", false),
            ("path_dir a.jpg", true),
            ("path_dir im", false),
            ("path_dom jpg", true),
            ("path_reg ^/img/[a-z]\\.jpg$", true),
            ("path -i /IMG/A.JPG", true),
            ("path_sub -i G/A", true),
            ("path_sub -i G/B", false),
            ("url_beg /img/a.jpg?", true),
            ("url_dir no", true),
            ("url_end b;y", true),
            ("urlp(debug) 1", true),
            ("query -m beg debug=1&", true),
            ("query_sub /img", false),
            ("path_len 10", true),
            ("path_len lt 10", false),
            ("url_len ge 20", true),
            ("query -m len 0", false),
            ("urlp(x) b", true),
            ("urlp(x) -m found", true),
            ("urlp(y) -m found", false),
            ("urlp(ebug) -m found", false),
            ("url_param(debug) -m int 0:1", true),
            ("method GET", true),
            ("method POST HEAD", false),
            ("method get", false),
            ("method -i get", true),
        ],
    );
    check(
        &get("http://shop.example/a?b"),
        &[
            ("path /a", true),
            ("url_beg http://", true),
            ("url_dom example", true),
        ],
    );
    check(&get("http://shop.example?b"), &[("path /", true)]);
    check(
        &get("*"),
        &[("path -m found", false), ("url *", true), ("!<path_beg />", true)],
    );
    check(&get("/a%62"), &[("path /ab", false), ("path /a%62", true)]);
    check(&get("example.org:443"), &[("path -m found", false)]);
}

#[test]
fn addresses_and_numbers() {
    check(
        &get("/"),
        &[
            ("src 10.0.0.0/8", true),
            ("src 10.1.2.3", true),
            ("src 10.1.2.4 10.1.2.2/31", true),
            ("src 10.1.2.4/31", false),
            ("src 0.0.0.0/0", true),
            ("src ::/0", false),
            ("dst 10.9.0.0/16", true),
            ("dst 10.1.2.3", false),
            ("dst_port 8080", true),
            ("dst_port 1:8079 8081:", false),
            ("dst_port lt 8081", true),
            ("dst_port gt 8080", false),
        ],
    );
    let mapped = Request {
        source: "::ffff:10.1.2.3".parse().unwrap(),
        ..get("/")
    };
    check(
        &mapped,
        &[
            ("src 10.0.0.0/8", true),
            ("src ::ffff:10.0.0.0/104", true),
            ("src ::/0", false),
        ],
    );
    let v6 = Request {
        source: "2001:db8::1".parse().unwrap(),
        ..get("/")
    };
    check(
        &v6,
        &[
            ("src 2001:db8::/32", true),
            ("src 2001:db9::/32", false),
            ("src ::/0", true),
        ],
    );

    let forwarded = with(&[
        ("X-Forwarded-For", "192.0.2.1, 10.0.0.1:4711, [::1]:80"),
        ("Content-Length", " 42"),
        ("X-Word", "4x"),
    ]);
    check(
        &forwarded,
        &[
            ("hdr_ip(x-forwarded-for) 192.0.2.0/24", true),
            ("hdr_ip(x-forwarded-for) 10.0.0.1", true),
            ("hdr_ip(x-forwarded-for) ::1", true),
            ("hdr_ip(x-forwarded-for) 172.16.0.0/12", false),
            ("hdr_ip(x-word) 0.0.0.0/0", false),
            ("hdr_val(content-length) ge 42", true),
            ("hdr_val(content-length) lt 42", false),
            ("hdr_val(x-word) 4", false),
            ("hdr_val(x-none) 0", false),
        ],
    );
}

#[test]
fn a_head_that_is_not_text_is_no_fault() {
    struct Odd;
    impl RequestView for Odd {
        fn method(&self) -> &[u8] {
            b""
        }
        fn target(&self) -> &[u8] {
            b""
        }
        fn header_count(&self) -> usize {
            1
        }
        fn header(&self, _: usize) -> (&[u8], &[u8]) {
            (b"x", b"\xff\xfe, 1\"\\")
        }
        fn source(&self) -> IpAddr {
            IpAddr::from([0; 4])
        }
        fn destination(&self) -> IpAddr {
            IpAddr::from([10, 9, 9, 9])
        }
        fn destination_port(&self) -> u16 {
            0
        }
    }
    for (condition, expected) in [
        ("path_beg /", false),
        ("method GET", false),
        ("<hdr_val(x) 1>", false),
        ("<hdr_ip(x) 0.0.0.0/0>", false),
        (r"<hdr_reg(x) ^\xff>", true),
        ("<urlp(x) -m found>", false),
        ("has header x", true),
    ] {
        assert_eq!(compiled(condition).matches(&Odd), expected, "`{condition}`");
    }
}

#[test]
fn empty_trees_are_constant() {
    let request = get("/");
    assert!(Compiled::of(&Expression::All(Vec::new())).matches(&request));
    assert!(!Compiled::of(&Expression::Any(Vec::new())).matches(&request));
    let neither = Expression::Not(Box::new(Expression::All(vec![Expression::Any(Vec::new())])));
    assert!(Compiled::of(&neither).matches(&request));
}
