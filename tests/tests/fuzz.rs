//! A short round of every fuzz target. For long runs see `docs/testing.md`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "the targets are shared with cargo-fuzz")]

#[path = "../../proxy/tests/support/mutate.rs"]
mod mutate;
#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::{fs, path::Path};

use self::mutate::HTTP;

/// Calls the target with the seeds and, for a bounded time, with what is made of them.
fn round(target: fn(&[u8]), seeds: Vec<Vec<u8>>, words: &[&[u8]]) {
    for seed in &seeds {
        target(seed);
    }
    mutate::round(2, &seeds, words, |bytes| {
        if let Err(panic) = std::panic::catch_unwind(|| target(bytes)) {
            eprintln_bytes(bytes);
            std::panic::resume_unwind(panic);
        }
    });
}

#[expect(clippy::print_stderr, reason = "the bytes are what a failure is about")]
fn eprintln_bytes(bytes: &[u8]) {
    eprintln!("with b\"{}\"", bytes.escape_ascii());
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn request_head() {
    round(
        targets::request_head,
        texts(&[
            "GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /a?x=y HTTP/1.0\r\n\r\n",
            "POST /b HTTP/1.1\r\nHost: h:80\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
            "POST /c HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: chunked\r\nConnection: TE, x\r\nTE: trailers\r\nX: y\r\n\r\n",
            "GET http://h/d HTTP/1.1\r\nHost: other\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: h\r\nCookie: a=b; c=d\r\nForwarded: for=1.2.3.4\r\n\r\n",
        ]),
        HTTP,
    );
}

#[test]
fn response_head() {
    round(
        targets::response_head,
        texts(&[
            "0HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine",
            "1HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "0HTTP/1.0 304 \r\nConnection: keep-alive, x\r\nX: y\r\nCache-Control: private\r\n\r\n",
            "0HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
        ]),
        HTTP,
    );
}

#[test]
fn chunked() {
    round(
        targets::chunked,
        texts(&[
            "5\r\nhello\r\n0\r\n\r\n",
            "5;a=\"b\"\r\nhello\r\na\r\n0123456789\r\n0\r\nT: v\r\nU: w\r\n\r\nGET",
        ]),
        HTTP,
    );
}

#[test]
fn proxy_protocol() {
    let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x0a\0\0\x01\x12\x34\0\x50".to_vec();
    let mut seeds = texts(&[
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET /",
        "PROXY TCP6 ::1 ::1 1 2\r\n",
        "PROXY UNKNOWN\r\n",
    ]);
    seeds.push(binary.clone());
    binary[12] = 0x20;
    seeds.push(binary);
    round(
        targets::proxy_protocol,
        seeds,
        &[
            b"\r\n", b" ", b"0", b"TCP4", b"TCP6", b"::", b"\x21", b"\xff", b"\0", b"+", b"65536",
        ],
    );
}

#[test]
fn server_name() {
    // As clients send them: with a name, in two records, without one.
    let hello = |name: &[u8]| {
        let list = [&[0][..], &length(name), name].concat();
        let name = [&length(&list)[..], &list].concat();
        let named = [&[0, 0][..], &length(&name), &name].concat();
        let extensions = [&[0, 43, 0, 3, 2, 3, 4][..], &named].concat();
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        body.extend(length(&extensions));
        body.extend(extensions);
        [&[1, 0][..], &length(&body), &body].concat()
    };
    let records = |message: &[u8], size: usize| -> Vec<u8> {
        let record = |piece: &[u8]| [&[22, 3, 1][..], &length(piece), piece].concat();
        message.chunks(size).flat_map(record).collect()
    };
    let seeds = vec![
        records(&hello(b"shop.test"), 500),
        records(&hello(b"a.b.test"), 40),
        records(&hello(b""), 500),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ];
    let words: &[&[u8]] = &[
        b"\0",
        b"\0\0",
        b"\x16\x03\x01",
        b"\x16\x03\x01\0\x05",
        b"\0\0\0\x05\0\x03\0\0\0",
        b"\xff\xff",
        b".",
        b"test",
    ];
    round(targets::server_name, seeds, words);
}

fn length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap().to_be_bytes()
}

#[test]
fn condition() {
    round(
        targets::condition,
        texts(&[
            "User-Agent = Firefox",
            "(host == a OR not has cookie vamp) AND misses header X",
            "header X-Canary has yes and cookie c contains d",
            "<path_beg -i /shop /cart> or < hdr_sub(user-agent) -i android >",
            "<path_reg ^/shop/[a-z]+/[0-9]+>",
            "<hdr_ip(x-forwarded-for) 172.16.0.0/12> and <src 10.0.0.0/8>",
            "<urlp(debug) 1> and not <method GET POST>",
        ]),
        &[
            b" and ",
            b" or ",
            b"not ",
            b"(",
            b")",
            b"<",
            b">",
            b"!",
            b"=",
            b"==",
            b"!=",
            b" has ",
            b"\"",
            b"'",
            b"\\",
            b" -i ",
            b"hdr(",
            b"(?:",
            b"[a-",
            b"*",
            b"\xc3\xa9",
            b"\n",
        ],
    );
}

