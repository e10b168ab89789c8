//! Selectors of what runs (spec of the artifacts §7.3): an expression over instances and their ports.
//!
//! **Invariants.** Depth, length and the size of patterns are bounded: a selector comes from outside.
//!
//! **Absent.** No grouping by what a pattern captures: that is for the routes of gateways, which have no selectors here.

use std::collections::BTreeMap;

use regex::bytes::{Regex, RegexBuilder};

/// Longest selector in bytes.
const BYTES_MAX: usize = 4096;
/// Deepest nesting.
const DEPTH_MAX: u32 = 32;
/// Size of a compiled pattern in bytes.
const PATTERN_BYTES_MAX: usize = 256 * 1024;
/// Most patterns.
const PATTERNS_MAX: usize = 64;

/// One port of an instance, or an instance that has none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    /// Of the service.
    pub(super) name: &'a str,
    /// Of the driver.
    pub(super) kind: &'a str,
    pub(super) namespace: &'a str,
    pub(super) labels: &'a BTreeMap<String, String>,
    /// What runs in it, if that is known.
    pub(super) image: Option<&'a str>,
    pub(super) ip: &'a str,
    /// Number, and place among the instance's ports, from 0.
    pub(super) port: Option<(u16, usize)>,
}

/// A selector.
#[derive(Debug)]
pub(super) enum Selector {
    Always(bool),
    Not(Box<Selector>),
    All(Vec<Selector>),
    Any(Vec<Selector>),
    Name(Regex),
    Kind(Regex),
    Namespace(Regex),
    Image(Regex),
    Ip(Regex),
    Label(Regex, Regex),
    Port(u16),
    PortIndex(usize),
}

impl Selector {
    /// Reads a selector; nothing is everything. `namespace`: what `$namespace` stands for.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn parse(text: &str, namespace: &str) -> Result<Self, String> {
        if text.len() > BYTES_MAX {
            return Err(format!("it has more than {BYTES_MAX} bytes"));
        }
        let mut parser = Parser {
            rest: text,
            namespace,
            patterns: 0,
        };
        if parser.peeks_at_end() {
            return Ok(Self::Always(true));
        }
        let selector = parser.any(0)?;
        match parser.peeks_at_end() {
            true => Ok(selector),
            false => Err(format!("nothing was expected at `{}`", shown(parser.rest))),
        }
    }

    pub(super) fn matches(&self, candidate: &Candidate<'_>) -> bool {
        match self {
            Self::Always(always) => *always,
            Self::Not(selector) => !selector.matches(candidate),
            Self::All(all) => all.iter().all(|selector| selector.matches(candidate)),
            Self::Any(any) => any.iter().any(|selector| selector.matches(candidate)),
            Self::Name(pattern) => pattern.is_match(candidate.name.as_bytes()),
            Self::Kind(pattern) => pattern.is_match(candidate.kind.as_bytes()),
            Self::Namespace(pattern) => pattern.is_match(candidate.namespace.as_bytes()),
            Self::Image(pattern) => candidate
                .image
                .is_some_and(|image| pattern.is_match(image.as_bytes())),
            Self::Ip(pattern) => pattern.is_match(candidate.ip.as_bytes()),
            Self::Label(name, value) => candidate
                .labels
                .iter()
                .any(|(label, text)| name.is_match(label.as_bytes()) && value.is_match(text.as_bytes())),
            Self::Port(number) => candidate.port.is_some_and(|(port, _)| port == *number),
            Self::PortIndex(number) => candidate.port.is_some_and(|(_, index)| index == *number),
        }
    }
}

struct Parser<'t> {
    rest: &'t str,
    namespace: &'t str,
    patterns: usize,
}

impl<'t> Parser<'t> {
    fn peeks_at_end(&mut self) -> bool {
        self.rest = self.rest.trim_start();
        self.rest.is_empty()
    }

    /// Takes one of these if it is next: signs as they are, words in any letter case and whole.
    fn takes(&mut self, words: &[&str]) -> bool {
        self.rest = self.rest.trim_start();
        for word in words {
            let Some((head, tail)) = self.rest.split_at_checked(word.len()) else {
                continue;
            };
            let is_whole = !word.ends_with(|last: char| last.is_ascii_alphanumeric())
                || !tail.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_');
            if head.eq_ignore_ascii_case(word) && is_whole {
                self.rest = tail;
                return true;
            }
        }
        false
    }

    fn any(&mut self, depth: u32) -> Result<Selector, String> {
        let mut parts = vec![self.all(depth)?];
        while self.takes(&["or", "||", "|"]) {
            parts.push(self.all(depth)?);
        }
        Ok(together(parts, Selector::Any))
    }

    fn all(&mut self, depth: u32) -> Result<Selector, String> {
        let mut parts = vec![self.one(depth)?];
        while self.takes(&["and", "&&", "&"]) {
            parts.push(self.one(depth)?);
        }
        Ok(together(parts, Selector::All))
    }

