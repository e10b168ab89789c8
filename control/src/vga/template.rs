//! From sections to text, by a template.
//!
//! Vamp's templates are Twig as JTwig reads it. The engine here is `minijinja`: variables, `if`, `elseif`, `for`, `set`,
//! macros, comments, filters of Jinja and the white-space marks are the same; what Scala's types have
//! (`isDefined`, `isEmpty`, `nonEmpty`, `get`, `size`) is there as properties and as calls. `include`, `import`,
//! `extends`, functions of JTwig and the ternary operator are not, and are refused with the line.

use std::{borrow::Cow, io, sync::Arc};

use minijinja::{
    Environment, ErrorKind,
    value::{Enumerator, Object, ObjectRepr, Value},
};
use thiserror::Error;

use super::{
    acl::{Acl, Acls},
    marshal::{Backend, Frontend, ProxyServer, Rule, Sections, Server},
};

/// Vamp's default, as far as the text goes that it makes.
pub(crate) const DEFAULT: &str = include_str!("haproxy.twig");
/// Longest template in bytes.
pub(crate) const TEMPLATE_BYTES_MAX: usize = 256 * 1024;
/// Longest text in bytes.
const TEXT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Steps of a template: enough for tens of thousands of gateways, and a template that loops ends.
const STEPS_MAX: u64 = 50_000_000;

/// A template cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub(crate) struct TemplateError(String);

