//! Conditions as HAProxy's ACLs.
//!
//! HAProxy knows no parentheses in conditions, so a condition becomes a disjunction of conjunctions; one that would need
//! more than [`TERMS_MAX`] of them is refused. Where Vamp's short codes have a form of their own
//! (`hdr_sub(user-agent) Chrome`), that form is written, so that the names of ACLs are Vamp's.

use std::fmt::Write as _;

use weir_model::{
    condition::{Expression, Fetch, Matcher, Test, TextMatch},
    lookup,
};

/// Most alternatives of one condition.
const TERMS_MAX: usize = 64;

/// A named ACL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acl {
    pub(crate) name: String,
    pub(crate) definition: String,
}

/// ACLs, and how they are to hold together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acls {
    pub(crate) acls: Vec<Acl>,
    /// `a !b or c`; `None`: always.
    pub(crate) condition: Option<String>,
}

/// One test of a conjunction: whether it is negated, and its definition.
type Literal = (bool, String);

/// A condition as ACLs; `None`: it never holds.
///
/// # Errors
/// Why HAProxy cannot be told.
pub(crate) fn acls(expression: &Expression) -> Result<Option<Acls>, String> {
    let terms = terms(expression, false)?;
    if terms.is_empty() {
        return Ok(None);
    }
    if terms.iter().any(Vec::is_empty) {
        return Ok(Some(Acls {
            acls: Vec::new(),
            condition: None,
        }));
    }
    let mut acls: Vec<Acl> = Vec::new();
    let mut condition = String::new();
    for (index, term) in terms.iter().enumerate() {
        if index > 0 {
            condition.push_str(" or ");
        }
        for (place, (is_negated, definition)) in term.iter().enumerate() {
            let name = lookup::acl(definition);
            let space = if place > 0 { " " } else { "" };
            let not = if *is_negated { "!" } else { "" };
            // Writing to a string cannot fail.
            let _ = write!(condition, "{space}{not}{name}");
            if !acls.iter().any(|acl| acl.name == name) {
                acls.push(Acl {
                    name,
                    definition: definition.clone(),
                });
            }
        }
    }
    Ok(Some(Acls {
        acls,
        condition: Some(condition),
    }))
}

/// A disjunction of conjunctions. Empty: never; an empty conjunction: always.
fn terms(expression: &Expression, is_negated: bool) -> Result<Vec<Vec<Literal>>, String> {
    let (parts, is_conjunction) = match expression {
        Expression::Test(test) => return Ok(vec![vec![literal(test, is_negated)?]]),
        Expression::Not(inner) => return terms(inner, !is_negated),
        Expression::All(parts) => (parts, !is_negated),
        Expression::Any(parts) => (parts, is_negated),
    };
    let mut sum: Vec<Vec<Literal>> = if is_conjunction {
        vec![Vec::new()]
    } else {
        Vec::new()
    };
    for part in parts {
        let part = terms(part, is_negated)?;
        if is_conjunction {
            sum = sum
                .iter()
                .flat_map(|left| {
                    part.iter().filter_map(move |right| {
                        let mut both = left.clone();
                        for literal in right {
                            if both.contains(&(!literal.0, literal.1.clone())) {
                                return None;
                            }
                            if !both.contains(literal) {
                                both.push(literal.clone());
                            }
                        }
                        Some(both)
                    })
                })
                .take(TERMS_MAX + 1)
                .collect();
        } else {
            sum.extend(part);
        }
        if sum.len() > TERMS_MAX {
            return Err(format!("it has more than {TERMS_MAX} alternatives"));
        }
    }
    Ok(sum)
}

/// Vamp counts what is there and what is not.
fn literal(test: &Test, is_negated: bool) -> Result<Literal, String> {
    let count = match (&test.fetch, &test.matcher) {
        (Fetch::Header(name) | Fetch::FullHeader(name), Matcher::Found) => {
            format!(
                "hdr_cnt({}) {}",
                argument(name)?,
                if is_negated { "eq 0" } else { "gt 0" }
            )
        }
        (Fetch::Cookie(name), Matcher::Found) if is_negated => {
            format!("cook_cnt({}) eq 0", argument(name)?)
        }
        _ => return Ok((is_negated, definition(test)?)),
    };
    Ok((false, count))
}

