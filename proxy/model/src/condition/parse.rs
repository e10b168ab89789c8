//! Vamp's language: an ordered-choice grammar (spec of Vamp's artifacts, §6), read by descent.
//!
//! A rule that does not fit restores the position and notes what it expected; the error shows what was
//! expected at the furthest place that any rule reached. Only parentheses recurse, to a bounded depth, and no
//! rule reads a parenthesis twice, so the time is linear.

use super::{
    Budget, Condition, Expression, Fault, Fetch, Matcher, Test, TextMatch, acl, excerpt, header_name,
};

/// Why a text is not a condition.
#[derive(Debug)]
pub(super) enum Error {
    /// Another reading of the text may succeed.
    NotOfLanguage(Fault),
    /// The text is of the language, but refused.
    Fault(Fault),
}

/// Reads the whole text.
pub(super) fn parse(text: &str) -> Result<Expression, Error> {
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
        budget: Budget::full(),
        furthest: 0,
        expected: Vec::new(),
    };
    match parser.expression().map_err(Error::Fault)? {
        Some(expression) if parser.at == text.len() => Ok(expression),
        Some(_) => {
            parser.expect("the end of the condition");
            Err(Error::NotOfLanguage(parser.mismatch()))
        }
        None => Err(Error::NotOfLanguage(parser.mismatch())),
    }
}

struct Parser<'t> {
    text: &'t str,
    /// Byte at which the next rule begins; on a boundary of characters.
    at: usize,
    /// Parentheses now open.
    depth: usize,
    budget: Budget,
    furthest: usize,
    /// What would have fitted at `furthest`.
    expected: Vec<&'static str>,
}

/// `None`: the rule does not fit here. An error ends the reading.
type Parsed<T> = Result<Option<T>, Fault>;

const A_TEST: &str = "a test (`host == V`, `user-agent == V`, `has header N`, `misses cookie N`, \
     `header N has V`, `cookie N has V`, `<native ACL>`)";

impl<'t> Parser<'t> {
    fn expression(&mut self) -> Parsed<Expression> {
        self.chain(Self::term, &["or", "||", "|"], "`or`", Expression::Any)
    }

    fn term(&mut self) -> Parsed<Expression> {
        self.chain(Self::factor, &["and", "&&", "&"], "`and`", Expression::All)
    }

    /// `part (operator white-space part)*`
    fn chain(
        &mut self,
        part: fn(&mut Self) -> Parsed<Expression>,
        operators: &[&str],
        expected: &'static str,
        join: fn(Vec<Expression>) -> Expression,
    ) -> Parsed<Expression> {
        let Some(first) = part(self)? else {
            return Ok(None);
        };
        let mut more = Vec::new();
        loop {
            let before = self.at;
            if !operators.iter().any(|operator| self.eat_word(operator)) {
                self.expect(expected);
                break;
            }
            if !self.space() {
                self.expect("white space after the operator");
                self.at = before;
                break;
            }
            match part(self)? {
                Some(next) => more.push(next),
                None => {
                    self.at = before;
                    break;
                }
            }
        }
        if more.is_empty() {
            return Ok(Some(first));
        }
        more.insert(0, first);
        Ok(Some(join(more)))
    }

    fn factor(&mut self) -> Parsed<Expression> {
        let before = self.at;
        self.optional_space();
        let negated = self.negation()?;
        let inner = match self.operand()? {
            Some(operand) => Some(operand),
            None => self.parenthesis()?,
        };
        let Some(inner) = inner else {
            self.at = before;
            return Ok(None);
        };
        self.optional_space();
        Ok(Some(negate_if(negated, inner)))
    }

    fn negation(&mut self) -> Result<bool, Fault> {
        let before = self.at;
        if self.eat("!") {
            self.optional_space();
            return Ok(true);
        }
        if self.eat_word("not") && self.space() {
            let word = self.text.get(before..before + 3).unwrap_or_default();
            if word == "not" {
                return Ok(true);
            }
            return Err(Fault {
                at: before,
                message: format!("`{word}` must be in lower case in front of a test"),
            });
        }
        self.at = before;
        Ok(false)
    }

    fn parenthesis(&mut self) -> Parsed<Expression> {
        let before = self.at;
        if !self.eat("(") {
            self.expect("`(`");
            return Ok(None);
        }
        if self.depth == Condition::DEPTH_MAX {
            return Err(Fault {
                at: before,
                message: format!("more than {} parentheses within each other", Condition::DEPTH_MAX),
            });
        }
        self.depth += 1;
        let inner = self.expression()?;
        self.depth -= 1;
        if inner.is_some() && self.eat(")") {
            return Ok(inner);
        }
        if inner.is_some() {
            self.expect("`)`");
        }
        self.at = before;
        Ok(None)
    }