    fn one(&mut self, depth: u32) -> Result<Selector, String> {
        if depth > DEPTH_MAX {
            return Err(format!("it is nested deeper than {DEPTH_MAX} times"));
        }
        if self.takes(&["not", "!"]) {
            return Ok(Selector::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.takes(&["("]) {
            let inside = self.any(depth + 1)?;
            return match self.takes(&[")"]) {
                true => Ok(inside),
                false => Err("a `)` is missing".to_owned()),
            };
        }
        self.operand()
    }

    fn operand(&mut self) -> Result<Selector, String> {
        if self.takes(&["true", "t", "1"]) {
            return Ok(Selector::Always(true));
        }
        if self.takes(&["false", "f", "0"]) {
            return Ok(Selector::Always(false));
        }
        if self.takes(&["name", "id"]) {
            return Ok(Selector::Name(self.pattern()?));
        }
        if self.takes(&["kind", "type"]) {
            return Ok(Selector::Kind(self.pattern()?));
        }
        if self.takes(&["namespace", "group"]) {
            let text = self.argument()?;
            let own = regex::escape(self.namespace);
            let text = if text.trim() == "$namespace" { &own } else { text };
            return Ok(Selector::Namespace(self.compiled(text)?));
        }
        if self.takes(&["image"]) {
            return Ok(Selector::Image(self.pattern()?));
        }
        if self.takes(&["label"]) {
            return Ok(Selector::Label(self.pattern()?, self.pattern()?));
        }
        if self.takes(&["ip", "host"]) {
            return Ok(Selector::Ip(self.pattern()?));
        }
        if self.takes(&["port_index", "index"]) {
            return Ok(Selector::PortIndex(self.number()?));
        }
        if self.takes(&["port"]) {
            return Ok(Selector::Port(self.number()?));
        }
        Err(format!(
            "`{}` is not name, kind, namespace, image, label, ip, port, index, true or false",
            shown(self.rest)
        ))
    }

    /// What stands in parentheses; a pattern may have some itself.
    fn argument(&mut self) -> Result<&'t str, String> {
        self.rest = self.rest.trim_start();
        let inside = self
            .rest
            .strip_prefix('(')
            .ok_or_else(|| format!("a `(` was expected at `{}`", shown(self.rest)))?;
        let (mut open, mut is_escaped) = (1, false);
        for (at, character) in inside.char_indices() {
            match character {
                _ if is_escaped => is_escaped = false,
                '\\' => is_escaped = true,
                '(' => open += 1,
                ')' => open -= 1,
                _ => {}
            }
            if open == 0 {
                let (argument, rest) = inside.split_at(at);
                self.rest = rest.strip_prefix(')').unwrap_or(rest);
                return Ok(argument);
            }
        }
        Err("a `)` is missing".to_owned())
    }

    fn number<T: std::str::FromStr>(&mut self) -> Result<T, String> {
        let text = self.argument()?;
        let number = text.trim().parse();
        number.map_err(|_| format!("`{}` is not such a number", shown(text)))
    }

    fn pattern(&mut self) -> Result<Regex, String> {
        let text = self.argument()?;
        self.compiled(text)
    }

    /// A pattern for the whole of a text.
    fn compiled(&mut self, text: &str) -> Result<Regex, String> {
        self.patterns += 1;
        if self.patterns > PATTERNS_MAX {
            return Err(format!("it has more than {PATTERNS_MAX} patterns"));
        }
        // Bytes, as classes of Unicode are not compiled in.
        RegexBuilder::new(&format!("^(?:{text})$"))
            .unicode(false)
            .size_limit(PATTERN_BYTES_MAX)
            .nest_limit(DEPTH_MAX)
            .build()
            .map_err(|_| format!("`{}` is not a regular expression of bounded size", shown(text)))
    }
}

/// One alone is itself.
fn together(mut parts: Vec<Selector>, more: fn(Vec<Selector>) -> Selector) -> Selector {
    match (parts.len(), parts.pop()) {
        (1, Some(one)) => one,
        (_, last) => {
            parts.extend(last);
            more(parts)
        }
    }
}

/// The beginning of something from outside.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Candidate, Selector};

    fn matches(selector: &str) -> bool {
        let labels = BTreeMap::from([("io.vamp.deployment".to_owned(), "shop".to_owned())]);
        let candidate = Candidate {
            name: "shop/front/front:1",
            kind: "docker",
            namespace: "blue",
            labels: &labels,
            image: Some("acme/front:1.0"),
            ip: "10.0.0.7",
            port: Some((8080, 1)),
        };
        Selector::parse(selector, "blue").unwrap().matches(&candidate)
    }

    #[test]
    fn operands_and_operators() {
        for yes in [
            "",
            "true",
            "T",
            "1",
            "not false",
            "name(shop/.*)",
            "id(shop/front/(front):1)",
            "kind(docker) and type(d.*)",
            "namespace($namespace)",
            "group(bl(u|x)e)",
            "image(acme/front:[0-9.]+)",
            "label(io\\.vamp\\.deployment)(shop)",
            "LABEL(.*deployment) (s.*)",
            "ip(10\\..*) && host(.*\\.7)",
            "port(8080) & index(1) & port_index(1)",
            "false or (port(1) | port(8080))",
            "!(name(x) || false)",
            "false and false or true",
            "name(.*\\))or true",
        ] {
            assert!(matches(yes), "{yes}");
        }
        for no in [
            "false",
            "f",
            "0",
            "name(shop)",
            "namespace(green)",
            "image(front)",
            "label(io.vamp.deployment)(other)",
            "label(other)(shop)",
            "port(80) or index(0)",
            "not name(.*)",
            "true and not (true or false)",
        ] {
            assert!(!matches(no), "{no}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        let deep = format!("{}true{}", "(".repeat(100), ")".repeat(100));
        let long = "true or ".repeat(1000);
        let many = vec!["name(a)"; 100].join(" or ");
        for wrong in [
            "image",
            "image(x",
            "image(x))",
            "image([)",
            "image((a{900}){900})",
            "label(x)",
            "port(x)",
            "port(70000)",
            "index(-1)",
            "tag(x)",
            "true and",
            "true true",
            "trueish",
            "not",
            "é(",
            &deep,
            &long,
            &many,
        ] {
            assert!(Selector::parse(wrong, "blue").is_err(), "{wrong}");
        }
    }
}
