//! How a gateway and its routes are to be carried, beyond where they lead. Everything has a default.

use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::{PathRewrite, Protocol};

/// A length of time in whole milliseconds, up to [`Millis::MAX`]. Written as a number; read from a number of milliseconds or a text
/// with a unit: `500ms`, `2s`, `1m`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(u32);

/// A text is not a length of time.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{0}` is not a length of time; write a number and a unit, such as 500ms, 2s, 1m or 1h, up to 24h")]
pub struct MillisError(String);

impl Millis {
    /// A day.
    pub const MAX: Self = Self(24 * 3600 * 1000);

    /// From milliseconds, at most a day.
    ///
    /// # Errors
    /// [`MillisError`] beyond a day.
    pub fn new(milliseconds: u64) -> Result<Self, MillisError> {
        u32::try_from(milliseconds)
            .ok()
            .map(Self)
            .filter(|millis| *millis <= Self::MAX)
            .ok_or_else(|| MillisError(milliseconds.to_string()))
    }

    /// As the standard library has it.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0 as u64)
    }
}

impl FromStr for Millis {
    type Err = MillisError;

    fn from_str(text: &str) -> Result<Self, MillisError> {
        let wrong = || MillisError(text.chars().take(40).collect());
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
        let factor: u64 = match unit.trim() {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        Self::new(number.checked_mul(factor).ok_or_else(wrong)?).map_err(|_| wrong())
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms > 0 && ms % 1_000 == 0 => write!(f, "{}s", ms / 1_000),
            ms => write!(f, "{ms}ms"),
        }
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(number) => Self::new(number),
            Form::Text(text) => text.parse(),
        }
        .map_err(serde::de::Error::custom)
    }
}

/// How a gateway's socket is to be used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GatewayOptions {
    /// Whether TLS ends here; `None`: the socket is clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Whether every connection must begin with a PROXY protocol header (version 1 or 2), which then tells
    /// the client's address.
    #[serde(default, skip_serializing_if = "is_default")]
    pub accept_proxy_protocol: bool,
}

/// TLS that ends at a gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tls {
    /// At least one; chosen by the name that the client asks for, the first if none fits.
    pub certificates: Vec<Certificate>,
    /// Oldest version that is spoken.
    #[serde(default, skip_serializing_if = "is_default")]
    pub minimum: TlsVersion,
    /// PEM, or the path of a file, with the certificates by which those of clients must be signed; `None`: clients are not
    /// asked for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<String>,
    /// Whether a client may come without a certificate all the same. One that cannot be trusted is refused in any case.
    #[serde(default, skip_serializing_if = "is_default")]
    pub client_certificate_optional: bool,
}

/// Versions of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    V13,
}

/// A certificate chain and its key, both PEM. A value with a line `-----BEGIN` is the PEM itself, any other is a file's path
/// on the agent's host, which is watched.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Certificate {
    /// The chain, the server's own first.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// The key stays out of logs.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certificate = if self.certificate.contains("-----BEGIN") {
            "(PEM)"
        } else {
            &self.certificate
        };
        let key = if self.key.contains("-----BEGIN") {
            "(secret)"
        } else {
            &self.key
        };
        f.debug_struct("Certificate")
            .field("certificate", &certificate)
            .field("key", &key)
            .finish()
    }
}

/// How a route's instances are to be reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteOptions {
    /// How its instances are checked; `None`: as the agent is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    /// Bounds of waiting that differ from the agent's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub timeouts: RouteTimeouts,
    /// Whether its instances are spoken to by TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// Header that is sent before anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_proxy_protocol: Option<ProxyProtocol>,
    /// Which HTTP its instances speak.
    #[serde(default, skip_serializing_if = "is_default")]
    pub protocol: UpstreamProtocol,
    /// How long an instance that became healthy takes to get its full share; zero: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<Millis>,
    /// When an instance is passed over because of its answers; `None`: never. HTTP only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ejection: Option<Ejection>,
    /// Connections whose client asks for one of these names by TLS (SNI) take this route. TCP only. If TLS does not end at
    /// the gateway, it is passed through as it is.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "server_names"
    )]
    pub server_names: Vec<String>,
    /// How paths are changed before requests are passed on, in order; each sees what those before it made. HTTP
    /// only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rewrites: Vec<PathRewrite>,
}

