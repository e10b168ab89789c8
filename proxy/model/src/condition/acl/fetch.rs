//! Fetches by their HAProxy names.

use super::{
    super::{Fault, Fetch, excerpt, header_name},
    How, Kind, Word, fault, how_named,
};

const SUPPORTED: &str = "supported are path, url, query, urlp(N), url_param(N), hdr(N), fhdr(N), cook(N), each \
     alone or with _beg, _end, _sub, _dir, _dom, _reg or _len; hdr_cnt(N), fhdr_cnt(N), cook_cnt(N); _val and _ip \
     of hdr, fhdr and urlp, cook_val(N); method, src, dst, dst_port; the flags -i, -m and --";

/// A family of fetches.
struct Base {
    name: &'static str,
    /// Whether HAProxy also knows it as `req.<name>`.
    has_request_alias: bool,
    takes_name: bool,
    suffixes: &'static [&'static str],
}

const TEXT_SUFFIXES: &[&str] = &["str", "beg", "end", "sub", "dir", "dom", "reg", "len"];
const HEADER_SUFFIXES: &[&str] = &[
    "str", "beg", "end", "sub", "dir", "dom", "reg", "len", "cnt", "val", "ip",
];
const COOKIE_SUFFIXES: &[&str] = &[
    "str", "beg", "end", "sub", "dir", "dom", "reg", "len", "cnt", "val",
];
const PARAMETER_SUFFIXES: &[&str] = &[
    "str", "beg", "end", "sub", "dir", "dom", "reg", "len", "val", "ip",
];

/// `url_param` is before `url`, of which it would be taken for a variant.
const BASES: &[Base] = &[
    base("hdr", true, true, HEADER_SUFFIXES),
    base("fhdr", true, true, HEADER_SUFFIXES),
    base("cook", true, true, COOKIE_SUFFIXES),
    base("url_param", false, true, PARAMETER_SUFFIXES),
    base("urlp", false, true, PARAMETER_SUFFIXES),
    base("url", false, false, TEXT_SUFFIXES),
    base("path", false, false, TEXT_SUFFIXES),
    base("query", false, false, TEXT_SUFFIXES),
    base("method", false, false, &[]),
    base("src", false, false, &[]),
    base("dst_port", false, false, &[]),
    base("dst", false, false, &[]),
];

const fn base(
    name: &'static str,
    has_request_alias: bool,
    takes_name: bool,
    suffixes: &'static [&'static str],
) -> Base {
    Base {
        name,
        has_request_alias,
        takes_name,
        suffixes,
    }
}

fn strip_alias<'n>(name: &'n str, base: &Base) -> Option<&'n str> {
    match name.strip_prefix("req.") {
        Some(short) => base.has_request_alias.then_some(short),
        None => Some(name),
    }
}

/// Whether the name is one of ours or a variant of one.
pub(super) fn is_known(name: &str) -> bool {
    BASES.iter().any(|base| {
        strip_alias(name, base)
            .and_then(|name| name.strip_prefix(base.name))
            .is_some_and(|suffix| suffix.is_empty() || suffix.starts_with('_'))
    })
}

/// A fetch that was read.
pub(super) struct Fetched {
    pub(super) fetch: Fetch,
    pub(super) kind: Kind,
    /// How its name says that values are compared.
    pub(super) by_name: Option<How>,
}

/// Reads `name(argument)`; `word` is where it stands.
pub(super) fn read(word: &Word, name: &str, argument: Option<&str>) -> Result<Fetched, Fault> {
    let found = BASES.iter().find_map(|base| {
        let suffix = strip_alias(name, base)?.strip_prefix(base.name)?;
        let suffix = match suffix {
            "" => "",
            suffix => base
                .suffixes
                .iter()
                .find(|known| suffix.strip_prefix('_') == Some(known))?,
        };
        Some((base, suffix))
    });
    let Some((base, suffix)) = found else {
        return Err(fault(
            word.at,
            format!("`{}` is not supported; {SUPPORTED}", excerpt(name)),
        ));
    };
    let argument = match argument.map(str::trim) {
        None | Some("") if base.takes_name => {
            return Err(fault(
                word.at,
                format!("`{name}` needs a name in parentheses: `{name}(N)`"),
            ));
        }
        Some(text) if !base.takes_name => {
            if !text.is_empty() {
                return Err(fault(word.at, format!("`{name}` takes nothing in parentheses")));
            }
            String::new()
        }
        Some(text) if text.contains(',') => {
            return Err(fault(
                word.at,
                format!("`{name}` takes one name; an occurrence or a delimiter is not supported"),
            ));
        }
        text => text.unwrap_or_default().to_owned(),
    };
    let fetch = match (base.name, suffix) {
        ("hdr", "cnt") => Fetch::HeaderCount(header_name(&argument, word.at)?),
        ("hdr", _) => Fetch::Header(header_name(&argument, word.at)?),
        ("fhdr", "cnt") => Fetch::FullHeaderCount(header_name(&argument, word.at)?),
        ("fhdr", _) => Fetch::FullHeader(header_name(&argument, word.at)?),
        ("cook", "cnt") => Fetch::CookieCount(argument),
        ("cook", _) => Fetch::Cookie(argument),
        ("url", _) => Fetch::Url,
        ("path", _) => Fetch::Path,
        ("query", _) => Fetch::Query,
        ("method", _) => Fetch::Method,
        ("src", _) => Fetch::Source,
        ("dst", _) => Fetch::Destination,
        ("dst_port", _) => Fetch::DestinationPort,
        _ => Fetch::UrlParameter(argument),
    };
    let kind = match &fetch {
        Fetch::HeaderCount(_)
        | Fetch::FullHeaderCount(_)
        | Fetch::CookieCount(_)
        | Fetch::DestinationPort => Kind::Number,
        Fetch::Source | Fetch::Destination => Kind::Address,
        _ => Kind::Text,
    };
    let by_name = match suffix {
        "" | "cnt" => None,
        suffix => how_named(suffix),
    };
    Ok(Fetched { fetch, kind, by_name })
}
