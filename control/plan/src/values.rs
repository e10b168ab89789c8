//! References in values: `$name`, `$cluster.ports.web`, ... (spec of the artifacts §13).
//!
//! A value is parsed as a whole before anything is looked up, so a malformed one is an error and never
//! half resolved. What is not known resolves to the empty text (Vamp's rule).

use thiserror::Error;

/// A value's references are malformed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{text}` is not a value: {message} at character {}", .position + 1)]
pub struct ValueError {
    /// The value, cut to 80 characters.
    pub text: String,
    /// Characters before the place of the fault.
    pub position: usize,
    /// What is wrong, and what would be right.
    pub message: &'static str,
}

/// A piece of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text as it is.
    Literal(String),
    /// `$x`: a variable of the service, or a constant of its breed.
    Local(String),
    /// `$c.x`: something of a cluster as a whole; only `host` is known.
    Cluster {
        /// Cluster, or alias of a dependency.
        cluster: String,
        /// What of it.
        name: String,
    },
    /// `$c.ports.p` and its like.
    Trait {
        /// Cluster, or alias of a dependency.
        cluster: String,
        /// Which group of its traits.
        group: Group,
        /// Which of the group.
        name: String,
    },
    /// `$c.host:$c.ports.p` of one cluster: the address of its gateway as a unit.
    Address {
        /// Cluster, or alias of a dependency.
        cluster: String,
        /// Port name.
        port: String,
    },
    /// `$scheme://path`.
    External {
        /// `config`, `env`, ...
        scheme: String,
        /// What follows `://`.
        path: String,
    },
}

/// Groups of traits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// `ports`
    Ports,
    /// `environment_variables`
    EnvironmentVariables,
    /// `constants`
    Constants,
    /// `hosts`
    Hosts,
}

impl Group {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "ports" => Self::Ports,
            "environment_variables" | "env" => Self::EnvironmentVariables,
            "constants" => Self::Constants,
            "hosts" => Self::Hosts,
            _ => return None,
        })
    }
}

/// What references mean where a value stands. Everything answers `None` for what it does not know.
pub trait Lookup {
    /// A variable of the service, or a constant of its breed.
    fn local(&self, name: &str) -> Option<String>;
    /// Address of a cluster.
    fn host(&self, cluster: &str) -> Option<String>;
    /// A trait of a cluster.
    fn group(&self, cluster: &str, group: Group, name: &str) -> Option<String>;
    /// `host:port` at which a cluster's gateway is reached.
    fn address(&self, cluster: &str, port: &str) -> Option<String>;
    /// What stands behind `$scheme://path`.
    fn external(&self, scheme: &str, path: &str) -> Option<String>;
}

/// Resolves every reference of a value.
///
/// # Errors
/// [`ValueError`] when the value is malformed.
pub fn resolve(text: &str, lookup: &dyn Lookup) -> Result<String, ValueError> {
    let mut resolved = String::with_capacity(text.len());
    for part in parse(text)? {
        let value = match &part {
            Part::Literal(text) => Some(text.clone()),
            Part::Local(name) => lookup.local(name),
            Part::Cluster { cluster, name } if name == "host" => lookup.host(cluster),
            Part::Cluster { .. } => None,
            Part::Trait { cluster, group, name } => lookup.group(cluster, *group, name),
            Part::Address { cluster, port } => lookup.address(cluster, port),
            Part::External { scheme, path } => lookup.external(scheme, path),
        };
        resolved.push_str(&value.unwrap_or_default());
    }
    Ok(resolved)
}

/// Takes a value apart.
///
/// # Errors
/// [`ValueError`] with the place.
pub fn parse(text: &str) -> Result<Vec<Part>, ValueError> {
    let mut reader = Reader {
        chars: text.chars().collect(),
        at: 0,
    };
    let mut parts = Vec::new();
    let mut literal = String::new();
    while let Some(c) = reader.next() {
        if c != '$' {
            literal.push(c);
            continue;
        }
        if reader.peek(0) == Some('$') {
            reader.at += 1;
            literal.push('$');
            continue;
        }
        let start = reader.at;
        let reference = reader.reference().map_err(|message| ValueError {
            text: text.chars().take(80).collect(),
            position: start,
            message,
        })?;
        if !literal.is_empty() {
            parts.push(Part::Literal(std::mem::take(&mut literal)));
        }
        parts.push(reference);
    }
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    Ok(join_addresses(parts))
}

/// `$c.host`, `:`, `$c.ports.p` become one part.
fn join_addresses(parts: Vec<Part>) -> Vec<Part> {
    let mut joined: Vec<Part> = Vec::with_capacity(parts.len());
    for part in parts {
        if let Part::Trait {
            cluster,
            group: Group::Ports,
            name,
        } = &part
            && let [
                ..,
                Part::Cluster {
                    cluster: of,
                    name: host,
                },
                Part::Literal(colon),
            ] = joined.as_slice()
            && of == cluster
            && host == "host"
            && colon == ":"
        {
            let address = Part::Address {
                cluster: cluster.clone(),
                port: name.clone(),
            };
            joined.truncate(joined.len() - 2);
            joined.push(address);
        } else {
            joined.push(part);
        }
    }
    joined
}

