//! Patterns: what a fetched value is compared with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    super::{Budget, Condition, Fault, Matcher, TextMatch, excerpt},
    How, Word, fault,
};

pub(super) fn matcher(
    fetch: &Word,
    how: How,
    ignore_case: bool,
    patterns: &[Word],
    budget: &mut Budget,
) -> Result<Matcher, Fault> {
    if matches!(how, How::Found | How::Bool) {
        if let Some(first) = patterns.first() {
            return Err(fault(first.at, "-m found and -m bool take no patterns"));
        }
    } else if patterns.is_empty() {
        return Err(fault(
            fetch.at,
            format!("`{}` needs something to compare with", excerpt(&fetch.text)),
        ));
    }
    Ok(match how {
        How::Found => Matcher::Found,
        How::Bool => Matcher::Integer(vec![(i64::MIN, -1), (1, i64::MAX)]),
        How::Integer => Matcher::Integer(integers(patterns)?),
        How::Length => Matcher::Length(integers(patterns)?),
        How::Network => Matcher::Network(patterns.iter().map(network).collect::<Result<_, _>>()?),
        How::Regex => Matcher::Regex(
            patterns
                .iter()
                .map(|pattern| regex(pattern, ignore_case, budget))
                .collect::<Result<_, _>>()?,
        ),
        How::Text(how) => Matcher::Text {
            how,
            ignore_case,
            patterns: patterns
                .iter()
                .map(|pattern| text_pattern(pattern, how, ignore_case))
                .collect::<Result<_, _>>()?,
        },
    })
}

fn text_pattern(pattern: &Word, how: TextMatch, ignore_case: bool) -> Result<String, Fault> {
    let text = match how {
        TextMatch::Directory => pattern.text.trim_matches(['/', '?']),
        TextMatch::Domain => pattern.text.trim_matches(['/', '?', '.', ':']),
        _ => &pattern.text,
    };
    if text.is_empty() && matches!(how, TextMatch::Directory | TextMatch::Domain) {
        return Err(fault(
            pattern.at,
            "there is nothing between the delimiters to compare with",
        ));
    }
    Ok(if ignore_case {
        text.to_ascii_lowercase()
    } else {
        text.to_owned()
    })
}

fn regex(pattern: &Word, ignore_case: bool, budget: &mut Budget) -> Result<regex::bytes::Regex, Fault> {
    budget.take_regex(pattern.at)?;
    // As a flag inside, so that the expression's text says all that it means.
    let text = match ignore_case {
        true => format!("(?i){}", pattern.text),
        false => pattern.text.clone(),
    };
    regex::bytes::RegexBuilder::new(&text)
        .unicode(false)
        .size_limit(Condition::REGEX_SIZE_MAX)
        .dfa_size_limit(Condition::REGEX_SIZE_MAX)
        .build()
        .map_err(|error| {
            let why = match &error {
                // The text shows the expression over several lines; the last tells the fault.
                regex::Error::Syntax(text) => text
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .trim_start_matches("error: ")
                    .to_owned(),
                regex::Error::CompiledTooBig(_) => format!(
                    "it needs more than {} KiB when compiled",
                    Condition::REGEX_SIZE_MAX / 1024
                ),
                other => other.to_string(),
            };
            fault(
                pattern.at,
                format!(
                    "`{}` is not a regular expression that can be used: {why}",
                    excerpt(&pattern.text)
                ),
            )
        })
}

/// `[eq|ge|gt|le|lt] n`, `a:b`, `a:`, `:b`; an operator holds for all numbers up to the next one.
fn integers(patterns: &[Word]) -> Result<Vec<(i64, i64)>, Fault> {
    let number = |word: &Word, text: &str| {
        text.parse::<i64>().map_err(|_| {
            fault(
                word.at,
                format!(
                    "`{}` is neither a number nor a range such as 1:9 nor one of eq, ge, gt, le, lt",
                    excerpt(&word.text)
                ),
            )
        })
    };
    let mut ranges = Vec::new();
    let mut operator = "eq";
    let mut awaits_number = None;
    for word in patterns {
        if let known @ ("eq" | "ge" | "gt" | "le" | "lt") = word.text.as_str() {
            operator = known;
            awaits_number = Some(word);
            continue;
        }
        awaits_number = None;
        let range = match word.text.split_once(':') {
            Some(_) if operator != "eq" => {
                return Err(fault(
                    word.at,
                    format!("{operator} compares with a number, not with a range"),
                ));
            }
            Some((low, high)) => {
                let low = if low.is_empty() {
                    i64::MIN
                } else {
                    number(word, low)?
                };
                let high = if high.is_empty() {
                    i64::MAX
                } else {
                    number(word, high)?
                };
                if low > high {
                    return Err(fault(
                        word.at,
                        format!("the range `{}` is empty", excerpt(&word.text)),
                    ));
                }
                Some((low, high))
            }
            None => {
                let number = number(word, &word.text)?;
                match operator {
                    "ge" => Some((number, i64::MAX)),
                    "gt" => number.checked_add(1).map(|low| (low, i64::MAX)),
                    "le" => Some((i64::MIN, number)),
                    "lt" => number.checked_sub(1).map(|high| (i64::MIN, high)),
                    _ => Some((number, number)),
                }
            }
        };
        ranges.extend(range);
    }
    match awaits_number {
        Some(word) => Err(fault(word.at, format!("`{}` needs a number after it", word.text))),
        None => Ok(ranges),
    }
}

/// `address`, `address/bits`, `address/mask`.
fn network(word: &Word) -> Result<(IpAddr, u8), Fault> {
    let wrong = || {
        fault(
            word.at,
            format!(
                "`{}` is neither an IP address nor a network such as 10.0.0.0/8",
                excerpt(&word.text)
            ),
        )
    };
    let (address, mask) = match word.text.split_once('/') {
        Some((address, mask)) => (address, Some(mask)),
        None => (word.text.as_str(), None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let bits_max = if address.is_ipv4() { 32 } else { 128 };
    let bits = match mask {
        None => bits_max,
        Some(mask) => match (mask.parse::<u8>(), mask.parse::<Ipv4Addr>()) {
            (Ok(bits), _) if bits <= bits_max => bits,
            (_, Ok(mask)) if address.is_ipv4() => {
                let mask = u32::from(mask);
                let bits = mask.leading_ones();
                if mask.checked_shl(bits).unwrap_or(0) != 0 {
                    return Err(wrong());
                }
                u8::try_from(bits).map_err(|_| wrong())?
            }
            _ => return Err(wrong()),
        },
    };
    // Clients are compared in canonical form: a mapped IPv4 address is an IPv4 address.
    Ok(match address {
        IpAddr::V6(v6) if bits >= 96 => match Ipv6Addr::to_ipv4_mapped(&v6) {
            Some(v4) => (IpAddr::V4(v4), bits - 96),
            None => (address, bits),
        },
        _ => (address, bits),
    })
}
