//! What a fetch finds in a request, value by value, without copying.

use memchr::{memchr, memchr2, memmem};

use super::RequestView;

/// Lines of the header named `name` (lower case), trimmed.
pub(super) fn header_lines<'r, R: RequestView>(request: &'r R, name: &str) -> impl Iterator<Item = &'r [u8]> {
    let name = name.as_bytes();
    (0..request.header_count()).filter_map(move |index| {
        let (found, value) = request.header(index);
        (found.len() == name.len() && found.eq_ignore_ascii_case(name)).then(|| value.trim_ascii())
    })
}

/// Values of a header line: parts between commas that are not within double quotes, trimmed.
pub(super) fn list(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    split_unquoted(line, [b',', b',']).map(<[u8]>::trim_ascii)
}

/// Values of the cookie named `name` in one line of the header `Cookie`. Names have a case.
pub(super) fn cookies<'r>(line: &'r [u8], name: &[u8]) -> impl Iterator<Item = &'r [u8]> {
    // HAProxy takes a comma for an end as well, as the first cookie specifications did.
    split_unquoted(line, [b';', b',']).filter_map(move |pair| {
        let pair = pair.trim_ascii();
        let at = memchr(b'=', pair)?;
        let (key, value) = pair.split_at_checked(at)?;
        let value = value.get(1..).unwrap_or_default();
        (key.trim_ascii_end() == name).then(|| value.trim_ascii_start())
    })
}

/// Splits at either separator outside of double quotes, within which a backslash hides the next byte. A quote
/// that is never closed reaches to the end.
fn split_unquoted(line: &[u8], separators: [u8; 2]) -> impl Iterator<Item = &[u8]> {
    let [one, other] = separators;
    let has_quotes = memchr(b'"', line).is_some();
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let end = if has_quotes {
            let (mut quoted, mut escaped) = (false, false);
            line.iter().position(|&byte| {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if quoted => escaped = true,
                    b'"' => quoted = !quoted,
                    byte => return !quoted && (byte == one || byte == other),
                }
                false
            })
        } else {
            memchr2(one, other, line)
        };
        let (part, after) = match end.and_then(|end| line.split_at_checked(end)) {
            Some((part, after)) => (part, after.get(1..)),
            None => (line, None),
        };
        rest = after;
        Some(part)
    })
}

/// The path of a request target, without the query; `None` for the asterisk-form and the authority-form.
pub(super) fn path(target: &[u8]) -> Option<&[u8]> {
    let path = match target.first()? {
        b'/' => target,
        b'*' => return None,
        _ => {
            let (_, after_scheme) = target.split_at_checked(memmem::find(target, b"://")? + 3)?;
            match after_scheme
                .iter()
                .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
            {
                Some(at) if after_scheme.get(at) == Some(&b'/') => after_scheme.get(at..)?,
                // RFC 9110, section 4.2.3: an empty path is the path `/`.
                _ => return Some(b"/"),
            }
        }
    };
    Some(memchr(b'?', path).and_then(|at| path.get(..at)).unwrap_or(path))
}

/// The query of a request target, without the `?`; `None` if it has none.
pub(super) fn query(target: &[u8]) -> Option<&[u8]> {
    memchr(b'?', target).and_then(|at| target.get(at + 1..))
}

/// Values of the parameter named `name` in the query of a request target.
pub(super) fn parameters<'r>(target: &'r [u8], name: &[u8]) -> impl Iterator<Item = &'r [u8]> {
    query(target)
        .into_iter()
        .flat_map(|query| query.split(|byte| matches!(byte, b'&' | b';')))
        .filter_map(move |pair| pair.strip_prefix(name)?.strip_prefix(b"="))
}
