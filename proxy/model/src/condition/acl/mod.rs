//! HAProxy's ACL text, as far as a native proxy answers it (spec of the gateway agent, §3.2; HAProxy 1.7
//! configuration manual, chapter 7). What is not answered is refused by name.

mod fetch;
mod pattern;
mod word;

use self::{fetch::Fetched, word::Word};
use super::{Budget, Fault, Test, TextMatch, excerpt};

/// Why a text is not an ACL of the supported kind.
#[derive(Debug)]
pub(in crate::condition) struct Error {
    pub(in crate::condition) fault: Fault,
    /// Whether the text began with the name of a supported fetch, so that an ACL was surely meant.
    pub(in crate::condition) known_fetch: bool,
}

/// How values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Found,
    Bool,
    Integer,
    Length,
    Network,
    Text(TextMatch),
    Regex,
}

/// What a fetch gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Address,
}

/// Reads `fetch[(argument)] [flags] [patterns]`.
pub(super) fn parse(text: &str, budget: &mut Budget) -> Result<Test, Error> {
    let unknown = |fault| Error {
        fault,
        known_fetch: false,
    };
    let words = word::split(text).map_err(unknown)?;
    let Some((first, rest)) = words.split_first() else {
        return Err(unknown(fault(0, "a native ACL must not be empty")));
    };
    let (name, argument) = word::call(first).map_err(unknown)?;
    parse_after_name(first, name, argument, rest, budget).map_err(|fault| Error {
        fault,
        known_fetch: fetch::is_known(name),
    })
}

/// Reads `fetch[(argument)]` of a sample; how values are compared has no place there.
pub(super) fn sample(text: &str) -> Result<super::Fetch, Fault> {
    let word = Word {
        at: 0,
        text: text.trim().to_owned(),
    };
    let (name, argument) = word::call(&word)?;
    let Fetched { fetch, by_name, .. } = fetch::read(&word, name, argument)?;
    if by_name.is_some() {
        return Err(fault(
            0,
            format!("`{}` compares; a sample takes the name alone", excerpt(name)),
        ));
    }
    Ok(fetch)
}

fn parse_after_name(
    first: &Word,
    name: &str,
    argument: Option<&str>,
    rest: &[Word],
    budget: &mut Budget,
) -> Result<Test, Fault> {
    budget.take_test(first.at)?;
    let Fetched { fetch, kind, by_name } = fetch::read(first, name, argument)?;
    let (flags, patterns) = flags(rest)?;
    let how = how(first, kind, by_name, flags.method)?;
    let matcher = pattern::matcher(first, how, flags.ignore_case, patterns, budget)?;
    Ok(Test { fetch, matcher })
}

fn fault(at: usize, message: impl Into<String>) -> Fault {
    Fault {
        at,
        message: message.into(),
    }
}

/// Words of `-m` and of suffixes.
fn how_named(word: &str) -> Option<How> {
    Some(match word {
        "found" => How::Found,
        "bool" => How::Bool,
        "int" | "val" => How::Integer,
        "len" => How::Length,
        "ip" => How::Network,
        "str" => How::Text(TextMatch::Exact),
        "beg" => How::Text(TextMatch::Prefix),
        "end" => How::Text(TextMatch::Suffix),
        "sub" => How::Text(TextMatch::Substring),
        "dir" => How::Text(TextMatch::Directory),
        "dom" => How::Text(TextMatch::Domain),
        "reg" => How::Regex,
        _ => return None,
    })
}

#[derive(Debug, Default)]
struct Flags<'w> {
    ignore_case: bool,
    /// The word after `-m`, and what it means.
    method: Option<(&'w Word, How)>,
}

/// Reads the flags; the words after them are the patterns.
fn flags(words: &[Word]) -> Result<(Flags<'_>, &[Word]), Fault> {
    let mut flags = Flags::default();
    let mut rest = words;
    while let [word, after @ ..] = rest
        && word.text.starts_with('-')
    {
        rest = after;
        match word.text.as_str() {
            "--" => break,
            "-i" => flags.ignore_case = true,
            "-m" => {
                let methods = "found, bool, int, ip, len, str, beg, end, sub, dir, dom, reg";
                let [word, after @ ..] = rest else {
                    return Err(fault(word.at, format!("-m needs one of {methods}")));
                };
                rest = after;
                let method = how_named(&word.text)
                    .filter(|_| word.text != "val")
                    .ok_or_else(|| {
                        let word_text = excerpt(&word.text);
                        fault(
                            word.at,
                            format!("-m {word_text} is not supported; use one of {methods}"),
                        )
                    })?;
                flags.method = Some((word, method));
            }
            other => {
                return Err(fault(
                    word.at,
                    format!(
                        "the flag `{}` is not supported; use -i or -m, and -- in front of a pattern that begins with -",
                        excerpt(other)
                    ),
                ));
            }
        }
    }
    Ok((flags, rest))
}

fn how(fetch: &Word, kind: Kind, by_name: Option<How>, by_flag: Option<(&Word, How)>) -> Result<How, Fault> {
    let how = match (by_name, by_flag) {
        (Some(how), None) => how,
        (Some(by_name), Some((word, how))) => {
            if by_name != how {
                return Err(fault(
                    word.at,
                    format!(
                        "`{}` says already how to compare; leave -m out",
                        excerpt(&fetch.text)
                    ),
                ));
            }
            how
        }
        (None, Some((_, how))) => how,
        (None, None) => match kind {
            Kind::Text => How::Text(TextMatch::Exact),
            Kind::Number => How::Integer,
            Kind::Address => How::Network,
        },
    };
    let fits = match how {
        How::Found => true,
        How::Bool => kind == Kind::Number,
        How::Integer => kind != Kind::Address,
        How::Network => kind != Kind::Number,
        How::Text(_) | How::Regex | How::Length => kind == Kind::Text,
    };
    if fits {
        return Ok(how);
    }
    let what = match kind {
        Kind::Text => "a text, which -m bool cannot compare",
        Kind::Number => "a number; use -m int, bool or found",
        Kind::Address => "an address; use -m ip or found",
    };
    let at = by_flag.map_or(fetch.at, |(word, _)| word.at);
    Err(fault(at, format!("`{}` gives {what}", excerpt(&fetch.text))))
}