/// Writes the sections. The empty template stands for the default one.
pub(crate) fn render(template: &str, sections: &Sections) -> Result<String, TemplateError> {
    if template.len() > TEMPLATE_BYTES_MAX {
        return Err(TemplateError(format!(
            "the template is longer than {TEMPLATE_BYTES_MAX} bytes"
        )));
    }
    let template = if template.trim().is_empty() {
        DEFAULT
    } else {
        template
    };
    let template = as_jinja(template);
    let mut environment = Environment::new();
    environment.set_fuel(Some(STEPS_MAX));
    let parsed = environment
        .template_from_str(&template)
        .map_err(|error| wrong(&error))?;
    let context = record(vec![("haproxy", haproxy(sections))]);
    let mut text = Bounded(Vec::new());
    parsed
        .render_captured_to(context, &mut text)
        .map_err(|error| wrong(&error))?;
    let mut text = String::from_utf8(text.0).map_err(|error| TemplateError(error.to_string()))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

fn wrong(error: &minijinja::Error) -> TemplateError {
    let line = error
        .line()
        .map_or_else(String::new, |line| format!("line {line}: "));
    let what = match error.kind() {
        ErrorKind::OutOfFuel => "it takes too many steps".to_owned(),
        kind => match error.detail() {
            Some(detail) => format!("{kind}: {detail}"),
            None => kind.to_string(),
        },
    };
    TemplateError(format!("{line}{what}"))
}

/// Twig says `elseif` where Jinja says `elif`.
fn as_jinja(template: &str) -> Cow<'_, str> {
    if !template.contains("else") {
        return Cow::Borrowed(template);
    }
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{%") {
        text.push_str(before);
        text.push_str("{%");
        let trimmed = after.trim_start_matches(['-', '+', ' ', '\t', '\n', '\r']);
        let (space, _) = after.split_at(after.len() - trimmed.len());
        text.push_str(space);
        rest = trimmed;
        for word in ["elseif", "else if"] {
            if let Some(tail) = trimmed.strip_prefix(word)
                && tail.starts_with(|character: char| !character.is_alphanumeric() && character != '_')
            {
                text.push_str("elif");
                rest = tail;
                break;
            }
        }
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// Refuses to become too long.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > TEXT_BYTES_MAX {
            return Err(io::Error::other("the text is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Something with named parts. A part is also there as a call without arguments.
#[derive(Debug)]
struct Record(Vec<(&'static str, Value)>);

impl Object for Record {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let key = key.as_str()?;
        let (_, value) = self.0.iter().find(|(name, _)| *name == key)?;
        Some(value.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.iter().map(|(name, _)| Value::from(*name)).collect())
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut minijinja::State<'_, '_>,
        method: &str,
        _: &[Value],
    ) -> Result<Value, minijinja::Error> {
        self.get_value(&Value::from(method))
            .ok_or_else(|| minijinja::Error::from(ErrorKind::UnknownMethod))
    }
}

/// A list that knows its `size`.
#[derive(Debug)]
struct List(Vec<Value>);

impl List {
    fn property(&self, name: &str) -> Option<Value> {
        Some(match name {
            "size" | "length" => Value::from(self.0.len()),
            "isEmpty" => Value::from(self.0.is_empty()),
            "nonEmpty" => Value::from(!self.0.is_empty()),
            _ => return None,
        })
    }
}

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str() {
            Some(name) => self.property(name),
            None => self.0.get(key.as_usize()?).cloned(),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.0.len())
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut minijinja::State<'_, '_>,
        method: &str,
        _: &[Value],
    ) -> Result<Value, minijinja::Error> {
        self.property(method)
            .ok_or_else(|| minijinja::Error::from(ErrorKind::UnknownMethod))
    }
}

fn record(parts: Vec<(&'static str, Value)>) -> Value {
    Value::from_object(Record(parts))
}

fn list<T>(items: &[T], value: impl Fn(&T) -> Value) -> Value {
    Value::from_object(List(items.iter().map(value).collect()))
}

/// What Scala calls an option.
fn optional<T: Clone + Into<Value>>(value: Option<&T>) -> Value {
    let mut parts = vec![
        ("isDefined", Value::from(value.is_some())),
        ("nonEmpty", Value::from(value.is_some())),
        ("isEmpty", Value::from(value.is_none())),
    ];
    if let Some(value) = value {
        parts.push(("get", value.clone().into()));
    }
    record(parts)
}

fn haproxy(sections: &Sections) -> Value {
    record(vec![
        ("frontends", list(&sections.frontends, frontend)),
        ("backends", list(&sections.backends, backend)),
        (
            "virtualHostFrontends",
            list(&sections.virtual_host_frontends, frontend),
        ),
        (
            "virtualHostBackends",
            list(&sections.virtual_host_backends, backend),
        ),
    ])
}

fn frontend(frontend: &Frontend) -> Value {
    record(vec![
        ("name", one_line(&frontend.name)),
        ("lookup", Value::from(frontend.lookup.as_str())),
        ("bindIp", optional(frontend.bind_ip.as_ref())),
        ("bindPort", optional(frontend.bind_port.as_ref())),
        ("mode", Value::from(frontend.mode.as_str())),
        ("unixSock", optional(frontend.unix_sock.as_ref())),
        ("sockProtocol", optional(frontend.sock_protocol.as_ref())),
        ("conditions", list(&frontend.conditions, rule)),
        ("defaultBackend", Value::from(frontend.default_backend.as_str())),
    ])
}

fn rule(rule: &Rule) -> Value {
    let acls = rule.acls.as_ref().map(acls);
    record(vec![
        ("name", one_line(&rule.name)),
        ("destination", Value::from(rule.destination.as_str())),
        ("acls", optional(acls.as_ref())),
    ])
}

fn acls(acls: &Acls) -> Value {
    let acl = |acl: &Acl| {
        record(vec![
            ("name", Value::from(acl.name.as_str())),
            ("definition", Value::from(acl.definition.as_str())),
        ])
    };
    record(vec![
        ("acls", list(&acls.acls, acl)),
        ("condition", optional(acls.condition.as_ref())),
    ])
}

fn backend(backend: &Backend) -> Value {
    let rewrite = |(path, condition): &(String, String)| {
        record(vec![
            ("path", Value::from(path.as_str())),
            ("condition", Value::from(condition.as_str())),
        ])
    };
    record(vec![
        ("name", one_line(&backend.name)),
        ("lookup", Value::from(backend.lookup.as_str())),
        ("mode", Value::from(backend.mode.as_str())),
        ("balance", Value::from(backend.balance.as_str())),
        ("sticky", Value::from(backend.sticky)),
        ("rewrites", list(&backend.rewrites, rewrite)),
        ("proxyServers", list(&backend.proxy_servers, proxy_server)),
        ("servers", list(&backend.servers, server)),
    ])
}

fn proxy_server(server: &ProxyServer) -> Value {
    record(vec![
        ("name", one_line(&server.name)),
        ("lookup", Value::from(server.lookup.as_str())),
        ("unixSock", Value::from(server.unix_sock.as_str())),
        ("weight", Value::from(server.weight)),
    ])
}

fn server(server: &Server) -> Value {
    record(vec![
        ("name", one_line(&server.name)),
        ("lookup", Value::from(server.lookup.as_str())),
        ("url", optional(server.url.as_ref())),
        ("host", optional(server.host.as_ref())),
        ("port", optional(server.port.as_ref())),
        ("weight", Value::from(server.weight)),
        ("checkInterval", optional(server.check_interval.as_ref())),
    ])
}

/// A name within a comment: it must not end the line.
fn one_line(name: &str) -> Value {
    if name.chars().any(char::is_control) {
        return Value::from(name.replace(char::is_control, " "));
    }
    Value::from(name)
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT, as_jinja, render};
    use crate::vga::{
        acl::{Acl, Acls},
        marshal::{Backend, Frontend, Rule, Sections, Server},
    };

    fn sections() -> Sections {
        Sections {
            frontends: vec![Frontend {
                name: "shop\nglobal".to_owned(),
                lookup: "abc".to_owned(),
                bind_ip: Some("0.0.0.0".to_owned()),
                bind_port: Some(9050),
                mode: "http".to_owned(),
                conditions: vec![Rule {
                    name: "a".to_owned(),
                    destination: "im_1".to_owned(),
                    acls: Some(Acls {
                        acls: vec![Acl {
                            name: "x".to_owned(),
                            definition: "hdr_sub(user-agent) Chrome".to_owned(),
                        }],
                        condition: Some("x".to_owned()),
                    }),
                }],
                default_backend: "o_abc".to_owned(),
                ..Frontend::default()
            }],
            backends: vec![Backend {
                lookup: "o_abc".to_owned(),
                mode: "http".to_owned(),
                balance: "roundrobin".to_owned(),
                servers: vec![Server {
                    name: "i".to_owned(),
                    lookup: "i".to_owned(),
                    url: None,
                    host: Some("10.0.0.1".to_owned()),
                    port: Some(80),
                    weight: 100,
                    check_interval: Some(2_000),
                }],
                ..Backend::default()
            }],
            ..Sections::default()
        }
    }

    #[test]
    fn what_vamps_templates_use_is_there() {
        let template = "{# a comment #}
{% for frontend in haproxy.frontends -%}
frontend {{ frontend.name }}
{%- if frontend.unixSock.isDefined %} unix
{%- elseif frontend.bindIp.isDefined() %} bind {{ frontend.bindIp.get }}:{{ frontend.bindPort.get() }}
{%- else %} nothing
{%- endif %}
{%- for condition in frontend.conditions %} {{ condition.acls.get.acls.size }} {{ condition.acls.get.condition.get }}{% endfor %}
{%- endfor %}
{% set total = haproxy.backends.size() + 1 %}{{ total }}{% if haproxy.virtualHostFrontends.isEmpty %} none{% endif %}";
        let text = render(template, &sections()).unwrap();
        assert_eq!(text, "\nfrontend shop global bind 0.0.0.0:9050 1 x\n2 none\n");
    }

    #[test]
    fn the_default_has_what_the_sections_say() {
        let text = render("", &sections()).unwrap();
        for line in [
            "\nfrontend abc\n",
            "\n  bind 0.0.0.0:9050\n",
            "\n  acl x hdr_sub(user-agent) Chrome\n",
            "\n  use_backend im_1 if x\n",
            "\n  default_backend o_abc\n",
            "\n  server i 10.0.0.1:80 weight 100 check inter 2000 init-addr last,libc,none\n",
        ] {
            assert!(text.contains(line), "{line:?} in {text}");
        }
        assert!(!text.contains("\nglobal"), "a name does not end its line");
        assert_eq!(render("  \n", &sections()), render(DEFAULT, &sections()));
    }

    #[test]
    fn faults_are_told_with_their_line() {
        for (template, expected) in [
            ("\n\n{% for x in haproxy.frontends %}", "line 3"),
            ("{{ haproxy.frontends | nonsense }}", "nonsense"),
            ("\n{% include 'file' %}", "line 2"),
            ("{{ a ? b : c }}", "line 1"),
        ] {
            let error = render(template, &sections()).unwrap_err().to_string();
            assert!(error.contains(expected), "{template:?}: {error}");
        }
        let endless = "{% for a in range(10000) %}{% for b in range(10000) %}{% for c in range(10000) %}{% endfor %}{% endfor %}{% endfor %}";
        let error = render(endless, &sections()).unwrap_err().to_string();
        assert!(error.contains("too many steps"), "{error}");
    }

    #[test]
    fn twigs_words_become_jinjas() {
        assert_eq!(
            as_jinja("{% if a %}elseif{%- elseif b %}{% else if c -%}{% else %}{% elseiffy %}{% endif %}"),
            "{% if a %}elseif{%- elif b %}{% elif c -%}{% else %}{% elseiffy %}{% endif %}"
        );
    }
}