/// Whether a search in a whole line finds the same as a search in its parts between commas, which is what Vamp wrote.
fn is_within_a_part(name: &str, matcher: &Matcher) -> bool {
    match matcher {
        Matcher::Text {
            how: TextMatch::Substring,
            patterns,
            ..
        } => patterns
            .iter()
            .all(|pattern| !pattern.contains(',') && pattern.trim() == pattern),
        // A host has no commas.
        Matcher::Text { .. } => name == "host",
        _ => false,
    }
}

fn definition(test: &Test) -> Result<String, String> {
    let suffix = match &test.matcher {
        Matcher::Text { how, .. } => match how {
            TextMatch::Exact => "",
            TextMatch::Prefix => "_beg",
            TextMatch::Suffix => "_end",
            TextMatch::Substring => "_sub",
            TextMatch::Directory => "_dir",
            TextMatch::Domain => "_dom",
        },
        Matcher::Regex(_) => "_reg",
        Matcher::Length(_) => "_len",
        _ => "",
    };
    // Without a suffix of their own the others say by a flag how they are compared.
    let flag = match suffix.trim_start_matches('_') {
        "" => String::new(),
        how => format!(" -m {how}"),
    };
    let (fetch, flag) = match &test.fetch {
        Fetch::Method => ("method".to_owned(), flag),
        Fetch::Path => (format!("path{suffix}"), String::new()),
        Fetch::Url => (format!("url{suffix}"), String::new()),
        Fetch::Query => ("query".to_owned(), flag),
        Fetch::UrlParameter(name) => (format!("urlp{suffix}({})", argument(name)?), String::new()),
        Fetch::Header(name) => (format!("hdr{suffix}({})", argument(name)?), String::new()),
        Fetch::FullHeader(name) if is_within_a_part(name, &test.matcher) => {
            (format!("hdr{suffix}({})", argument(name)?), String::new())
        }
        Fetch::FullHeader(name) => (format!("req.fhdr({})", argument(name)?), flag),
        Fetch::HeaderCount(name) => (format!("hdr_cnt({})", argument(name)?), String::new()),
        Fetch::FullHeaderCount(name) => (format!("req.fhdr_cnt({})", argument(name)?), String::new()),
        Fetch::Cookie(name) => (format!("cook{suffix}({})", argument(name)?), String::new()),
        Fetch::CookieCount(name) => (format!("cook_cnt({})", argument(name)?), String::new()),
        Fetch::Source => ("src".to_owned(), flag),
        Fetch::Destination => ("dst".to_owned(), flag),
        Fetch::DestinationPort => ("dst_port".to_owned(), flag),
    };
    let is_number = matches!(
        test.fetch,
        Fetch::HeaderCount(_) | Fetch::FullHeaderCount(_) | Fetch::CookieCount(_) | Fetch::DestinationPort
    );
    let patterns = match &test.matcher {
        Matcher::Found => " -m found".to_owned(),
        Matcher::Text {
            ignore_case,
            patterns,
            ..
        } => {
            let case = if *ignore_case { " -i" } else { "" };
            let dash = if patterns.iter().any(|pattern| pattern.starts_with('-')) {
                " --"
            } else {
                ""
            };
            format!("{case}{dash}{}", words(patterns.iter().map(String::as_str))?)
        }
        Matcher::Regex(expressions) => words(expressions.iter().map(|expression| expression.as_str()))?,
        Matcher::Integer(ranges) => {
            let how = if is_number { "" } else { " -m int" };
            format!("{how}{}", integers(ranges))
        }
        Matcher::Length(ranges) => integers(ranges),
        Matcher::Network(networks) => {
            let how = match test.fetch {
                Fetch::Source | Fetch::Destination => "",
                _ => " -m ip",
            };
            let networks = networks
                .iter()
                .map(|(address, bits)| format!(" {address}/{bits}"));
            format!("{how}{}", networks.collect::<String>())
        }
    };
    Ok(format!("{fetch}{flag}{patterns}"))
}

/// ` eq 0`, ` gt 0`, ` 1:5 7:`
fn integers(ranges: &[(i64, i64)]) -> String {
    match ranges {
        [(low, high)] if low == high => format!(" eq {low}"),
        [(low, i64::MAX)] => format!(" gt {}", low.saturating_sub(1)),
        [(i64::MIN, high)] => format!(" lt {}", high.saturating_add(1)),
        ranges => ranges
            .iter()
            .map(|(low, high)| match (*low, *high) {
                (low, high) if low == high => format!(" {low}"),
                (i64::MIN, high) => format!(" :{high}"),
                (low, i64::MAX) => format!(" {low}:"),
                (low, high) => format!(" {low}:{high}"),
            })
            .collect(),
    }
}