struct Reader {
    chars: Vec<char>,
    at: usize,
}

impl Reader {
    fn next(&mut self) -> Option<char> {
        let c = self.peek(0)?;
        self.at += 1;
        Some(c)
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    /// What follows the `$`.
    fn reference(&mut self) -> Result<Part, &'static str> {
        if self.peek(0) != Some('{') {
            return self.path();
        }
        self.at += 1;
        self.skip_space();
        let part = self.path()?;
        self.skip_space();
        match self.next() {
            Some('}') => Ok(part),
            _ => Err("`${` needs one name and a closing `}`"),
        }
    }

    fn skip_space(&mut self) {
        while self.peek(0).is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn path(&mut self) -> Result<Part, &'static str> {
        let first = self
            .name()
            .ok_or("a name must follow `$` (write `$$` for the character itself)")?;
        if self.peek(0) == Some(':') && self.peek(1) == Some('/') && self.peek(2) == Some('/') {
            self.at += 3;
            let start = self.at;
            while self
                .peek(0)
                .is_some_and(|c| !c.is_whitespace() && !"$,;{}".contains(c))
            {
                self.at += 1;
            }
            return Ok(Part::External {
                scheme: first,
                path: self
                    .chars
                    .get(start..self.at)
                    .unwrap_or_default()
                    .iter()
                    .collect(),
            });
        }
        let Some(second) = self.dotted_name() else {
            return Ok(Part::Local(first));
        };
        if let Some(group) = Group::parse(&second)
            && let Some(name) = self.dotted_name()
        {
            return Ok(Part::Trait {
                cluster: first,
                group,
                name,
            });
        }
        Ok(Part::Cluster {
            cluster: first,
            name: second,
        })
    }

    /// A dot and a name; a dot without a name stays (the end of a sentence).
    fn dotted_name(&mut self) -> Option<String> {
        if self.peek(0) != Some('.') || !self.peek(1).is_some_and(is_name_character) {
            return None;
        }
        self.at += 1;
        self.name()
    }

    fn name(&mut self) -> Option<String> {
        let start = self.at;
        while self.peek(0).is_some_and(is_name_character) {
            self.at += 1;
        }
        let name = self.chars.get(start..self.at).unwrap_or_default();
        (!name.is_empty()).then(|| name.iter().collect())
    }
}

fn is_name_character(c: char) -> bool {
    !c.is_whitespace() && !"/[].{}:;,$".contains(c)
}

#[cfg(test)]
mod tests {
    use super::{Group, Lookup, Part, parse, resolve};

    struct World;

    impl Lookup for World {
        fn local(&self, name: &str) -> Option<String> {
            (name == "x").then(|| "local".to_owned())
        }
        fn host(&self, cluster: &str) -> Option<String> {
            (cluster == "c").then(|| "10.0.0.1".to_owned())
        }
        fn group(&self, cluster: &str, group: Group, name: &str) -> Option<String> {
            (cluster == "c").then(|| format!("{group:?}-{name}"))
        }
        fn address(&self, cluster: &str, port: &str) -> Option<String> {
            (cluster == "c").then(|| format!("service-of-{port}:40001"))
        }
        fn external(&self, scheme: &str, path: &str) -> Option<String> {
            (scheme == "config").then(|| format!("<{path}>"))
        }
    }

    #[test]
    fn resolves_every_form() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("$$5", "$5"),
            ("$x", "local"),
            ("a ${ x } b", "a local b"),
            ("${x}y", "localy"),
            ("$x.", "local."),
            ("$x, $x", "local, local"),
            ("$c.host", "10.0.0.1"),
            ("$c.ports.p", "Ports-p"),
            ("$c.environment_variables.e", "EnvironmentVariables-e"),
            ("$c.constants.k", "Constants-k"),
            ("$c.hosts.host", "Hosts-host"),
            ("http://$c.host:$c.ports.p/path", "http://service-of-p:40001/path"),
            ("$c.host:$d.ports.p", "10.0.0.1:"),
            // `host-` is one name, and nothing is known of it.
            ("$c.host-$c.ports.p", "Ports-p"),
            ("$config://vamp.info", "<vamp.info>"),
            ("$other://x", ""),
            ("$unknown $c.unknown", " "),
        ] {
            assert_eq!(resolve(text, &World).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn malformed_values_are_errors_with_a_place() {
        for (text, position) in [
            ("${a b}", 1),
            ("ab $", 4),
            ("$ x", 1),
            ("${x", 1),
            ("${}", 1),
            ("x$.", 2),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.position, position, "{text}");
        }
    }

    #[test]
    fn an_address_is_one_part_only_within_one_cluster() {
        let parts = parse("$a.host:$a.ports.web").expect("well formed");
        assert_eq!(
            parts,
            [Part::Address {
                cluster: "a".to_owned(),
                port: "web".to_owned()
            }]
        );
        assert_eq!(parse("$a.host:$b.ports.web").expect("well formed").len(), 3);
        assert_eq!(parse("$a.host: $a.ports.web").expect("well formed").len(), 3);
    }
}
