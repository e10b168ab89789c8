//! HAProxy's way to put ACLs together on one line (`{ path_beg /a } !{ method POST } or { src 10.0.0.0/8 }`), and its samples:
//! what rewrites are made of.

use super::{Budget, Expression, Fault, Fetch, acl};

/// Reads the condition of a rewrite: one ACL, or groups in braces. Groups one after the other must all hold; `or` and `||` bind
/// less; `!` in front of a group negates it.
pub(crate) fn parse(text: &str) -> Result<Expression, (usize, String)> {
    groups(text).map_err(|Fault { at, message }| (at, message))
}

/// What a sample looks at: `path`, `req.hdr(X-Version)`.
pub(crate) fn sample(text: &str) -> Result<Fetch, String> {
    acl::sample(text).map_err(|fault| fault.message)
}

fn groups(text: &str) -> Result<Expression, Fault> {
    let mut budget = Budget::full();
    let begin = text.len() - text.trim_start().len();
    let rest = text.get(begin..).unwrap_or_default();
    let unbraced = rest.trim_start_matches(['!', ' ', '\t']);
    if !unbraced.starts_with('{') {
        return one(text, 0, &mut budget);
    }
    let mut any = Vec::new();
    let mut all = Vec::new();
    let mut at = begin;
    loop {
        let here = text.get(at..).unwrap_or_default();
        at += here.len() - here.trim_start().len();
        let here = text.get(at..).unwrap_or_default();
        if here.is_empty() {
            break;
        }
        let or = ["or", "||"].into_iter().find(|word| {
            here.strip_prefix(word)
                .is_some_and(|rest| rest.starts_with(char::is_whitespace))
        });
        if let Some(word) = or {
            if all.is_empty() {
                return Err(missing(at, "a group in braces in front of `or`"));
            }
            any.push(Expression::All(std::mem::take(&mut all)));
            at += word.len();
            continue;
        }
        let negations = here.len() - here.trim_start_matches(['!', ' ', '\t']).len();
        let (signs, group) = here.split_at(negations);
        let Some(inside) = group.strip_prefix('{') else {
            return Err(missing(at + negations, "`{`, `!{` or `or`"));
        };
        let Some(length) = closing(inside) else {
            return Err(missing(
                at + negations,
                "`}` after white space, at the end of this group",
            ));
        };
        let inner = inside.get(..length).unwrap_or_default();
        let mut expression = one(inner, at + negations + 1, &mut budget)?;
        if signs.matches('!').count() % 2 == 1 {
            expression = Expression::Not(Box::new(expression));
        }
        all.push(expression);
        at += negations + 1 + length + 1;
    }
    if all.is_empty() {
        return Err(missing(text.len(), "a group in braces"));
    }
    any.push(single(all));
    Ok(match any.len() {
        1 => any.remove(0),
        _ => Expression::Any(any),
    })
}

fn single(mut all: Vec<Expression>) -> Expression {
    match all.len() {
        1 => all.remove(0),
        _ => Expression::All(all),
    }
}

/// One ACL that begins at byte `offset` of the whole.
fn one(text: &str, offset: usize, budget: &mut Budget) -> Result<Expression, Fault> {
    match text.trim() {
        "always_true" | "TRUE" => return Ok(Expression::All(Vec::new())),
        "always_false" | "FALSE" => return Ok(Expression::Any(Vec::new())),
        _ => {}
    }
    match acl::parse(text, budget) {
        Ok(test) => Ok(Expression::Test(test)),
        Err(acl::Error { fault, .. }) => Err(Fault {
            at: offset + fault.at,
            message: fault.message,
        }),
    }
}

/// Bytes up to the brace that ends the group: a word of its own, outside of quotes.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut after_space = true;
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => {
                characters.next();
            }
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('}', None) if after_space && characters.peek().is_none_or(|(_, next)| next.is_whitespace()) => {
                return Some(at);
            }
            _ => {}
        }
        after_space = c.is_whitespace();
    }
    None
}

fn missing(at: usize, what: &str) -> Fault {
    Fault {
        at,
        message: format!("expected {what}"),
    }
}
