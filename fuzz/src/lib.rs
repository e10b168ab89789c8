//! What must hold of any bytes, one function for each reader of bytes from outside. Each panics if it does not.
//!
//! The targets in `fuzz_targets/` call these under cargo-fuzz; `tests/tests/fuzz.rs` calls them in a short round of its own.

use std::net::IpAddr;

use weir_artifact::{Kind, read, write};
use weir_model::{Condition, PathRewrite, document, wire::v1};
use weir_proxy::{
    Limits,
    condition::{Compiled, RequestView},
    internals,
};

/// An accepted head has an end that does not depend on what follows, no part of it is refused or taken for a whole, and what is passed
/// on is read the same again.
pub fn request_head(bytes: &[u8]) {
    let limits = Limits::default();
    let Ok(Some(head)) = internals::request_head(bytes, &limits) else {
        return;
    };
    assert!(head.length <= bytes.len() && head.length <= limits.head_bytes_max);
    let (own, _) = bytes.split_at(head.length);
    assert_eq!(
        internals::request_head(own, &limits),
        Ok(Some(head)),
        "what follows matters"
    );
    for end in (0..own.len()).rev().take(64) {
        let part = own.get(..end).unwrap_or_default();
        assert_eq!(internals::request_head(part, &limits), Ok(None), "cut at {end}");
    }
    let passed_on = internals::forwarded_request(own, &limits).expect("it was accepted");
    // A head as long as allowed may have become too long by what is added.
    let roomy = Limits {
        request_line_bytes_max: 128 * 1024,
        head_bytes_max: 128 * 1024,
        headers_max: 128,
        ..limits
    };
    match internals::request_head(&passed_on, &roomy) {
        Ok(Some(again)) => {
            assert_eq!(again.length, passed_on.len());
            assert_eq!((again.method, again.body), (head.method, head.body));
            if let Some(host) = head.host {
                assert_eq!(again.host, Some(host));
            }
        }
        // The number of lines has a bound that no limit raises.
        other => assert!(
            own.split(|byte| *byte == b'\n').count() > 90,
            "passed on as {other:?}: {:?}",
            String::from_utf8_lossy(&passed_on)
        ),
    }
}

/// As for requests; the first byte says whether the request was HEAD.
pub fn response_head(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else {
        return;
    };
    let (head_only, limits) = (first & 1 == 1, Limits::default());
    let Ok(Some(head)) = internals::response_head(bytes, head_only, &limits) else {
        return;
    };
    assert!((100..600).contains(&head.status));
    let (own, _) = bytes.split_at(head.length);
    assert_eq!(
        internals::response_head(own, head_only, &limits),
        Ok(Some(head)),
        "what follows matters"
    );
    for end in (0..own.len()).rev().take(64) {
        let part = own.get(..end).unwrap_or_default();
        assert_eq!(
            internals::response_head(part, head_only, &limits),
            Ok(None),
            "cut at {end}"
        );
    }
}

/// However a chunked body is cut on the way, it ends at the same byte or is refused.
pub fn chunked(bytes: &[u8]) {
    let whole = internals::Chunks::default().advance(bytes);
    for piece in [1, 2, 7] {
        let mut chunks = internals::Chunks::default();
        let mut consumed = 0;
        let mut outcome = Some((0, false));
        for piece in bytes.chunks(piece) {
            match chunks.advance(piece) {
                None => {
                    outcome = None;
                    break;
                }
                Some((taken, ended)) => {
                    consumed += taken;
                    outcome = Some((consumed, ended));
                    if ended {
                        break;
                    }
                }
            }
        }
        assert_eq!(outcome, whole, "in pieces of {piece}");
    }
}

/// An accepted header has an end that does not depend on what follows, and every part of it needs more.
pub fn proxy_protocol(bytes: &[u8]) {
    let Ok(Some((length, addresses))) = internals::proxy_header(bytes) else {
        return;
    };
    let (own, _) = bytes.split_at(length);
    assert_eq!(internals::proxy_header(own), Ok(Some((length, addresses))));
    for end in 1..own.len() {
        let part = own.get(..end).unwrap_or_default();
        assert_eq!(internals::proxy_header(part), Ok(None), "cut at {end}");
    }
}

/// A whole `ClientHello` is whole whatever follows, no part of it is whole or refused, and where another reader of TLS finds a name it
/// is the same.
pub fn server_name(bytes: &[u8]) {
    let Ok(Some((length, name))) = internals::server_name(bytes) else {
        return;
    };
    let (own, _) = bytes.split_at(length.min(bytes.len()));
    for end in (0..own.len()).rev().take(64) {
        let part = own.get(..end).unwrap_or_default();
        assert_eq!(internals::server_name(part), Ok(None), "cut at {end}");
    }
    if let Some(name) = name {
        assert!(!name.is_empty() && name.len() <= 253);
        assert_eq!(name, name.to_ascii_lowercase());
        assert!(name.bytes().all(|byte| byte.is_ascii_graphic()));
    }
}

/// A request whose parts are bytes from outside.
struct Request<'b>(&'b [u8]);

impl RequestView for Request<'_> {
    fn method(&self) -> &[u8] {
        b"GET"
    }

    fn target(&self) -> &[u8] {
        self.0
    }

    fn header_count(&self) -> usize {
        3
    }

    fn header(&self, index: usize) -> (&[u8], &[u8]) {
        match index {
            0 => (b"Host", self.0),
            1 => (b"Cookie", self.0),
            _ => (b"User-Agent", self.0),
        }
    }

    fn source(&self) -> IpAddr {
        IpAddr::from([10, 0, 0, 1])
    }

    fn destination(&self) -> IpAddr {
        IpAddr::from([10, 0, 0, 2])
    }
    fn destination_port(&self) -> u16 {
        80
    }
}

