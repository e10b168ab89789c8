//! The figures as Prometheus text (exposition format 0.0.4).

use std::fmt::Write as _;

use weir_model::{EndpointState, Frame, LatencyCounts, OutcomeCounts};

/// Figures of the process as a whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Process {
    pub(crate) connections_open: u64,
    pub(crate) connections_total: u64,
    /// (label of the error, requests refused before they were routed)
    pub(crate) rejected: Vec<(&'static str, u64)>,
    pub(crate) retries_denied: u64,
}

/// A family of figures.
#[derive(Clone, Copy)]
enum Family {
    Generation,
    ConnectionsOpen,
    Connections,
    Rejected,
    RetriesDenied,
    GatewayRequests,
    GatewayUnrouted,
    RouteRequests,
    RouteChosen,
    RouteInFlight,
    RouteRetries,
    RouteBytes,
    RouteResponses,
    RouteErrors,
    RouteDuration,
    InstanceRequests,
    InstanceInFlight,
    InstanceResponses,
    InstanceErrors,
    InstanceUp,
}

impl Family {
    const fn describe(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Generation => (
                "weir_generation",
                "gauge",
                "Generation of the snapshot that is served.",
            ),
            Self::ConnectionsOpen => ("weir_connections_open", "gauge", "Client connections open now."),
            Self::Connections => (
                "weir_connections_total",
                "counter",
                "Client connections accepted.",
            ),
            Self::Rejected => (
                "weir_rejected_total",
                "counter",
                "Requests refused before they were routed.",
            ),
            Self::RetriesDenied => (
                "weir_retries_denied_total",
                "counter",
                "Retries that were not made since the budget for them was used up.",
            ),
            Self::GatewayRequests => (
                "weir_gateway_requests_total",
                "counter",
                "Requests (TCP: connections) that entered the gateway.",
            ),
            Self::GatewayUnrouted => (
                "weir_gateway_unrouted_total",
                "counter",
                "Requests for which the gateway had no route.",
            ),
            Self::RouteRequests => (
                "weir_route_requests_total",
                "counter",
                "Requests sent along the route.",
            ),
            Self::RouteChosen => (
                "weir_route_chosen_total",
                "counter",
                "Requests sent along the route by condition or cookie.",
            ),
            Self::RouteInFlight => (
                "weir_route_in_flight",
                "gauge",
                "Requests of the route not yet ended.",
            ),
            Self::RouteRetries => (
                "weir_route_retries_total",
                "counter",
                "Attempts beyond the first.",
            ),
            Self::RouteBytes => (
                "weir_route_bytes_total",
                "counter",
                "Bytes received from and sent to clients.",
            ),
            Self::RouteResponses => (
                "weir_route_responses_total",
                "counter",
                "Answers by class of status.",
            ),
            Self::RouteErrors => (
                "weir_route_errors_total",
                "counter",
                "Requests that failed, by kind.",
            ),
            Self::RouteDuration => (
                "weir_route_duration_seconds",
                "histogram",
                "From the first byte of the request to the last of the answer.",
            ),
            Self::InstanceRequests => (
                "weir_instance_requests_total",
                "counter",
                "Requests sent to the instance.",
            ),
            Self::InstanceInFlight => (
                "weir_instance_in_flight",
                "gauge",
                "Requests of the instance not yet ended.",
            ),
            Self::InstanceResponses => (
                "weir_instance_responses_total",
                "counter",
                "Answers by class of status.",
            ),
            Self::InstanceErrors => (
                "weir_instance_errors_total",
                "counter",
                "Requests that failed, by kind.",
            ),
            Self::InstanceUp => (
                "weir_instance_up",
                "gauge",
                "1, or 0 while checks of the instance fail or it cannot be connected to.",
            ),
        }
    }
}

const BOUNDS_US: [(u64, &str); 14] = [
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (10_000_000, "10"),
];

struct Text(String);

