//! Who a request is for: the `Host` value and the forms of a request target (RFC 9112 §3.2).

/// Where a request target points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'b> {
    /// From a target in absolute form; it stands for the Host header (RFC 9112 §3.2.2).
    pub(super) authority: Option<&'b [u8]>,
    /// Path and query. Without its leading `/` only if `rooted` is not set.
    pub(super) path: &'b [u8],
    /// Whether `path` begins with `/` or is `*`.
    pub(super) rooted: bool,
}

/// Reads a target of any form but that of CONNECT; `None` if it is not one.
pub(super) fn target<'b>(method: &[u8], target: &'b [u8]) -> Option<Target<'b>> {
    // `httparse` admits any byte that is not a space or a control character. A fragment is never sent
    // (RFC 9112 §3.2), and recipients differ in what they make of one or of bytes beyond ASCII.
    if target.iter().any(|&byte| byte == b'#' || byte >= 0x7f) {
        return None;
    }
    match target {
        [b'/', ..] => Some(Target {
            authority: None,
            path: target,
            rooted: true,
        }),
        b"*" => (method == b"OPTIONS").then_some(Target {
            authority: None,
            path: target,
            rooted: true,
        }),
        _ => absolute(method, target),
    }
}

fn absolute<'b>(method: &[u8], target: &'b [u8]) -> Option<Target<'b>> {
    let after_scheme = ["http://", "https://"].iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
    })?;
    let end = after_scheme
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(after_scheme.len());
    let (authority, path) = after_scheme.split_at_checked(end)?;
    if !is_host(authority) {
        return None;
    }
    let authority = Some(authority);
    Some(match path.first() {
        Some(b'/') => Target {
            authority,
            path,
            rooted: true,
        },
        None if method == b"OPTIONS" => Target {
            authority,
            path: b"*",
            rooted: true,
        },
        None => Target {
            authority,
            path: b"/",
            rooted: true,
        },
        Some(_) => Target {
            authority,
            path,
            rooted: false,
        },
    })
}

/// `uri-host [ ":" port ]` of RFC 9110 §7.2 with a host that is not empty, and without user information.
pub(super) fn is_host(value: &[u8]) -> bool {
    let port = match value {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|&byte| byte == b']') else {
                return false;
            };
            let (literal, after) = rest.split_at(end);
            let is_literal = !literal.is_empty()
                && literal
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || b":.-_~%".contains(byte));
            match after {
                [b']'] if is_literal => return true,
                [b']', b':', port @ ..] if is_literal => port,
                _ => return false,
            }
        }
        _ => {
            let end = value.iter().position(|&byte| byte == b':');
            let (name, port) = value.split_at(end.unwrap_or(value.len()));
            if name.is_empty() || !name.iter().all(|&byte| is_name(byte)) {
                return false;
            }
            match port {
                [] => return true,
                [_, port @ ..] => port,
            }
        }
    };
    port.len() <= 5 && port.iter().all(u8::is_ascii_digit)
}

/// `reg-name` of RFC 3986 §3.2.2.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte)
}
