//! Micro-benchmarks of the request path.
//!
//! **Job.** What the benches measure with: [`gateway`], [`snapshot`] and the heads of [`requests`]. The benches are in
//! `benches/`; `instructions` beside them counts instructions and system calls of a whole agent per request.

pub mod requests;

use weir_model::{
    Balance, Condition, ConditionStrength, Gateway, GatewayName, Generation, Instance, InstanceId,
    InstanceState, Listener, Protocol, Route, RouteName, Snapshot, Sticky, Target, Weight,
};

/// An HTTP gateway on this port, with about equal weights (all on the last route if there are more than 100); a route with a condition takes every request that matches.
///
/// # Panics
/// If a condition cannot be read or there are no routes: the bench is wrong.
pub fn gateway(name: &str, port: u16, conditions: &[Option<String>]) -> Gateway {
    let count = conditions.len() as u64;
    let routes = conditions
        .iter()
        .enumerate()
        .map(|(index, condition)| Route {
            name: RouteName::new(format!("route{index}")).expect("a name"),
            weight: Weight::from_percent(if index + 1 == conditions.len() {
                100 - (count - 1) * (100 / count)
            } else {
                100 / count
            })
            .expect("a share"),
            condition: condition
                .as_ref()
                .map(|text| Condition::parse(text).expect("a condition")),
            condition_strength: if condition.is_some() {
                ConditionStrength::from_percent(100).expect("a share")
            } else {
                ConditionStrength::ZERO
            },
            balance: Balance::RoundRobin,
            options: Default::default(),
            target: Target::Instances(vec![Instance {
                id: InstanceId::new(format!("{name}-{index}")).expect("a name"),
                host: "127.0.0.1".to_owned(),
                port: 9000,
                state: InstanceState::Serving,
            }]),
        })
        .collect();
    Gateway {
        name: GatewayName::new(name).expect("a name"),
        protocol: Protocol::Http,
        listener: Some(Listener {
            address: [127, 0, 0, 1].into(),
            port,
        }),
        virtual_hosts: vec![format!("{name}.example")],
        options: Default::default(),
        sticky: Sticky::None,
        routes,
    }
}

/// So many gateways on ports from 10 000 on, each with `routes` routes, one of which has a condition.
///
/// # Panics
/// If there are more than ports.
pub fn snapshot(gateways: u16, routes: usize, generation: u64) -> Snapshot {
    let gateways = (0..gateways)
        .map(|index| {
            let conditions: Vec<Option<String>> = (0..routes)
                .map(|route| (route == 1).then(|| format!("header X-Release has {}", index % 100)))
                .collect();
            gateway(&format!("gateway{index}"), 10_000 + index, &conditions)
        })
        .collect();
    Snapshot::new("bench", Generation(generation), gateways).expect("a sound snapshot")
}
