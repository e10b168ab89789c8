//! Values with references: `http://$backend.host:$backend.ports.api/` (spec of the artifacts, §13).
//!
//! **Job.** Text to [`Part`]s. **Absent.** What a reference stands for: control knows when it deploys.

use std::fmt;

/// A piece of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// As it stands; `$$` is already `$`.
    Text(String),
    /// `$name`: a variable of the service or a constant of its breed.
    Local(String),
    /// `$cluster.host`: the address of a cluster (or of the cluster that holds a dependency).
    Host(String),
    /// `$cluster.ports.web`: a trait of a cluster (or of the cluster that holds a dependency).
    Trait {
        /// Cluster or alias of a dependency.
        cluster: String,
        /// Which of its traits.
        group: TraitGroup,
        /// Name of the trait.
        name: String,
    },
    /// `$config://path`: a setting.
    Config(String),
    /// `$env://NAME`: a variable of control's own environment.
    Environment(String),
    /// `$es://type`: the Elasticsearch index that events of a type are in.
    Index(String),
}

/// The groups of traits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TraitGroup {
    /// `ports`
    Ports,
    /// `environment_variables` (also `env`)
    EnvironmentVariables,
    /// `constants`
    Constants,
    /// `hosts`
    Hosts,
}

impl TraitGroup {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "ports" => Some(Self::Ports),
            "environment_variables" | "env" => Some(Self::EnvironmentVariables),
            "constants" => Some(Self::Constants),
            "hosts" => Some(Self::Hosts),
            _ => None,
        }
    }
}

impl fmt::Display for TraitGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ports => "ports",
            Self::EnvironmentVariables => "environment_variables",
            Self::Constants => "constants",
            Self::Hosts => "hosts",
        })
    }
}

/// A `$` that begins nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueError {
    /// The value, cut to 80 characters.
    pub text: String,
    /// Characters before the `$`.
    pub position: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            text,
            position,
            message,
        } = self;
        write!(
            f,
            "`{text}` is not a value: {message} at character {}",
            position + 1
        )
    }
}

impl std::error::Error for ValueError {}

/// The parts of a value. Adjacent texts are one part; the empty text has none.
///
/// # Errors
/// A `$` that is followed neither by a name, `{ name }` nor another `$`. (Vamp drops the rest silently.)
pub fn parse(text: &str) -> Result<Vec<Part>, ValueError> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        plain.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            plain.push('$');
            rest = after;
            continue;
        }
        let (part, after) = reference(after).ok_or_else(|| {
            let consumed = text.len() - after.len() - 1;
            ValueError {
                text: text.chars().take(80).collect(),
                position: text.get(..consumed).unwrap_or_default().chars().count(),
                message: "`$` must be followed by a name, by `{name}`, or by another `$` for the sign itself"
                    .to_owned(),
            }
        })?;
        if !plain.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut plain)));
        }
        parts.push(part);
        rest = after;
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    Ok(parts)
}

/// What follows a `$`, and the rest.
fn reference(text: &str) -> Option<(Part, &str)> {
    if let Some(braced) = text.strip_prefix('{') {
        let (inside, rest) = braced.split_once('}')?;
        let inside = inside.trim();
        let (part, left) = bare(inside)?;
        let part = match left {
            "" => part,
            // Braces hold a name as a whole: one with dots that is no trait's is nobody's.
            _ if inside.chars().all(|c| in_name(c) || c == '.') => Part::Local(inside.to_owned()),
            _ => return None,
        };
        return Some((part, rest));
    }
    bare(text)
}

fn bare(text: &str) -> Option<(Part, &str)> {
    let (first, rest) = name(text)?;
    let outside: Option<fn(String) -> Part> = match first {
        "config" | "conf" | "configuration" => Some(Part::Config),
        "env" | "environment" | "env_var" | "environment_variable" => Some(Part::Environment),
        "es" => Some(Part::Index),
        _ => None,
    };
    if let Some(outside) = outside
        && let Some(path) = rest.strip_prefix("://")
    {
        let end = path
            .find(|c: char| !in_name(c) && c != '.' && c != '/')
            .unwrap_or(path.len());
        let (path, rest) = path.split_at(end);
        return (!path.is_empty()).then(|| (outside(path.to_owned()), rest));
    }
    if let Some((second, after)) = rest.strip_prefix('.').and_then(name) {
        if let Some(group) = TraitGroup::from_word(second)
            && let Some((third, after)) = after.strip_prefix('.').and_then(name)
        {
            let part = Part::Trait {
                cluster: first.to_owned(),
                group,
                name: third.to_owned(),
            };
            return Some((part, after));
        }
        if second == "host" {
            return Some((Part::Host(first.to_owned()), after));
        }
    }
    Some((Part::Local(first.to_owned()), rest))
}

fn in_name(c: char) -> bool {
    !c.is_whitespace() && !matches!(c, '/' | '[' | ']' | '.' | '{' | '}' | ':' | ';' | ',' | '$')
}

fn name(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c| !in_name(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    (!name.is_empty()).then_some((name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Part {
        Part::Text(text.to_owned())
    }

    fn of(cluster: &str, group: TraitGroup, name: &str) -> Part {
        Part::Trait {
            cluster: cluster.to_owned(),
            group,
            name: name.to_owned(),
        }
    }

    #[test]
    fn forms() {
        let local = |name: &str| Part::Local(name.to_owned());
        let host = |name: &str| Part::Host(name.to_owned());
        for (value, parts) in [
            ("", vec![]),
            ("plain", vec![text("plain")]),
            ("a $$5 b", vec![text("a $5 b")]),
            ("$x", vec![local("x")]),
            ("${ x }y", vec![local("x"), text("y")]),
            (
                "http://$b.host:$b.ports.api/p",
                vec![
                    text("http://"),
                    host("b"),
                    text(":"),
                    of("b", TraitGroup::Ports, "api"),
                    text("/p"),
                ],
            ),
            ("$b.hosts.host", vec![of("b", TraitGroup::Hosts, "host")]),
            (
                "${b.environment_variables.E}",
                vec![of("b", TraitGroup::EnvironmentVariables, "E")],
            ),
            ("${a.b.c}", vec![local("a.b.c")]),
            ("$b.constants.c", vec![of("b", TraitGroup::Constants, "c")]),
            ("$name.example.org", vec![local("name"), text(".example.org")]),
            (
                "$config://vamp.info.message!",
                vec![Part::Config("vamp.info.message!".to_owned())],
            ),
            ("$env://HOME/x", vec![Part::Environment("HOME/x".to_owned())]),
            (
                "${env_var://A}b",
                vec![Part::Environment("A".to_owned()), text("b")],
            ),
            ("$es://metrics", vec![Part::Index("metrics".to_owned())]),
            ("$env.host", vec![host("env")]),
            ("$other://x", vec![local("other"), text("://x")]),
            ("${conf://a.b}c", vec![Part::Config("a.b".to_owned()), text("c")]),
        ] {
            assert_eq!(parse(value), Ok(parts), "{value:?}");
        }
    }

    #[test]
    fn a_sign_that_begins_nothing_is_an_error_with_its_place() {
        for (value, position) in [
            ("$", 0),
            ("ä$ b", 1),
            ("${a b}", 0),
            ("x${a", 1),
            ("$$$", 2),
            ("$config://", 0),
        ] {
            assert_eq!(parse(value).map_err(|e| e.position), Err(position), "{value:?}");
        }
    }
}
