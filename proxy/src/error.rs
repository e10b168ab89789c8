//! What can go wrong with a request, and what the client, the metrics and the log make of it.

use thiserror::Error;

/// Why a request or a connection did not end well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No gateway listens under this host name.
    NoGateway,
    /// Every route has weight 0 and no condition matched.
    NoRoute,
    /// The route has no instance that takes requests.
    NoInstance,
    /// The instance refused the connection.
    ConnectRefused,
    /// The instance did not accept the connection in time.
    ConnectTimeout,
    /// The connection could not be made for another reason (unreachable, no local port, descriptors exhausted).
    ConnectFailed,
    /// The name of the instance's host could not be resolved.
    Unresolved,
    /// The instance took too long to answer.
    ResponseTimeout,
    /// The instance closed the connection before its answer was complete.
    ResponseClosed,
    /// The instance's answer is not HTTP, or has more than one reading.
    ResponseMalformed,
    /// The request is not HTTP, or has more than one reading.
    RequestMalformed,
    /// The head of the request is too long or has too many headers.
    HeadTooLarge,
    /// The request line is too long.
    UriTooLong,
    /// The body of the request is too long.
    BodyTooLarge,
    /// The client took too long to send its request.
    RequestTimeout,
    /// The client went away before its answer was complete.
    ClientAborted,
    /// A version of HTTP that is not spoken here.
    VersionUnsupported,
    /// A method that a gateway does not serve (CONNECT).
    MethodUnsupported,
    /// A transfer coding that is not known.
    Unsupported,
    /// Nothing was sent through a tunnel for too long.
    TunnelIdle,
    /// A connection did not begin with the PROXY protocol header that its listener expects.
    ProxyHeader,
    /// The TLS handshake with the instance failed, or its certificate is not trusted.
    InstanceTls,
    /// The TLS handshake with the client failed.
    Handshake,
    /// The client took too long for its TLS handshake.
    HandshakeTimeout,
    /// The proxy ended first.
    Shutdown,
    /// A fault of ours.
    Internal,
}

impl ErrorKind {
    /// Every kind, in the order of their discriminants.
    pub const ALL: [Self; 26] = [
        Self::NoGateway,
        Self::NoRoute,
        Self::NoInstance,
        Self::ConnectRefused,
        Self::ConnectTimeout,
        Self::ConnectFailed,
        Self::Unresolved,
        Self::ResponseTimeout,
        Self::ResponseClosed,
        Self::ResponseMalformed,
        Self::RequestMalformed,
        Self::HeadTooLarge,
        Self::UriTooLong,
        Self::BodyTooLarge,
        Self::RequestTimeout,
        Self::ClientAborted,
        Self::VersionUnsupported,
        Self::MethodUnsupported,
        Self::Unsupported,
        Self::TunnelIdle,
        Self::ProxyHeader,
        Self::InstanceTls,
        Self::Handshake,
        Self::HandshakeTimeout,
        Self::Shutdown,
        Self::Internal,
    ];

    /// Status of the answer, if one can still be sent.
    pub const fn status(self) -> u16 {
        self.outcome().0
    }

    /// Word for metrics and logs.
    pub const fn label(self) -> &'static str {
        self.outcome().1
    }

    const fn outcome(self) -> (u16, &'static str) {
        match self {
            Self::NoGateway => (503, "no_gateway"),
            Self::NoRoute => (503, "no_route"),
            Self::NoInstance => (503, "no_instance"),
            Self::ConnectRefused => (503, "connect_refused"),
            Self::ConnectTimeout => (503, "connect_timeout"),
            Self::ConnectFailed => (503, "connect_failed"),
            Self::Unresolved => (503, "unresolved"),
            Self::ResponseTimeout => (504, "response_timeout"),
            Self::ResponseClosed => (502, "response_closed"),
            Self::ResponseMalformed => (502, "response_malformed"),
            Self::RequestMalformed => (400, "request_malformed"),
            Self::HeadTooLarge => (431, "head_too_large"),
            Self::UriTooLong => (414, "uri_too_long"),
            Self::BodyTooLarge => (413, "body_too_large"),
            Self::RequestTimeout => (408, "request_timeout"),
            Self::ClientAborted => (400, "client_aborted"),
            Self::VersionUnsupported => (505, "version_unsupported"),
            Self::MethodUnsupported => (405, "method_unsupported"),
            Self::Unsupported => (501, "unsupported"),
            Self::TunnelIdle => (504, "tunnel_idle"),
            Self::ProxyHeader => (400, "proxy_header"),
            Self::InstanceTls => (502, "instance_tls"),
            Self::Handshake => (400, "handshake"),
            Self::HandshakeTimeout => (408, "handshake_timeout"),
            Self::Shutdown => (503, "shutdown"),
            Self::Internal => (500, "internal"),
        }
    }
}

/// Why a proxy could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// A worker thread could not be started.
    #[error("worker {worker} could not be started")]
    Worker {
        /// Its number, from 0.
        worker: usize,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The number of workers makes no sense.
    #[error("{0} workers were asked for; 1 to 256 can be had")]
    WorkerCount(usize),
    /// An answer of one's own cannot be used.
    #[error("the page for status {status} cannot be used: {reason}")]
    ErrorPage {
        /// The status that it is for.
        status: u16,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The access log cannot be written.
    #[error("the access log cannot be opened")]
    AccessLog(#[source] std::io::Error),
    /// The thread that checks instances could not be started.
    #[error("the thread that checks instances could not be started")]
    Health(#[source] std::io::Error),
}

#[cfg(test)]
mod tests {
    use super::ErrorKind;

    #[test]
    fn labels_are_unique_and_all_is_in_order() {
        let mut labels: Vec<_> = ErrorKind::ALL.iter().map(|kind| kind.label()).collect();
        for (index, kind) in ErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), ErrorKind::ALL.len());
    }
}
