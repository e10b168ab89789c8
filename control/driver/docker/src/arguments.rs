//! Arguments of a service: `privileged`, and options of `docker run` by their long names.

use serde_json::{Map, Value, json};
use weir_driver::{DriverError, InstanceSpec, words};

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pull {
    /// If the engine does not have it.
    #[default]
    Missing,
    /// Each time.
    Always,
    /// Never: an image that is not there is an error.
    Never,
}

/// What the arguments ask for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Arguments {
    pub(crate) pull: Pull,
    /// Ports are published under their own numbers.
    pub(crate) fixed_ports: bool,
    /// Fields of the container.
    pub(crate) fields: Map<String, Value>,
    /// Fields of its host configuration.
    pub(crate) host: Map<String, Value>,
    /// Further variables, `NAME=value`.
    pub(crate) environment: Vec<String>,
}

/// Names for the error.
const KNOWN: &str = "privileged, pull, ports, command, entrypoint, user, workdir, hostname, stop-signal, env, \
    cap-add, cap-drop, security-opt, add-host, dns, dns-search, volume, tmpfs, ulimit, sysctl, device, \
    group-add, log-driver, log-opt, init, read-only, pids-limit, shm-size, cpu-shares, cpuset-cpus, ipc, pid, \
    userns, runtime, oom-score-adj";

impl Arguments {
    pub(crate) fn of(spec: &InstanceSpec) -> Result<Arguments, DriverError> {
        let mut arguments = Arguments::default();
        for (name, value) in &spec.arguments {
            // As on the command line, or with its dashes.
            let plain = name.trim_start_matches('-');
            arguments.take(plain, value).map_err(|reason| {
                DriverError::Definition(format!("the argument `{name}: {value}` {reason}"))
            })?;
        }
        Ok(arguments)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), String> {
        let text = || Value::String(value.to_owned());
        match name {
            "privileged" => self.set_host("Privileged", flag(value)?),
            "init" => self.set_host("Init", flag(value)?),
            "read-only" => self.set_host("ReadonlyRootfs", flag(value)?),
            "pull" => {
                self.pull = match value {
                    "missing" => Pull::Missing,
                    "always" => Pull::Always,
                    "never" => Pull::Never,
                    _ => return Err("has to be `missing`, `always` or `never`".to_owned()),
                }
            }
            "ports" => {
                self.fixed_ports = match value {
                    "fixed" => true,
                    "assigned" => false,
                    _ => return Err("has to be `fixed` or `assigned`".to_owned()),
                }
            }
            "command" => self.set("Cmd", line(value)?),
            "entrypoint" => self.set("Entrypoint", line(value)?),
            "user" => self.set("User", text()),
            "workdir" => self.set("WorkingDir", text()),
            "hostname" => self.set("Hostname", text()),
            "stop-signal" => self.set("StopSignal", text()),
            "env" => {
                if !value.contains('=') {
                    return Err("has to be NAME=value".to_owned());
                }
                self.environment.push(value.to_owned());
            }
            "cap-add" => self.push("CapAdd", text()),
            "cap-drop" => self.push("CapDrop", text()),
            "security-opt" => self.push("SecurityOpt", text()),
            "add-host" => self.push("ExtraHosts", text()),
            "dns" => self.push("Dns", text()),
            "dns-search" => self.push("DnsSearch", text()),
            "volume" => self.push("Binds", text()),
            "group-add" => self.push("GroupAdd", text()),
            "tmpfs" => {
                let (path, options) = value.split_once(':').unwrap_or((value, ""));
                self.entry("Tmpfs", path, options);
            }
            "sysctl" => {
                let (key, value) = pair(value)?;
                self.entry("Sysctls", key, value);
            }
            "ulimit" => self.push("Ulimits", ulimit(value)?),
            "device" => self.push("Devices", device(value)),
            "log-driver" => self.log("Type", text()),
            "log-opt" => {
                let (key, value) = pair(value)?;
                self.log("Config", json!({key: value}));
            }
            "pids-limit" => self.set_host("PidsLimit", number(value)?),
            "shm-size" => self.set_host("ShmSize", number(value)?),
            "cpu-shares" => self.set_host("CpuShares", number(value)?),
            "oom-score-adj" => self.set_host("OomScoreAdj", number(value)?),
            "cpuset-cpus" => self.set_host("CpusetCpus", text()),
            "ipc" => self.set_host("IpcMode", text()),
            "pid" => self.set_host("PidMode", text()),
            "userns" => self.set_host("UsernsMode", text()),
            "runtime" => self.set_host("Runtime", text()),
            _ => return Err(format!("is not one for containers; there are {KNOWN}")),
        }
        Ok(())
    }

    fn set(&mut self, field: &str, value: Value) {
        self.fields.insert(field.to_owned(), value);
    }

