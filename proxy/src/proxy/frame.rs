//! Cumulative figures of gateways, as their owner sees them.

use weir_model::{EndpointState, GatewayFrame, InstanceFrame, LatencyCounts, OutcomeCounts, RouteFrame};

use crate::table::{Endpoint, Gateway, Next, Route};

/// Of a gateway, at a moment of the proxy's clock.
pub(super) fn gateway_frame(gateway: &Gateway, now_ms: u64) -> GatewayFrame {
    GatewayFrame {
        name: gateway.name().clone(),
        requests: gateway.live.shards.sum(|shard| &shard.requests),
        unrouted: gateway.live.shards.sum(|shard| &shard.unrouted),
        routes: gateway
            .source
            .routes
            .iter()
            .zip(&gateway.routes)
            .map(|(source, route)| route_frame(source, route, now_ms))
            .collect(),
    }
}

fn route_frame(source: &weir_model::Route, route: &Route, now_ms: u64) -> RouteFrame {
    let shards = &route.live.shards;
    let mut outcomes = OutcomeCounts::default();
    let mut latency = LatencyCounts::default();
    for shard in shards.iter() {
        shard.outcomes.read_into(&mut outcomes, &mut latency);
    }
    let instances = match &route.next {
        Next::Gateway(_) => Vec::new(),
        Next::Endpoints(endpoints) => (0..)
            .zip(&endpoints.all)
            .map(|(index, endpoint)| instance_frame(endpoint, index >= endpoints.serving, now_ms))
            .collect(),
    };
    RouteFrame {
        name: source.name.clone(),
        requests: shards.sum(|shard| &shard.requests),
        by_condition: shards.sum(|shard| &shard.by_condition),
        by_cookie: shards.sum(|shard| &shard.by_cookie),
        in_flight: shards.sum(|shard| &shard.in_flight),
        retries: shards.sum(|shard| &shard.retries),
        outcomes,
        bytes_in: shards.sum(|shard| &shard.bytes_in),
        bytes_out: shards.sum(|shard| &shard.bytes_out),
        latency,
        instances,
    }
}

fn instance_frame(endpoint: &Endpoint, is_draining: bool, now_ms: u64) -> InstanceFrame {
    let state = if is_draining {
        EndpointState::Draining
    } else {
        endpoint.live.state(now_ms)
    };
    let shards = &endpoint.live.shards;
    let mut outcomes = OutcomeCounts::default();
    let mut latency = LatencyCounts::default();
    for shard in shards.iter() {
        shard.outcomes.read_into(&mut outcomes, &mut latency);
    }
    InstanceFrame {
        id: endpoint.id.clone(),
        address: format!("{}:{}", endpoint.host, endpoint.port),
        requests: shards.sum(|shard| &shard.requests),
        in_flight: shards.sum(|shard| &shard.in_flight),
        outcomes,
        latency,
        state,
        last_check: endpoint.live.last_check(),
    }
}
