//! What the engine says of a container, in the words of the driver port.

use std::{collections::BTreeMap, time::Duration};

use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, HealthStatusEnum, NetworkSettings,
};
use jiff::Timestamp;
use weir_driver::{InstanceHealth, InstanceState};

use crate::{
    Config,
    labels::{self, Record, Way},
};

/// A container as it is now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    /// The engine's id.
    pub(crate) container: String,
    /// Without its slash.
    pub(crate) name: String,
    /// The instance's id.
    pub(crate) id: String,
    pub(crate) record: Record,
    pub(crate) host: String,
    pub(crate) ports: BTreeMap<String, u16>,
    pub(crate) state: InstanceState,
    /// Of a check that the image or the dialect brings; `None`: there is none.
    pub(crate) own_health: Option<InstanceHealth>,
    pub(crate) message: Option<String>,
    pub(crate) started_at_ms: u64,
}

/// `None`: not a container of ours, or not one that we can read.
pub(crate) fn view(inspected: ContainerInspectResponse, config: &Config) -> Option<View> {
    let of_container = inspected.config?.labels?;
    let id = of_container.get(labels::INSTANCE)?.clone();
    let record = Record::of(&of_container)?;
    let state = inspected.state.unwrap_or_default();
    let started_at_ms = [state.started_at.as_deref(), inspected.created.as_deref()]
        .into_iter()
        .flatten()
        .filter_map(millis)
        .find(|at| *at > 0)
        .unwrap_or(0);
    let (host, ports) = place(&record, inspected.network_settings.unwrap_or_default(), config);
    let (life, message) = life(&state, &record);
    Some(View {
        container: inspected.id?,
        name: inspected
            .name
            .unwrap_or_default()
            .trim_start_matches('/')
            .to_owned(),
        id,
        host,
        ports,
        own_health: own_health(&state),
        state: life,
        message,
        started_at_ms,
        record,
    })
}

/// Milliseconds since the Unix epoch of a time as the engine writes it; times before it are none.
pub(crate) fn millis(text: &str) -> Option<u64> {
    let time: Timestamp = text.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok()
}

fn life(state: &ContainerState, record: &Record) -> (InstanceState, Option<String>) {
    use ContainerStateStatusEnum as Status;
    let reason = state
        .error
        .as_deref()
        .map(str::trim)
        .filter(|text| !text.is_empty());
    match state.status.unwrap_or(Status::EMPTY) {
        Status::RUNNING | Status::RESTARTING => (InstanceState::Running, None),
        Status::PAUSED => (
            InstanceState::Running,
            Some("paused by somebody (docker unpause lets it run on)".to_owned()),
        ),
        Status::REMOVING | Status::STOPPING => (InstanceState::Stopping, None),
        Status::CREATED | Status::EMPTY => (
            InstanceState::Exited { code: None },
            Some(format!(
                "made and never started{}",
                reason.map(|r| format!(": {r}")).unwrap_or_default()
            )),
        ),
        Status::EXITED | Status::DEAD => {
            let code = state.exit_code.and_then(|code| i32::try_from(code).ok());
            let mut message = match code {
                Some(code) => format!("exited with code {code}{}", signal(code)),
                None => "ended; its exit code is not known".to_owned(),
            };
            if state.oom_killed == Some(true) {
                message = format!(
                    "{message}: killed for lack of memory (its limit is {} MB)",
                    record.memory_mb
                );
            }
            if let Some(reason) = reason {
                message = format!("{message}: {reason}");
            }
            (InstanceState::Exited { code }, Some(message))
        }
    }
}

/// Codes above 128 that say which signal ended it.
fn signal(code: i32) -> &'static str {
    match code {
        129 => " (SIGHUP)",
        130 => " (SIGINT)",
        131 => " (SIGQUIT)",
        132 => " (SIGILL)",
        134 => " (SIGABRT)",
        135 => " (SIGBUS)",
        136 => " (SIGFPE)",
        137 => " (SIGKILL)",
        139 => " (SIGSEGV)",
        141 => " (SIGPIPE)",
        143 => " (SIGTERM)",
        _ => "",
    }
}

fn own_health(state: &ContainerState) -> Option<InstanceHealth> {
    if state.status == Some(ContainerStateStatusEnum::PAUSED) {
        return Some(InstanceHealth::Unhealthy);
    }
    match state.health.as_ref()?.status? {
        HealthStatusEnum::EMPTY | HealthStatusEnum::NONE => None,
        HealthStatusEnum::STARTING => Some(InstanceHealth::Unknown),
        HealthStatusEnum::HEALTHY => Some(InstanceHealth::Healthy),
        HealthStatusEnum::UNHEALTHY => Some(InstanceHealth::Unhealthy),
    }
}