    fn set_host(&mut self, field: &str, value: Value) {
        self.host.insert(field.to_owned(), value);
    }

    fn push(&mut self, field: &str, value: Value) {
        let list = self.host.entry(field).or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.push(value);
        }
    }

    fn entry(&mut self, field: &str, key: &str, value: &str) {
        let map = self.host.entry(field).or_insert_with(|| json!({}));
        if let Value::Object(map) = map {
            map.insert(key.to_owned(), Value::String(value.to_owned()));
        }
    }

    fn log(&mut self, field: &str, value: Value) {
        let config = self.host.entry("LogConfig").or_insert_with(|| json!({}));
        let Value::Object(config) = config else { return };
        match (config.get_mut(field), value) {
            (Some(Value::Object(there)), Value::Object(more)) => there.extend(more),
            (_, value) => {
                config.insert(field.to_owned(), value);
            }
        }
    }
}

fn flag(value: &str) -> Result<Value, String> {
    match value {
        "true" | "" => Ok(Value::Bool(true)),
        "false" => Ok(Value::Bool(false)),
        _ => Err("has to be `true` or `false`".to_owned()),
    }
}

fn number(value: &str) -> Result<Value, String> {
    let number: i64 = value.parse().map_err(|_| "has to be a whole number".to_owned())?;
    Ok(Value::from(number))
}

fn pair(value: &str) -> Result<(&str, &str), String> {
    value
        .split_once('=')
        .ok_or_else(|| "has to be KEY=value".to_owned())
}

/// Words as a shell splits them. Variables are for the container's own shell.
fn line(value: &str) -> Result<Value, String> {
    let words = words::split(value, |_| None).map_err(|error| format!("cannot be read: {error}"))?;
    Ok(Value::from(words))
}

/// `NAME=SOFT[:HARD]`
fn ulimit(value: &str) -> Result<Value, String> {
    let wrong = || "has to be NAME=SOFT or NAME=SOFT:HARD".to_owned();
    let (name, limits) = value.split_once('=').ok_or_else(wrong)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let [soft, hard] = [soft, hard].map(|limit| limit.parse::<i64>().map_err(|_| wrong()));
    Ok(json!({"Name": name, "Soft": soft?, "Hard": hard?}))
}

/// `HOST[:CONTAINER[:rwm]]`
fn device(value: &str) -> Value {
    let mut parts = value.splitn(3, ':');
    let host = parts.next().unwrap_or_default();
    let inside = parts.next().unwrap_or(host);
    let permissions = parts.next().unwrap_or("rwm");
    json!({"PathOnHost": host, "PathInContainer": inside, "CgroupPermissions": permissions})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::create::tests::spec;

    fn of(arguments: &[(&str, &str)]) -> Result<Arguments, String> {
        let arguments = arguments
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let spec = InstanceSpec {
            arguments: arguments.collect(),
            ..spec()
        };
        Arguments::of(&spec).map_err(|error| error.to_string())
    }

    #[test]
    fn options_of_docker_run() {
        let arguments = of(&[
            ("privileged", "true"),
            ("--security-opt", "no-new-privileges"),
            ("cap-add", "A"),
            ("cap-add", "B"),
            ("ulimit", "nofile=10:20"),
            ("log-driver", "json-file"),
            ("log-opt", "max-size=1m"),
            ("log-opt", "max-file=2"),
            ("command", "/app --name 'a b'"),
            ("env", "A=1"),
            ("pull", "never"),
            ("ports", "fixed"),
            ("device", "/dev/a:/dev/b"),
        ])
        .unwrap();
        assert_eq!(
            Value::Object(arguments.host),
            json!({
                "Privileged": true,
                "SecurityOpt": ["no-new-privileges"],
                "CapAdd": ["A", "B"],
                "Ulimits": [{"Name": "nofile", "Soft": 10, "Hard": 20}],
                "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}},
                "Devices": [{"PathOnHost": "/dev/a", "PathInContainer": "/dev/b", "CgroupPermissions": "rwm"}],
            })
        );
        assert_eq!(
            Value::Object(arguments.fields),
            json!({"Cmd": ["/app", "--name", "a b"]})
        );
        assert_eq!((arguments.pull, arguments.fixed_ports), (Pull::Never, true));
        assert_eq!(arguments.environment, ["A=1"]);
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        for (name, value) in [
            ("restart", "always"),
            ("privileged", "yes"),
            ("pull", "now"),
            ("ulimit", "x"),
            ("pids-limit", "many"),
            ("env", "A"),
            ("command", "a 'b"),
        ] {
            let error = of(&[(name, value)]).unwrap_err();
            assert!(error.contains(&format!("`{name}: {value}`")), "{error}");
        }
    }
}