fn words<'a>(patterns: impl Iterator<Item = &'a str>) -> Result<String, String> {
    let mut text = String::new();
    for pattern in patterns {
        text.push(' ');
        text.push_str(&word(pattern)?);
    }
    Ok(text)
}

/// A word of a line of HAProxy's configuration.
pub(crate) fn word(text: &str) -> Result<String, String> {
    let mut word = String::with_capacity(text.len());
    if text.is_empty() {
        return Ok("\"\"".to_owned());
    }
    for character in text.chars() {
        if character.is_control() && character != '\t' {
            return Err(format!("`{}` cannot be written in a line", text.escape_debug()));
        }
        if matches!(character, ' ' | '\t' | '\\' | '"' | '\'' | '#') {
            word.push('\\');
        }
        word.push(character);
    }
    Ok(word)
}

/// What stands in parentheses.
fn argument(name: &str) -> Result<String, String> {
    if name.contains(['(', ')', ',']) {
        return Err(format!("`{name}` cannot be the argument of a fetch"));
    }
    word(name)
}

#[cfg(test)]
mod tests {
    use weir_model::Condition;

    use super::{TERMS_MAX, acls};

    fn written(text: &str) -> (Vec<String>, Option<String>) {
        let condition = Condition::parse(text).unwrap();
        let acls = acls(condition.expression()).unwrap().unwrap();
        let mut shown = acls.condition;
        let definitions = acls
            .acls
            .iter()
            .enumerate()
            .map(|(index, acl)| {
                // Names are hashes: numbers are easier to read.
                shown = shown
                    .take()
                    .map(|text| text.replace(&acl.name, &index.to_string()));
                acl.definition.clone()
            })
            .collect();
        (definitions, shown)
    }

    fn definition(text: &str) -> String {
        let (definitions, condition) = written(text);
        assert_eq!(
            (definitions.len(), condition.as_deref()),
            (1, Some("0")),
            "{text}"
        );
        definitions[0].clone()
    }

    #[test]
    fn short_codes_have_vamps_forms() {
        for (text, expected) in [
            ("user-agent == Chrome", "hdr_sub(user-agent) Chrome"),
            ("has cookie vamp", "cook(vamp) -m found"),
            ("misses cookie vamp", "cook_cnt(vamp) eq 0"),
            ("has header x-a", "hdr_cnt(x-a) gt 0"),
            ("misses header x-a", "hdr_cnt(x-a) eq 0"),
            ("cookie a has b", "cook_sub(a) b"),
            ("header a has b", "hdr_sub(a) b"),
            ("< path_beg /a >", "path_beg /a"),
            ("< src 10.0.0.0/8 >", "src 10.0.0.0/8"),
            ("hdr_sub(user-agent) Android", "hdr_sub(user-agent) Android"),
        ] {
            assert_eq!(definition(text), expected, "{text}");
        }
    }

    #[test]
    fn alternatives_are_written_without_parentheses() {
        let (definitions, condition) = written("has header a and (has header b or not has header c)");
        assert_eq!(
            definitions,
            ["hdr_cnt(a) gt 0", "hdr_cnt(b) gt 0", "hdr_cnt(c) eq 0"]
        );
        assert_eq!(condition.as_deref(), Some("0 1 or 0 2"));
        let (_, condition) = written("not (cookie a has b or header c has d)");
        assert_eq!(condition.as_deref(), Some("!0 !1"));
    }

    #[test]
    fn what_holds_never_or_is_too_wide_is_said() {
        let never = Condition::parse("cookie a has b and not cookie a has b").unwrap();
        assert_eq!(acls(never.expression()), Ok(None));
        let wide: Vec<String> = (0..8)
            .map(|n| format!("(has header a{n} or has header b{n})"))
            .collect();
        let wide = Condition::parse(&wide.join(" and ")).unwrap();
        let reason = acls(wide.expression()).unwrap_err();
        assert!(reason.contains(&TERMS_MAX.to_string()), "{reason}");
    }
}