    fn operand(&mut self) -> Parsed<Expression> {
        let before = self.at;
        for rule in [
            Self::host,
            Self::user_agent,
            Self::presence,
            Self::cookie_contains,
            Self::header_contains,
            Self::native,
        ] {
            if let Some(operand) = rule(self)? {
                return Ok(Some(operand));
            }
            self.at = before;
        }
        self.expect(A_TEST);
        Ok(None)
    }

    /// `host cmp value`: the header `Host` as a whole.
    fn host(&mut self) -> Parsed<Expression> {
        let begin = self.at;
        if !self.eat_word("host") {
            return Ok(None);
        }
        let Some((negated, value)) = self.comparison()? else {
            return Ok(None);
        };
        let test = text_test(Fetch::FullHeader("host".to_owned()), TextMatch::Exact, value);
        self.leaf(begin, negated, test)
    }

    /// `useragent cmp value`: a part of the header `User-Agent`, or a browser by its short name.
    fn user_agent(&mut self) -> Parsed<Expression> {
        let begin = self.at;
        if !self.eat_word("user") {
            return Ok(None);
        }
        let _separator = self.eat("-") || self.eat(".");
        if !self.eat_word("agent") {
            self.expect("`-agent`");
            return Ok(None);
        }
        let Some((negated, value)) = self.comparison()? else {
            return Ok(None);
        };
        let known: &[&str] = match value.to_ascii_lowercase().as_str() {
            "chrome" => &["Chrome"],
            "firefox" => &["Firefox"],
            "safari" => &["Safari", "Version"],
            "edge" => &["Edge"],
            "ie" => &["MSIE"],
            _ => &[],
        };
        let mut parts = Vec::new();
        let values = if known.is_empty() {
            &[value.as_str()]
        } else {
            known
        };
        for value in values {
            self.budget.take_test(begin)?;
            let fetch = Fetch::FullHeader("user-agent".to_owned());
            let test = text_test(fetch, TextMatch::Substring, (*value).to_owned());
            parts.push(Expression::Test(test));
        }
        let whole = match parts.len() {
            1 => parts.remove(0),
            _ => Expression::All(parts),
        };
        Ok(Some(negate_if(negated, whole)))
    }

    /// `has header name`, `has cookie name`
    fn presence(&mut self) -> Parsed<Expression> {
        let begin = self.at;
        let Some(negated) = self.has() else {
            return Ok(None);
        };
        let is_header = self.eat_word("header");
        if !is_header && !self.eat_word("cookie") {
            self.expect("`header`");
            self.expect("`cookie`");
            return Ok(None);
        }
        if !self.space() {
            self.expect("white space and a name");
            return Ok(None);
        }
        let at = self.at;
        let Some(name) = self.value("a name")? else {
            return Ok(None);
        };
        let fetch = if is_header {
            Fetch::FullHeader(header_name(&name, at)?)
        } else {
            Fetch::Cookie(name)
        };
        let matcher = Matcher::Found;
        self.leaf(begin, negated, Test { fetch, matcher })
    }

    fn cookie_contains(&mut self) -> Parsed<Expression> {
        self.contains("cookie", |name, _| Ok(Fetch::Cookie(name)))
    }

    fn header_contains(&mut self) -> Parsed<Expression> {
        self.contains("header", |name, at| {
            Ok(Fetch::FullHeader(header_name(&name, at)?))
        })
    }

    /// `word name has value`
    fn contains(
        &mut self,
        word: &'static str,
        fetch: fn(String, usize) -> Result<Fetch, Fault>,
    ) -> Parsed<Expression> {
        let begin = self.at;
        if !self.eat_word(word) {
            return Ok(None);
        }
        if !self.space() {
            self.expect("white space and a name");
            return Ok(None);
        }
        let name_at = self.at;
        let Some(name) = self.value("a name")? else {
            return Ok(None);
        };
        self.optional_space();
        let Some(negated) = self.has() else {
            self.expect("`has`");
            self.expect("`misses`");
            return Ok(None);
        };
        let Some(value) = self.value("a value")? else {
            return Ok(None);
        };
        let test = text_test(fetch(name, name_at)?, TextMatch::Substring, value);
        self.leaf(begin, negated, test)
    }

    /// `<native ACL>`
    fn native(&mut self) -> Parsed<Expression> {
        if !self.eat("<") {
            return Ok(None);
        }
        let begin = self.at;
        let inner = self.rest().split(['<', '>']).next().unwrap_or_default();
        self.at += inner.len();
        if !self.eat(">") {
            self.expect("`>`");
            return Ok(None);
        }
        let test = acl::parse(inner, &mut self.budget).map_err(|error| Fault {
            at: begin + error.fault.at,
            message: error.fault.message,
        })?;
        Ok(Some(Expression::Test(test)))
    }

