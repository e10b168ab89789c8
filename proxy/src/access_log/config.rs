//! Settings of the access log.

use std::{num::NonZeroU32, path::PathBuf};

use super::tap::LogTap;

/// Settings of the access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// How records look.
    pub format: LogFormat,
    /// Where they go.
    pub output: LogOutput,
    /// One request in so many is logged, with all its records. Default 1: every one.
    pub sample: NonZeroU32,
    /// Fields of JSON records. Default: all.
    pub fields: LogFields,
    /// Whether `Tq` and `Tt` count the time a connection waited for the request, as Vamp's did. Default: no.
    pub idle_time: bool,
    /// Who gets the records besides. Default: nobody.
    pub tap: Option<LogTap>,
}

impl AccessLog {
    /// Every request with every field.
    pub fn new(format: LogFormat, output: LogOutput) -> Self {
        Self {
            format,
            output,
            sample: NonZeroU32::MIN,
            fields: LogFields::ALL,
            idle_time: false,
            tap: None,
        }
    }
}

/// How records look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// An object per line and per level that a request crosses, with Vamp's fields (spec of the gateway agent, §4).
    #[default]
    Json,
    /// A line per request: Apache's "combined", then gateway, route, instance, times and how it ended.
    Combined,
}

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOutput {
    /// Standard output.
    Stdout,
    /// The end of this file; made if it is not there.
    File(PathBuf),
    /// Nowhere: only [`AccessLog::tap`] gets them.
    Nowhere,
}

/// A field of JSON records, named as Vamp names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LogField {
    /// `ci`: address of the client.
    ClientAddress,
    /// `cp`: port of the client.
    ClientPort,
    /// `t`: when the request began, UTC.
    Time,
    /// `ft`: what took it: gateway, its weights, route, virtual hosts.
    Frontend,
    /// `b`: what decided where it goes.
    Backend,
    /// `s`: where it went.
    Server,
    /// `Tq`: ms until the head was received.
    RequestTime,
    /// `Tw`: ms in queues.
    QueueTime,
    /// `Tc`: ms until there was a connection.
    ConnectTime,
    /// `Tr`: ms until the head of the answer.
    ResponseTime,
    /// `Tt`: ms in total.
    TotalTime,
    /// `ST`: status.
    Status,
    /// `B`: bytes to the client.
    Bytes,
    /// `CC`: captured cookie of the request; none is captured.
    RequestCookie,
    /// `CS`: captured cookie of the response; none is captured.
    ResponseCookie,
    /// `tsc` (TCP: `ts`): how it ended.
    Termination,
    /// `ac`: connections of the process.
    ProcessConnections,
    /// `fc`: requests of the frontend under way.
    FrontendConnections,
    /// `bc`: requests of the backend under way.
    BackendConnections,
    /// `sc`: requests of the server under way.
    ServerConnections,
    /// `rc`: attempts beyond the first.
    Retries,
    /// `sq`: length of the server's queue.
    ServerQueue,
    /// `bq`: length of the backend's queue.
    BackendQueue,
    /// `hr`: captured headers of the request; none is captured.
    RequestHeaders,
    /// `hs`: captured headers of the response; none is captured.
    ResponseHeaders,
    /// `r`: request line.
    Request,
}

impl LogField {
    /// Every field in the order of a record.
    pub const ALL: [Self; 26] = [
        Self::ClientAddress,
        Self::ClientPort,
        Self::Time,
        Self::Frontend,
        Self::Backend,
        Self::Server,
        Self::RequestTime,
        Self::QueueTime,
        Self::ConnectTime,
        Self::ResponseTime,
        Self::TotalTime,
        Self::Status,
        Self::Bytes,
        Self::RequestCookie,
        Self::ResponseCookie,
        Self::Termination,
        Self::ProcessConnections,
        Self::FrontendConnections,
        Self::BackendConnections,
        Self::ServerConnections,
        Self::Retries,
        Self::ServerQueue,
        Self::BackendQueue,
        Self::RequestHeaders,
        Self::ResponseHeaders,
        Self::Request,
    ];

    /// Its name in a record of a request.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientAddress => "ci",
            Self::ClientPort => "cp",
            Self::Time => "t",
            Self::Frontend => "ft",
            Self::Backend => "b",
            Self::Server => "s",
            Self::RequestTime => "Tq",
            Self::QueueTime => "Tw",
            Self::ConnectTime => "Tc",
            Self::ResponseTime => "Tr",
            Self::TotalTime => "Tt",
            Self::Status => "ST",
            Self::Bytes => "B",
            Self::RequestCookie => "CC",
            Self::ResponseCookie => "CS",
            Self::Termination => "tsc",
            Self::ProcessConnections => "ac",
            Self::FrontendConnections => "fc",
            Self::BackendConnections => "bc",
            Self::ServerConnections => "sc",
            Self::Retries => "rc",
            Self::ServerQueue => "sq",
            Self::BackendQueue => "bq",
            Self::RequestHeaders => "hr",
            Self::ResponseHeaders => "hs",
            Self::Request => "r",
        }
    }

    /// Whether records of TCP connections have it.
    pub const fn is_of_tcp(self) -> bool {
        !matches!(
            self,
            Self::RequestTime
                | Self::ResponseTime
                | Self::Status
                | Self::RequestCookie
                | Self::ResponseCookie
                | Self::RequestHeaders
                | Self::ResponseHeaders
                | Self::Request
        )
    }
}

/// A set of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFields(u32);

impl LogFields {
    /// Every field.
    pub const ALL: Self = Self(u32::MAX);

    /// Whether this one is among them.
    pub const fn has(self, field: LogField) -> bool {
        self.0 & (1 << field as u8) != 0
    }
}

impl FromIterator<LogField> for LogFields {
    fn from_iter<I: IntoIterator<Item = LogField>>(fields: I) -> Self {
        Self(fields.into_iter().fold(0, |set, field| set | 1 << field as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::{LogField, LogFields};

    #[test]
    fn every_field_has_a_name_and_a_place_of_its_own() {
        let mut names: Vec<_> = LogField::ALL.iter().map(|field| field.name()).collect();
        for (index, field) in LogField::ALL.into_iter().enumerate() {
            assert_eq!(field as usize, index);
            let one: LogFields = [field].into_iter().collect();
            assert_eq!(LogField::ALL.iter().filter(|field| one.has(**field)).count(), 1);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), LogField::ALL.len());
    }
}
