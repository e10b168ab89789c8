//! Settings that can change while control runs.

use std::{ops::RangeInclusive, time::Duration};

use serde_json::Value;
use weir_artifact::{Problem, Scale, units};

use super::Flat;
use crate::{
    config::Config,
    error::problem,
    event::retention::{Retention, bytes},
};

/// Greets in `/info`.
pub(super) const MESSAGE: &str = "Hi, I'm Weir! How are you?";
/// What figures are about if nobody says otherwise.
pub(super) const WINDOW: Duration = Duration::from_secs(30);
/// Longest duration that a key may have.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Settings that can change while control runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Live {
    /// Address under which services reach gateways.
    pub(crate) gateway_host: String,
    /// Type of a deployable that has none.
    pub(crate) default_deployable_type: String,
    /// Whether kinds are printed in the plural, as by Vamp 0.9.6 and later.
    pub(crate) plural_kinds: bool,
    /// Scale of a service that has none.
    pub(crate) default_scale: Scale,
    /// Ports for gateways that name none.
    pub(crate) gateway_ports: RangeInclusive<u16>,
    /// Whether gateways receive a default virtual host.
    pub(crate) virtual_hosts: bool,
    /// What `/metrics` looks back on.
    pub(crate) metrics_window: Duration,
    /// What `/health` looks back on.
    pub(crate) health_window: Duration,
    /// A service that is not as wanted after this time has failed; zero: never.
    pub(crate) deploy_timeout: Duration,
    /// How long events are kept, and how many.
    pub(crate) retention: Retention,
    /// Greets in `/info`.
    pub(crate) message: String,
}

impl Live {
    /// As control was started.
    pub(crate) fn started(config: &Config) -> Self {
        Self {
            gateway_host: config.gateway_host.clone(),
            default_deployable_type: config.default_deployable_type.clone(),
            plural_kinds: false,
            default_scale: config.default_scale,
            gateway_ports: config.gateway_ports.clone(),
            virtual_hosts: true,
            metrics_window: WINDOW,
            health_window: WINDOW,
            deploy_timeout: config.deploy_timeout,
            retention: config.events,
            message: MESSAGE.to_owned(),
        }
    }

    /// As the keys say; what they say wrongly is as control was started, and a problem.
    pub(crate) fn of(config: &Config, flat: &Flat) -> (Self, Vec<Problem>) {
        let mut live = Self::started(config);
        let mut problems = Vec::new();
        for (key, value) in flat {
            if let Err(wanted) = live.set(key, value) {
                problems.push(problem(
                    "InvalidConfigurationError",
                    key.as_str(),
                    format!("{value} is not {wanted}"),
                ));
            }
        }
        (live, problems)
    }

    /// Sets what a key says.
    ///
    /// # Errors
    /// What the value should be.
    fn set(&mut self, key: &str, value: &Value) -> Result<(), &'static str> {
        let text = || match value {
            Value::String(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
            _ => Err("a text"),
        };
        let Some(key) = key.strip_prefix(super::PREFIX) else {
            return Ok(());
        };
        match key {
            "gateway-driver.host" => self.gateway_host = text()?,
            "model.default-deployable-type" => self.default_deployable_type = text()?,
            "operation.info.message" => self.message = text()?,
            "operation.deployment.scale.instances" => {
                self.default_scale.instances = number(value)
                    .filter(|number| number.fract() == 0.0 && (0.0..=100_000.0).contains(number))
                    .map(|number| {
                        #[expect(
                            clippy::cast_possible_truncation,
                            clippy::cast_sign_loss,
                            reason = "a whole number from 0 to 100 000"
                        )]
                        let number = number as u32;
                        number
                    })
                    .ok_or("a whole number from 0 to 100000")?;
            }
            "operation.deployment.scale.cpu" => {
                self.default_scale.cpu = match value {
                    Value::String(text) => units::cpu(text).ok(),
                    value => number(value),
                }
                .filter(|cpu| (0.0..=100_000.0).contains(cpu))
                .ok_or("a number of processors")?;
            }
            "operation.deployment.scale.memory" => {
                let text = text().map_err(|_| MEMORY)?;
                self.default_scale.memory_mb = units::memory_mb(&text).map_err(|_| MEMORY)?;
            }
            "operation.gateway.port-range" => {
                self.gateway_ports = text().ok().and_then(|text| ports(&text)).ok_or(PORTS)?;
            }
            "model.plural-kinds" => self.plural_kinds = boolean(value)?,
            "operation.gateway.virtual-hosts.enabled" => self.virtual_hosts = boolean(value)?,
            "operation.health.window" => self.health_window = duration(value).ok_or(DURATION)?,
            "operation.metrics.window" => self.metrics_window = duration(value).ok_or(DURATION)?,
            "operation.synchronization.timeout.ready-for-deployment" => {
                self.deploy_timeout = duration(value).ok_or(DURATION)?;
            }
            "pulse.retention.age" => self.retention.age = duration(value).ok_or(DURATION)?,
            "pulse.retention.figures" => self.retention.figures_age = duration(value).ok_or(DURATION)?,
            "pulse.retention.events" => {
                self.retention.events_max = match value {
                    Value::String(text) => text.trim().parse().ok(),
                    value => value.as_u64(),
                }
                .ok_or("a whole number")?;
            }
            "pulse.retention.bytes" => {
                self.retention.bytes_max = bytes(value).ok_or("a size such as 64MB, or a number of bytes")?;
            }
            _ => {}
        }
        Ok(())
    }
}

const MEMORY: &str = "an amount of memory such as 64MB";
const PORTS: &str = "a range of ports such as 40000-45000";
const DURATION: &str = "a duration such as 30s, 30 seconds or 500ms";

fn boolean(value: &Value) -> Result<bool, &'static str> {
    match value {
        Value::Bool(enabled) => Some(*enabled),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
    .ok_or("true or false")
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_f64(),
    }
}

fn ports(text: &str) -> Option<RangeInclusive<u16>> {
    let (from, to) = text.split_once('-')?;
    let [from, to] = [from, to].map(|port| port.trim().parse::<u16>().ok());
    let (from, to) = (from?, to?);
    (0 < from && from <= to).then_some(from..=to)
}

/// `30s`, `30 seconds`, `500ms`, `2 minutes`, `1h`; a number alone is in milliseconds, as in Vamp's files.
pub(crate) fn duration(value: &Value) -> Option<Duration> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let ms = match unit.trim() {
        "" | "ms" | "millis" | "millisecond" | "milliseconds" => 1,
        "s" | "sec" | "second" | "seconds" => 1_000,
        "m" | "min" | "minute" | "minutes" => 60_000,
        "h" | "hour" | "hours" => 3_600_000,
        "d" | "day" | "days" => 86_400_000,
        _ => return None,
    };
    let duration = Duration::from_millis(number.checked_mul(ms)?);
    (duration <= DURATION_MAX).then_some(duration)
}