impl Text {
    fn family(&mut self, family: Family) {
        let (name, kind, help) = family.describe();
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(
        &mut self,
        family: Family,
        suffix: &str,
        labels: &[(&str, &str)],
        value: impl std::fmt::Display,
    ) {
        self.0.push_str(family.describe().0);
        self.0.push_str(suffix);
        if !labels.is_empty() {
            self.0.push('{');
            for (index, (name, text)) in labels.iter().enumerate() {
                if index > 0 {
                    self.0.push(',');
                }
                let _ = write!(self.0, "{name}=\"");
                for character in text.chars() {
                    match character {
                        '\\' => self.0.push_str("\\\\"),
                        '"' => self.0.push_str("\\\""),
                        '\n' => self.0.push_str("\\n"),
                        other => self.0.push(other),
                    }
                }
                self.0.push('"');
            }
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    fn outcomes(&mut self, classes: Family, labels: &[(&str, &str)], outcomes: &OutcomeCounts) {
        for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"]
            .into_iter()
            .zip(outcomes.classes)
        {
            if count > 0 {
                self.sample(classes, "", &[labels, &[("class", class)]].concat(), count);
            }
        }
    }

    fn errors(&mut self, errors: Family, labels: &[(&str, &str)], outcomes: &OutcomeCounts) {
        for (kind, count) in &outcomes.errors {
            self.sample(errors, "", &[labels, &[("error", kind)]].concat(), count);
        }
    }

    fn duration(&mut self, labels: &[(&str, &str)], latency: &LatencyCounts) {
        let total = latency.total();
        if total == 0 {
            return;
        }
        let mut buckets = latency.0.iter().peekable();
        let mut below = 0;
        let mut sum_us = 0.0;
        for (bound_us, text) in BOUNDS_US {
            while let Some((_, count)) = buckets.next_if(|(value, _)| *value <= bound_us) {
                below += count;
            }
            self.sample(
                Family::RouteDuration,
                "_bucket",
                &[labels, &[("le", text)]].concat(),
                below,
            );
        }
        for (value, count) in &latency.0 {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a sum of bucket bounds is approximate anyhow"
            )]
            {
                sum_us += *value as f64 * *count as f64;
            }
        }
        self.sample(
            Family::RouteDuration,
            "_bucket",
            &[labels, &[("le", "+Inf")]].concat(),
            total,
        );
        self.sample(Family::RouteDuration, "_sum", labels, sum_us / 1e6);
        self.sample(Family::RouteDuration, "_count", labels, total);
    }
}

/// Writes everything; families in a fixed order, samples in the order of the table.
pub(crate) fn exposition(frame: &Frame, process: &Process) -> String {
    let mut text = Text(String::with_capacity(4096));
    text.family(Family::Generation);
    text.sample(Family::Generation, "", &[], frame.generation);
    text.family(Family::ConnectionsOpen);
    text.sample(Family::ConnectionsOpen, "", &[], process.connections_open);
    text.family(Family::Connections);
    text.sample(Family::Connections, "", &[], process.connections_total);
    text.family(Family::Rejected);
    for (reason, count) in &process.rejected {
        text.sample(Family::Rejected, "", &[("reason", reason)], count);
    }
    text.family(Family::RetriesDenied);
    text.sample(Family::RetriesDenied, "", &[], process.retries_denied);
    for family in [Family::GatewayRequests, Family::GatewayUnrouted] {
        text.family(family);
        for gateway in &frame.gateways {
            let value = match family {
                Family::GatewayRequests => gateway.requests,
                _ => gateway.unrouted,
            };
            text.sample(family, "", &[("gateway", gateway.name.as_str())], value);
        }
    }
    for family in [
        Family::RouteRequests,
        Family::RouteChosen,
        Family::RouteInFlight,
        Family::RouteRetries,
        Family::RouteBytes,
        Family::RouteResponses,
        Family::RouteErrors,
        Family::RouteDuration,
    ] {
        text.family(family);
        for gateway in &frame.gateways {
            for route in &gateway.routes {
                let labels = [("gateway", gateway.name.as_str()), ("route", route.name.as_str())];
                let labels = labels.as_slice();
                match family {
                    Family::RouteRequests => text.sample(family, "", labels, route.requests),
                    Family::RouteChosen => {
                        text.sample(
                            family,
                            "",
                            &[labels, &[("by", "condition")]].concat(),
                            route.by_condition,
                        );
                        text.sample(
                            family,
                            "",
                            &[labels, &[("by", "cookie")]].concat(),
                            route.by_cookie,
                        );
                    }
                    Family::RouteInFlight => text.sample(family, "", labels, route.in_flight),
                    Family::RouteRetries => text.sample(family, "", labels, route.retries),
                    Family::RouteBytes => {
                        text.sample(
                            family,
                            "",
                            &[labels, &[("direction", "in")]].concat(),
                            route.bytes_in,
                        );
                        text.sample(
                            family,
                            "",
                            &[labels, &[("direction", "out")]].concat(),
                            route.bytes_out,
                        );
                    }
                    Family::RouteResponses => text.outcomes(family, labels, &route.outcomes),
                    Family::RouteErrors => text.errors(family, labels, &route.outcomes),
                    _ => text.duration(labels, &route.latency),
                }
            }
        }
    }
    for family in [
        Family::InstanceRequests,
        Family::InstanceInFlight,
        Family::InstanceResponses,
        Family::InstanceErrors,
        Family::InstanceUp,
    ] {
        text.family(family);
        for gateway in &frame.gateways {
            for route in &gateway.routes {
                for instance in &route.instances {
                    let labels = [
                        ("gateway", gateway.name.as_str()),
                        ("route", route.name.as_str()),
                        ("instance", instance.id.as_str()),
                    ];
                    let labels = labels.as_slice();
                    match family {
                        Family::InstanceRequests => text.sample(family, "", labels, instance.requests),
                        Family::InstanceInFlight => text.sample(family, "", labels, instance.in_flight),
                        Family::InstanceResponses => text.outcomes(family, labels, &instance.outcomes),
                        Family::InstanceErrors => text.errors(family, labels, &instance.outcomes),
                        _ => text.sample(
                            family,
                            "",
                            labels,
                            u8::from(!matches!(
                                instance.state,
                                EndpointState::Down | EndpointState::Ejected
                            )),
                        ),
                    }
                }
            }
        }
    }
    text.0
}

#[cfg(test)]
mod tests {
    use weir_model::{
        AgentId, EndpointState, Frame, GatewayFrame, GatewayName, Generation, InstanceFrame, InstanceId,
        LatencyCounts, OutcomeCounts, RouteFrame, RouteName,
    };