    /// `cmp value`: whether it is negated, and the value.
    fn comparison(&mut self) -> Parsed<(bool, String)> {
        let before = self.at;
        self.optional_space();
        let after_space = self.at;
        let had_space = after_space > before;
        let symbol = [("==", false), ("=", false), ("!=", true), ("!", true)]
            .into_iter()
            .find(|(symbol, _)| self.eat(symbol));
        let negated = if let Some((_, negated)) = symbol {
            self.optional_space();
            negated
        } else if had_space && self.eat_word("not") && self.space() {
            true
        } else {
            self.at = after_space;
            if had_space && self.eat_word("is") && self.space() {
                false
            } else {
                self.at = before;
                let Some(negated) = self.has() else {
                    self.at = after_space;
                    self.expect("`==`");
                    self.expect("`!=`");
                    return Ok(None);
                };
                negated
            }
        };
        Ok(self.value("a value")?.map(|value| (negated, value)))
    }

    /// `has`, `contains`, `misses`, each with white space after it: whether it is negated.
    fn has(&mut self) -> Option<bool> {
        let before = self.at;
        self.optional_space();
        let after_space = self.at;
        for (word, negated) in [("has", false), ("contains", false), ("misses", true)] {
            if self.eat_word(word) && self.space() {
                return Some(negated);
            }
            self.at = after_space;
        }
        self.at = before;
        None
    }

    /// A value or a name: quoted, or up to white space or a parenthesis.
    fn value(&mut self, expected: &'static str) -> Parsed<String> {
        let rest = self.rest();
        let has_empty_quotes = rest.starts_with("''") || rest.starts_with("\"\"");
        if has_empty_quotes && ends_value(rest.get(2..).unwrap_or_default()) {
            return Err(Fault {
                at: self.at,
                message: format!("{expected} must not be empty"),
            });
        }
        if let Some((value, length)) = quoted(rest)
            && ends_value(rest.get(length..).unwrap_or_default())
        {
            self.at += length;
            return Ok(Some(value));
        }
        let length = rest
            .find(|c: char| is_space(c) || c == '(' || c == ')')
            .unwrap_or(rest.len());
        if length == 0 {
            self.expect(expected);
            return Ok(None);
        }
        self.at += length;
        Ok(rest.get(..length).map(str::to_owned))
    }

    fn leaf(&mut self, begin: usize, negated: bool, test: Test) -> Parsed<Expression> {
        self.budget.take_test(begin)?;
        Ok(Some(negate_if(negated, Expression::Test(test))))
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn eat(&mut self, symbol: &str) -> bool {
        let fits = self.rest().starts_with(symbol);
        if fits {
            self.at += symbol.len();
        }
        fits
    }

    /// Eats an ASCII word of any case.
    fn eat_word(&mut self, word: &str) -> bool {
        let here = self.rest().as_bytes().get(..word.len());
        let fits = here.is_some_and(|here| here.eq_ignore_ascii_case(word.as_bytes()));
        if fits {
            self.at += word.len();
        }
        fits
    }

    /// Eats white space; whether there was any.
    fn space(&mut self) -> bool {
        let before = self.at;
        self.optional_space();
        self.at > before
    }

    fn optional_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches(is_space).len();
    }

    /// Notes what would have fitted here.
    fn expect(&mut self, what: &'static str) {
        if self.at > self.furthest {
            self.furthest = self.at;
            self.expected.clear();
        }
        if self.at == self.furthest && !self.expected.contains(&what) {
            self.expected.push(what);
        }
    }

    fn mismatch(&self) -> Fault {
        let found = self.text.get(self.furthest..).unwrap_or_default();
        let found = match found.split(is_space).next() {
            None | Some("") if found.trim().is_empty() => "the end".to_owned(),
            None | Some("") => "white space".to_owned(),
            Some(word) => format!("`{}`", excerpt(word)),
        };
        let expected = match self.expected.as_slice() {
            [] => A_TEST.to_owned(),
            [only] => (*only).to_owned(),
            [most @ .., last] => format!("{} or {last}", most.join(", ")),
        };
        Fault {
            at: self.furthest,
            message: format!("expected {expected}, found {found}"),
        }
    }
}

fn negate_if(negated: bool, expression: Expression) -> Expression {
    if negated {
        Expression::Not(Box::new(expression))
    } else {
        expression
    }
}

fn text_test(fetch: Fetch, how: TextMatch, value: String) -> Test {
    Test {
        fetch,
        matcher: Matcher::Text {
            how,
            ignore_case: false,
            patterns: vec![value],
        },
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\n' | '\t' | '\r')
}

fn ends_value(rest: &str) -> bool {
    rest.chars()
        .next()
        .is_none_or(|c| is_space(c) || c == '(' || c == ')')
}

/// A quoted text at the beginning: its content and its length in bytes with the quotes.
fn quoted(text: &str) -> Option<(String, usize)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut content = String::new();
    let mut rest = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = rest.next() {
        if c != quote {
            content.push(c);
        } else if quote == '\'' && rest.next_if(|(_, next)| *next == quote).is_some() {
            content.push(quote);
        } else {
            return Some((content, at + 1));
        }
    }
    None
}
