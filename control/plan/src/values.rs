//! What the references in values stand for: `$name`, `$cluster.ports.web`, ... (spec of the artifacts §13).
//!
//! **Job.** A [`Lookup`] answers each reference of a value. What is not known resolves to the empty text (Vamp's
//! rule). A value is parsed as a whole before anything is looked up, so a malformed one is an error and never half
//! resolved. **Absent.** The form of values: [`weir_artifact::value`].

use weir_artifact::value::{Part, TraitGroup, ValueError, parse};

/// What references mean where a value stands. Everything answers `None` for what it does not know.
pub(crate) trait Lookup {
    /// A variable of the service, or a constant of its breed.
    fn local(&self, name: &str) -> Option<String>;
    /// Address of a cluster.
    fn host(&self, cluster: &str) -> Option<String>;
    /// A trait of a cluster.
    fn group(&self, cluster: &str, group: TraitGroup, name: &str) -> Option<String>;
    /// `host:port` at which a cluster's gateway is reached.
    fn address(&self, cluster: &str, port: &str) -> Option<String>;
    /// What stands behind `$scheme://path`; the scheme is `config`, `env` or `es`.
    fn external(&self, scheme: &str, path: &str) -> Option<String>;
}

/// Resolves every reference of a value.
///
/// # Errors
/// [`ValueError`] when the value is malformed.
pub(crate) fn resolve(text: &str, lookup: &dyn Lookup) -> Result<String, ValueError> {
    let parts = parse(text)?;
    let mut rest = parts.as_slice();
    let mut resolved = String::with_capacity(text.len());
    while let [part, after @ ..] = rest {
        rest = after;
        let value = match part {
            Part::Text(text) => Some(text.clone()),
            Part::Local(name) => lookup.local(name),
            Part::Host(cluster) => match after {
                // `$c.host:$c.ports.p` of one cluster is the address of its gateway as a unit.
                [
                    Part::Text(colon),
                    Part::Trait {
                        cluster: of,
                        group: TraitGroup::Ports,
                        name,
                    },
                    after @ ..,
                ] if colon == ":" && of == cluster => {
                    rest = after;
                    lookup.address(cluster, name)
                }
                _ => lookup.host(cluster),
            },
            Part::Trait { cluster, group, name } => lookup.group(cluster, *group, name),
            Part::Config(path) => lookup.external("config", path),
            Part::Environment(name) => lookup.external("env", name),
            Part::Index(kind) => lookup.external("es", kind),
        };
        resolved.push_str(&value.unwrap_or_default());
    }
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use weir_artifact::value::TraitGroup;

    use super::{Lookup, resolve};

    struct World;

    impl Lookup for World {
        fn local(&self, name: &str) -> Option<String> {
            (name == "x").then(|| "local".to_owned())
        }
        fn host(&self, cluster: &str) -> Option<String> {
            (cluster == "c").then(|| "10.0.0.1".to_owned())
        }
        fn group(&self, cluster: &str, group: TraitGroup, name: &str) -> Option<String> {
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
            // `host-` is one name and no cluster's, so the reference ends before it.
            ("$c.host-$c.ports.p", ".host-Ports-p"),
            ("$x.example.org", "local.example.org"),
            ("$config://vamp.info", "<vamp.info>"),
            ("$env://x", ""),
            ("$x://host", "local://host"),
            ("$unknown $d.host", " "),
        ] {
            assert_eq!(resolve(text, &World).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn an_address_is_one_thing_only_within_one_cluster() {
        for (text, expected) in [
            ("$c.host:$c.ports.web", "service-of-web:40001"),
            ("$c.host:$d.ports.web", "10.0.0.1:"),
            ("$c.host: $c.ports.web", "10.0.0.1: Ports-web"),
            ("$c.host:$c.constants.web", "10.0.0.1:Constants-web"),
        ] {
            assert_eq!(resolve(text, &World).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_malformed_value_resolves_to_nothing_at_all() {
        let error = resolve("$x ${a b}", &World).expect_err("malformed");
        assert_eq!(error.position, 3);
        assert!(
            error.to_string().starts_with("`$x ${a b}` is not a value: "),
            "{error}"
        );
        assert!(error.to_string().ends_with(" at character 4"), "{error}");
    }
}