    use super::{Process, exposition};

    #[test]
    fn matches_the_golden_text() {
        let outcomes = OutcomeCounts {
            classes: [0, 3, 0, 0, 1],
            errors: [("connect_refused".to_owned(), 1)].into(),
        };
        let frame = Frame {
            agent: AgentId::new("edge").expect("name"),
            started_at_ms: 0,
            at_ms: 0,
            generation: Generation(7),
            digest: None,
            stale_ms: None,
            gateways: vec![GatewayFrame {
                name: GatewayName::new("shop/9050").expect("name"),
                requests: 5,
                unrouted: 1,
                routes: vec![RouteFrame {
                    name: RouteName::new("a \"quoted\" \\ name").expect("name"),
                    requests: 4,
                    by_condition: 2,
                    by_cookie: 1,
                    in_flight: 0,
                    retries: 1,
                    outcomes: outcomes.clone(),
                    bytes_in: 400,
                    bytes_out: 800,
                    latency: LatencyCounts(vec![(900, 3), (30_000_000, 1)]),
                    instances: vec![InstanceFrame {
                        id: InstanceId::new("i1").expect("name"),
                        address: "127.0.0.1:1".to_owned(),
                        requests: 4,
                        in_flight: 0,
                        outcomes,
                        latency: LatencyCounts::default(),
                        state: EndpointState::Down,
                        last_check: Some("connection refused".to_owned()),
                    }],
                }],
            }],
            departed: None,
        };
        let process = Process {
            connections_open: 2,
            connections_total: 9,
            rejected: vec![("head_too_large", 1)],
            retries_denied: 3,
        };
        assert_eq!(
            exposition(&frame, &process),
            include_str!("../../testdata/metrics.txt")
        );
    }
}
