//! Other recipients' readings of HTTP/1.1: a strict one and a lax one, written apart from the proxy's own.

/// How a recipient takes what RFC 9112 leaves or forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Lines end with CR LF, a length is digits, a coding is `chunked`.
    Strict,
    /// LF ends a line, names are trimmed, anything that contains `chunked` is chunked, numbers end where digits end.
    Lax,
}

/// A request as a recipient took it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Method, target and host.
    pub summary: String,
    pub head: String,
    pub body: Vec<u8>,
}

/// Lines and length of the head at the front of `bytes`.
fn head(bytes: &[u8], manner: Manner) -> Option<(Vec<String>, usize)> {
    let mut lines = Vec::new();
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let (end, next) = match manner {
            Manner::Strict => {
                let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
                (end, end + 2)
            }
            Manner::Lax => {
                let end = rest.iter().position(|byte| *byte == b'\n')?;
                (end - usize::from(end > 0 && rest[end - 1] == b'\r'), end + 1)
            }
        };
        at += next;
        if end == 0 {
            if lines.is_empty() {
                continue;
            }
            return Some((lines, at));
        }
        lines.push(String::from_utf8_lossy(&rest[..end]).into_owned());
    }
}

fn fields(lines: &[String], manner: Manner) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in lines.iter().skip(1) {
        if manner == Manner::Lax && line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push_str(line.trim());
            }
            continue;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let name = if manner == Manner::Lax { name.trim() } else { name };
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    fields
}

fn value<'f>(fields: &'f [(String, String)], name: &str) -> Option<&'f str> {
    fields
        .iter()
        .rev()
        .find(|(found, _)| found == name)
        .map(|(_, value)| value.as_str())
}

fn number(text: &str, radix: u32, manner: Manner) -> Option<usize> {
    let digits: String = match manner {
        Manner::Strict => text.to_owned(),
        Manner::Lax => text.chars().take_while(|c| c.is_digit(radix)).collect(),
    };
    usize::from_str_radix(&digits, radix).ok()
}

/// Content and length of a chunked body at the front of `bytes`.
fn chunks(bytes: &[u8], manner: Manner) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        let line = line.trim_end_matches('\r');
        let size = number(line.split(';').next().unwrap_or_default().trim(), 16, manner)?;
        at += end + 1;
        if size == 0 {
            break;
        }
        body.extend_from_slice(bytes.get(at..at.checked_add(size)?)?);
        // What follows a chunk is skipped to the end of its line.
        let rest = &bytes[at + size..];
        at += size + rest.iter().position(|byte| *byte == b'\n')? + 1;
    }
    loop {
        let rest = &bytes[at..];
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        at += end + 1;
        if rest[..end].iter().all(|byte| *byte == b'\r') {
            return Some((body, at));
        }
    }
}

/// The requests that are complete in `bytes`, and how many bytes they take.
pub fn requests(bytes: &[u8], manner: Manner) -> (Vec<Message>, usize) {
    let mut messages = Vec::new();
    let mut at = 0;
    while let Some((lines, length)) = head(&bytes[at..], manner) {
        let fields = fields(&lines, manner);
        let rest = &bytes[at + length..];
        let coded = value(&fields, "transfer-encoding").is_some_and(|coding| match manner {
            Manner::Strict => coding.eq_ignore_ascii_case("chunked"),
            Manner::Lax => coding.to_ascii_lowercase().contains("chunked"),
        });
        let body = if coded {
            chunks(rest, manner)
        } else {
            let stated = value(&fields, "content-length").map_or(Some(0), |text| number(text, 10, manner));
            stated.and_then(|length| Some((rest.get(..length)?.to_vec(), length)))
        };
        let Some((body, body_length)) = body else { break };
        let mut words = lines[0].split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        messages.push(Message {
            summary: format!("{method} {target} {}", value(&fields, "host").unwrap_or("-")),
            head: lines.join("\n"),
            body,
        });
        at += length + body_length;
    }
    (messages, at)
}

/// Answers in `bytes`, each as `STATUS` or, for 2xx, `STATUS BODY`; one that is not complete begins with `cut `.
/// `ended`: the connection ended in order after them.
pub fn answers(bytes: &[u8], ended: bool) -> Vec<String> {
    let mut answers = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let Some((lines, length)) = head(rest, Manner::Strict) else {
            answers.push(format!("cut {:?}", String::from_utf8_lossy(rest)));
            break;
        };
        let status = lines[0]
            .strip_prefix("HTTP/1.1 ")
            .and_then(|line| line.split(' ').next())
            .filter(|status| status.len() == 3)
            .unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(rest)))
            .to_owned();
        rest = &rest[length..];
        let fields = fields(&lines, Manner::Strict);
        if status.starts_with('1') || matches!(status.as_str(), "204" | "304") {
            answers.push(status);
            continue;
        }
        let body = if value(&fields, "transfer-encoding") == Some("chunked") {
            chunks(rest, Manner::Strict)
        } else if let Some(length) = value(&fields, "content-length") {
            let length: usize = length.parse().unwrap();
            rest.get(..length).map(|body| (body.to_vec(), length))
        } else {
            ended.then(|| (rest.to_vec(), rest.len()))
        };
        let shown = |body: &[u8]| {
            if status.starts_with('2') {
                format!("{status} {}", String::from_utf8_lossy(body))
            } else {
                status.clone()
            }
        };
        match body {
            Some((body, length)) => {
                answers.push(shown(&body));
                rest = &rest[length..];
            }
            None => {
                answers.push(format!("cut {}", shown(rest)));
                break;
            }
        }
    }
    answers
}

#[test]
fn readings_differ_where_recipients_do() {
    let bytes =
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x\r\nTransfer-Encoding: xchunked\r\n\r\n0\n\n";
    assert_eq!(requests(bytes, Manner::Strict).0, []);
    assert_eq!(requests(bytes, Manner::Lax).0[0].summary, "POST / a");
    assert_eq!(
        answers(b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 400 B\r\nContent-Length: 3\r\n\r\nab", true),
        ["100", "200 ok", "cut 400"]
    );
}