impl RouteOptions {
    /// The first option that routes of a gateway with that protocol cannot have: its key, and who can have it.
    pub fn misplaced(&self, protocol: Protocol) -> Option<(&'static str, &'static str)> {
        match protocol {
            Protocol::Tcp if self.protocol != UpstreamProtocol::Http1 => {
                Some(("protocol", "HTTP gateways have a `protocol`"))
            }
            Protocol::Tcp if self.ejection.is_some() => {
                Some(("ejection", "HTTP gateways have an `ejection`"))
            }
            Protocol::Http if !self.server_names.is_empty() => {
                Some(("server_names", "TCP gateways have `server_names`"))
            }
            Protocol::Tcp | Protocol::Http => None,
        }
    }
}

/// A check of an instance by the agent itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// How.
    pub protocol: HealthProtocol,
    /// What is asked for (HTTP): a path, perhaps with a query, at most [`HealthCheck::PATH_BYTES_MAX`]. Default `/`.
    #[serde(default = "root", skip_serializing_if = "is_root", deserialize_with = "path")]
    pub path: String,
    /// Between two checks. Default 2 s.
    #[serde(default = "interval_default")]
    pub interval: Millis,
    /// For the answer. Default 5 s.
    #[serde(default = "timeout_default")]
    pub timeout: Millis,
    /// Successes in a row that make it well. Default 2.
    #[serde(default = "rise_default")]
    pub rise: u32,
    /// Failures in a row that make it ill. Default 3.
    #[serde(default = "fall_default")]
    pub fall: u32,
}

impl HealthCheck {
    /// Longest path in bytes.
    pub const PATH_BYTES_MAX: usize = 2_048;

    /// Vamp's: a connection every 2 s, ill after 3 failures, well after 2 successes (spec of the gateway agent, §3.8).
    pub fn tcp() -> Self {
        Self {
            protocol: HealthProtocol::Tcp,
            path: root(),
            interval: interval_default(),
            timeout: timeout_default(),
            rise: rise_default(),
            fall: fall_default(),
        }
    }
}

/// What can stand in a request line.
fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let path = String::deserialize(deserializer)?;
    if path.starts_with('/')
        && path.len() <= HealthCheck::PATH_BYTES_MAX
        && path.bytes().all(|byte| byte.is_ascii_graphic())
    {
        Ok(path)
    } else {
        Err(serde::de::Error::custom(
            "a path to ask for begins with / and has neither spaces nor other signs than those of ASCII",
        ))
    }
}

fn root() -> String {
    "/".to_owned()
}

fn is_root(path: &str) -> bool {
    path == "/"
}

const fn interval_default() -> Millis {
    Millis(2_000)
}

const fn timeout_default() -> Millis {
    Millis(5_000)
}

const fn rise_default() -> u32 {
    2
}

const fn fall_default() -> u32 {
    3
}

/// How an agent checks an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthProtocol {
    /// A connection is accepted.
    Tcp,
    /// `GET path` is answered with 200 to 399.
    Http,
    /// Not at all.
    None,
}

/// Bounds of waiting; `None`: the agent's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTimeouts {
    /// For a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<Millis>,
    /// For the first byte of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<Millis>,
    /// For more of a body, either way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Millis>,
    /// For the whole request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Millis>,
    /// For either side of a tunnel to send something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Millis>,
}

/// TLS to instances.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UpstreamTls {
    /// Name that the certificate must have and that is asked for; `None`: the instance's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// PEM, or the path of a file, with the certificates that are trusted; `None`: those of the agent's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// Whether any certificate is taken. For trying things out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub insecure: bool,
    /// Shown to instances that ask for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
}

/// When an instance is passed over because of its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ejection {
    /// Answers in a row with a status from 500, or that did not come. At least 1.
    pub errors: NonZeroU32,
    /// How long it is passed over at first; twice as long after each request that then fails, up to 32 times. Default 10 s.
    #[serde(default = "pause_default")]
    pub pause: Millis,
}

const fn pause_default() -> Millis {
    Millis(10_000)
}

/// Names that a client of TLS may ask for: `shop.test`, or `*.shop.test` for every name with one label more.
pub(crate) fn server_names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    for name in &names {
        let plain = name.strip_prefix("*.").unwrap_or(name);
        let is_name = !plain.is_empty()
            && name.len() <= 253
            && plain.split('.').all(|label| {
                !label.is_empty()
                    && label
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            });
        if !is_name {
            return Err(serde::de::Error::custom(format!(
                "`{name}` is no name that a client can ask for; write shop.test or *.shop.test"
            )));
        }
    }
    Ok(names.into_iter().map(|name| name.to_ascii_lowercase()).collect())
}

/// Versions of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// Text.
    V1,
    /// Binary.
    V2,
}

/// Which HTTP instances speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 (over TLS, or with prior knowledge).
    Http2,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests;