/// A condition compiles, any request can be tested and its meaning be printed, and what it is written as is the same condition.
pub fn condition(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(condition) = Condition::parse(text) else {
        return;
    };
    let compiled = Compiled::new(&condition);
    for target in [bytes, b"/a?b=c", b""] {
        let _ = compiled.matches(&Request(target));
    }
    assert!(!condition.expression().to_string().is_empty());
    assert_eq!(
        Condition::parse(&condition.to_string()),
        Ok(condition),
        "{text:?}"
    );
}

/// What is read can be written, and what was written reads as the same.
pub fn artifact(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let _ = read::many(text);
    let _ = read::requests(text);
    let _ = (read::sla(text), read::scale(text), read::workflow_status(text));
    imports(text);
    for kind in Kind::ALL {
        let Ok(artifact) = read::one(kind, text) else {
            continue;
        };
        let written = write::value(&artifact);
        match read::stored(kind, &written) {
            Ok(again) => assert_eq!(write::value(&again), written, "{text:?}"),
            Err(problems) => panic!("{text:?} is written as {written}, which is refused: {problems:?}"),
        }
    }
}

/// Whatever is imported, documents that take it in are read or refused.
fn imports(text: &str) {
    let Ok(documents) = read::Documents::parse(text) else {
        return;
    };
    let body = serde_json::json!({"name": "t", "definition": {"ports": {"web": 80}, "metadata": {"a": [1, {"b": null}]}, "routes": ["x"]}});
    let documents = documents.complete(|import| (import.name.len() % 2 == 0).then(|| body.clone()));
    for warning in documents.requests().map(|read| read.warnings).unwrap_or_default() {
        assert_eq!(warning.severity, weir_artifact::Severity::Warning);
    }
}

/// What is made of a Compose file is read, or is told what a blueprint cannot be.
pub fn compose(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(yaml) = weir_artifact::compose::import("shop", text) else {
        return;
    };
    if let Err(problems) = read::one(Kind::Blueprint, &yaml) {
        let is_circle = |code: &str| code == "RecursiveDependenciesError";
        assert!(
            problems.iter().all(|problem| is_circle(problem.code)),
            "{text:?} became {yaml:?}: {problems:?}"
        );
    }
}

/// A rewrite is written as it was, and its condition compiles.
pub fn rewrite(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(rewrite) = PathRewrite::parse(text) else {
        return;
    };
    assert!(!rewrite.pieces().is_empty());
    assert!(!rewrite.condition().to_string().is_empty());
    assert_eq!(PathRewrite::parse(rewrite.source()), Ok(rewrite), "{text:?}");
}

/// What is read of a snapshot can be written, and reads as the same without refusals.
pub fn wire(bytes: &[u8]) {
    let Ok(reading) = v1::read(bytes) else { return };
    let again = v1::read(&v1::write(&reading.snapshot)).expect("what was written");
    assert_eq!(again.refused, []);
    assert_eq!(again.snapshot.gateways(), reading.snapshot.gateways());
    // What is known beforehand changes nothing.
    let known = v1::Reader::after(reading.snapshot.clone())
        .read_whole(bytes)
        .expect("it was read");
    assert_eq!(
        (&known.snapshot, &known.refused),
        (&reading.snapshot, &reading.refused)
    );
    in_parts(bytes, &reading);
}

/// A document that is accepted in parts says what the parts put together say.
fn in_parts(bytes: &[u8], whole: &v1::Reading) {
    let Some((before, list)) = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.split_once(",\"gateways\":["))
    else {
        return;
    };
    let tail = v1::tail(whole.snapshot.generation(), whole.digest);
    for gateways in 1..4 {
        let Some((list, _)) = list.rsplit_once("]") else {
            return;
        };
        let cut = list
            .match_indices(",{\"name\"")
            .nth(gateways - 1)
            .map_or(list.len(), |(at, _)| at);
        let Some((first, second)) = list.split_at_checked(cut) else {
            return;
        };
        let after = second.matches(",{\"name\"").count();
        let mut sections = vec![v1::Part {
            gateways,
            text: first.into(),
        }];
        if after > 0 {
            sections.push(v1::Part {
                gateways: after,
                text: second.into(),
            });
        }
        let parts = v1::Parts {
            head: format!("{before},\"gateways\":[").into(),
            sections,
            tail: tail.as_str().into(),
        };
        let joined: String = [&*parts.head]
            .into_iter()
            .chain(parts.sections.iter().map(|part| &*part.text))
            .chain([&*parts.tail])
            .collect();
        if let Ok(reading) = v1::Reader::default().read(&v1::Document::Parts(parts)) {
            let plain = v1::read(joined.as_bytes()).expect("the parts are right");
            assert_eq!(
                (&reading.snapshot, &reading.refused),
                (&plain.snapshot, &plain.refused)
            );
        }
    }
}

/// What is read of a document for people can be written, and reads as the same.
pub fn document(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice(bytes) else {
        return;
    };
    let Ok(gateways) = document::read(value) else {
        return;
    };
    let written = document::write(&gateways);
    assert_eq!(document::read(written), Ok(gateways));
}