/// What parsers of YAML stumble over, and more.
fn with_yaml<'w>(words: &[&'w [u8]]) -> Vec<&'w [u8]> {
    const YAML: [&[u8]; 9] = [b"\n", b": ", b"- ", b"{", b"}", b"[", b"]", b"\"", b"'"];
    [&YAML[..], words].concat()
}

/// Files of a folder of the repository that end with this.
fn files(folder: &str, end: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(end))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn artifact() {
    let mut seeds = files("control/artifact/testdata/good", ".txt");
    seeds.extend(texts(&[
        "name: b\ndeployable: d\nports: {web: 8080/http}\nenvironment_variables: {A: b}\n",
        "name: s\ncpu: 0.2\nmemory: 64MB\ninstances: 2\n",
        "name: g\nport: 80\nsticky: route\nroutes: {a: {weight: 50%}, b: {weight: 50%, condition: 'user-agent == x'}}\n",
        "name: w\nbreed: b\nschedule: {time: {period: P1DT2H, start: now, repeat: 3}}\nenv: {A: $b.host}\nimport: [base]\n",
        "name: x\ntype: escalation_only\nescalations: [{to_one: [a, {type: scale_cpu, minimum: 1, maximum: 2, scale_by: 0.5}]}]\n",
        "name: p\ngateways: {80: a/web}\nclusters: {a: {services: [{breed: {name: b, deployable: d, ports: {web: 80}}}]}}\n",
    ]));
    round(
        targets::artifact,
        seeds,
        &with_yaml(&[
            b"|\n",
            b"&a ",
            b"*a",
            b"!!str ",
            b"---\n",
            b"~",
            b"null",
            b"%",
            b"0",
            b"1e9",
            b"MB",
            b"  ",
            b"#",
            b"ref: ",
            b"\t",
            b"\xc3\xa9",
        ]),
    );
}

#[test]
fn compose() {
    round(
        targets::compose,
        texts(&[
            "version: '3'\nservices:\n  web: {image: a, ports: ['80:80', 443/tcp], depends_on: [db], environment: {DB: 'http://db:5432/x', B: $$x}}\n  db: {build: ., expose: [5432], command: [a, b]}\n",
            "a: {image: x, ports: [{target: 80, protocol: tcp}], environment: [A=b:9, C]}\nb: {image: y}\n",
        ]),
        &with_yaml(&[
            b"$",
            b":",
            b"/",
            b"db:5432",
            b"a:1",
            b"\xc3\xa9",
            b"0",
            b"~",
            b"#",
            b"-",
        ]),
    );
}

#[test]
fn rewrite() {
    round(
        targets::rewrite,
        texts(&[
            "/img/%[path] if path_end .jpg",
            "%[path,regsub('^/(api)','/\\1',gi),lower]/%%20 IF { path_beg /a } !{ method POST } or { src 10.0.0.0/8 }",
            "/%[req.hdr(x)]%[cook(a)]%[urlp(b)] if always_true",
        ]),
        &[
            b" if ",
            b"%[",
            b"]",
            b"%",
            b"(",
            b")",
            b",",
            b"{ ",
            b" }",
            b"!",
            b" or ",
            b"'",
            b"\"",
            b"\\",
            b" ",
            b"path",
            b"regsub(",
            b"\xc3\xa9",
            b"\n",
        ],
    );
}

#[test]
fn wire() {
    round(
        targets::wire,
        files("proxy/model/testdata/v1", ".json"),
        &[
            b"\"", b"{", b"}", b"[", b"]", b",", b":", b"null", b"0", b"-1", b"1e99", b"10001", b"\\u0000",
            b"\\",
        ],
    );
}

#[test]
fn document() {
    let route = r#"{"weight":"100%","condition":"User-Agent == x","condition_strength":"50%","instances":["127.0.0.1:1",{"id":"x","host":"h","port":1,"state":"draining"}]}"#;
    let options = r#"{"health":{"protocol":"http","path":"/h","interval":"2s","rise":2},"timeouts":{"connect":"5s"},"send_proxy_protocol":"v2","protocol":"http2","slow_start":"10s","instances":["h:9"]}"#;
    let seeds = texts(&[
        &format!(
            r#"{{"gateways":{{"g":{{"port":80,"sticky":"route","virtual_hosts":["a"],"routes":{{"a":{route}}}}}}}}}"#
        ),
        &format!(
            r#"{{"gateways":{{"g":{{"port":"80/tcp","address":"::1","routes":{{"a":{options},"b":{{"gateway":"i"}}}}}},"i":{{"routes":{{"a":{route}}}}}}}}}"#
        ),
    ]);
    round(
        targets::document,
        seeds,
        &[
            b"\"",
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b"null",
            b"0",
            b"-1",
            b"%",
            b"50%",
            b"\"weight\":",
            b"/",
            b"ms",
            b"24h",
            b"[::1]:1",
            b"\\u00e9",
        ],
    );
}