/// Host and ports under which it is reached; ports that are not there yet are left out.
fn place(record: &Record, network: NetworkSettings, config: &Config) -> (String, BTreeMap<String, u16>) {
    match &record.way {
        Way::None => (config.host.clone(), BTreeMap::new()),
        Way::Host => (config.host.clone(), record.ports.clone()),
        Way::Published => {
            let published = network.ports.unwrap_or_default();
            let of = |number: u16| {
                let bindings = published.get(&format!("{number}/tcp"))?.as_ref()?;
                bindings
                    .iter()
                    .find_map(|binding| binding.host_port.as_ref()?.parse().ok())
            };
            let ports = record.ports.iter();
            let ports = ports.filter_map(|(name, number)| Some((name.clone(), of(*number)?)));
            (config.host.clone(), ports.collect())
        }
        Way::Address(name) => {
            let networks = network.networks.unwrap_or_default();
            let endpoint = networks.get(name).or_else(|| networks.values().next());
            let address = endpoint
                .and_then(|endpoint| endpoint.ip_address.clone())
                .filter(|address| !address.is_empty());
            match address {
                Some(address) => (address, record.ports.clone()),
                None => (String::new(), BTreeMap::new()),
            }
        }
    }
}

/// How long it has been running, as far as clocks agree.
pub(crate) fn age(started_at_ms: u64, now_ms: u64) -> Duration {
    Duration::from_millis(now_ms.saturating_sub(started_at_ms))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{Endpoint, create::tests::spec};

    fn seen(state: Value, network: Value) -> View {
        let config = Config::new(Endpoint::new("/run/docker.sock", None).unwrap(), "default");
        let plan = crate::create::plan(&spec(), &config).unwrap();
        let inspected = json!({
            "Id": "c1",
            "Name": "/renamed",
            "Created": "2026-01-01T00:00:00.5Z",
            "Config": {"Labels": plan.body.labels},
            "State": state,
            "NetworkSettings": network,
        });
        view(serde_json::from_value(inspected).unwrap(), &config).unwrap()
    }

    #[test]
    fn a_running_container() {
        let view = seen(
            json!({"Status": "running", "StartedAt": "2026-01-01T00:00:01.25Z"}),
            json!({"Ports": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "32768"}], "20000/tcp": null}}),
        );
        assert_eq!(
            (view.id.as_str(), view.name.as_str()),
            ("shop.front-1", "renamed")
        );
        assert_eq!(view.state, InstanceState::Running);
        assert_eq!(view.host, "127.0.0.1");
        assert_eq!(view.ports, BTreeMap::from([("web".to_owned(), 32_768)]));
        assert_eq!(view.started_at_ms, 1_767_225_601_250);
        assert_eq!(view.own_health, None);
    }

    #[test]
    fn ends_and_their_reasons() {
        let of = |state: Value| {
            let view = seen(state, json!({}));
            (view.state, view.message.unwrap_or_default())
        };
        let (state, message) = of(json!({"Status": "exited", "ExitCode": 3}));
        assert_eq!(
            (state, message.as_str()),
            (InstanceState::Exited { code: Some(3) }, "exited with code 3")
        );
        let (_, message) = of(json!({"Status": "exited", "ExitCode": 137, "OOMKilled": true}));
        assert_eq!(
            message,
            "exited with code 137 (SIGKILL): killed for lack of memory (its limit is 64 MB)"
        );
        let (state, message) = of(json!({"Status": "created", "Error": "no such device"}));
        assert_eq!(state, InstanceState::Exited { code: None });
        assert_eq!(message, "made and never started: no such device");
        let (state, _) = of(json!({"Status": "removing"}));
        assert_eq!(state, InstanceState::Stopping);
    }

    #[test]
    fn health_of_its_own() {
        let of = |state: Value| seen(state, json!({})).own_health;
        let health = |word: &str| json!({"Status": "running", "Health": {"Status": word}});
        assert_eq!(of(health("none")), None);
        assert_eq!(of(health("starting")), Some(InstanceHealth::Unknown));
        assert_eq!(of(health("healthy")), Some(InstanceHealth::Healthy));
        assert_eq!(of(health("unhealthy")), Some(InstanceHealth::Unhealthy));
        assert_eq!(of(json!({"Status": "paused"})), Some(InstanceHealth::Unhealthy));
    }
}
