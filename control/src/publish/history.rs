//! What the published snapshots held: needed to know which instances an agent may still use, and which
//! weights it has acknowledged.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::OnceLock,
};

use weir_model::{Acknowledgement, Digest, Gateway, GatewayName, Generation, Snapshot, Target};

/// Snapshots that are remembered.
const SNAPSHOTS_MAX: usize = 32;

/// What one snapshot held. Snapshots that follow one another share what did not change.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) generation: Generation,
    pub(crate) digest: Digest,
    snapshot: Snapshot,
    /// Where each gateway is; made when the first is asked for.
    places: OnceLock<HashMap<GatewayName, usize>>,
}

impl Served {
    fn of(snapshot: &Snapshot) -> Self {
        Self {
            generation: snapshot.generation(),
            digest: snapshot.digest(),
            snapshot: snapshot.clone(),
            places: OnceLock::new(),
        }
    }

    /// Names of its gateways.
    pub(crate) fn gateways(&self) -> BTreeSet<String> {
        let gateways = self.snapshot.gateways().iter();
        gateways.map(|gateway| gateway.name.to_string()).collect()
    }

    fn gateway(&self, name: &str) -> Option<&Gateway> {
        let places = self.places.get_or_init(|| {
            let gateways = self.snapshot.gateways().iter().enumerate();
            gateways.map(|(at, gateway)| (gateway.name.clone(), at)).collect()
        });
        let place = *places.get(&GatewayName::new(name).ok()?)?;
        Some(self.snapshot.gateways().get(place)?)
    }

    /// A route's weight in parts per 10 000.
    pub(crate) fn weight(&self, gateway: &str, route: &str) -> Option<u16> {
        let mut routes = self.gateway(gateway)?.routes.iter();
        let route = routes.find(|known| known.name.as_str() == route)?;
        Some(route.weight.parts())
    }

    /// Ids of the instances of all gateways, one after the other.
    fn instances(&self) -> impl Iterator<Item = String> {
        self.snapshot
            .gateways()
            .iter()
            .flat_map(|gateway| instances(gateway))
    }
}

/// Ids of a gateway's instances.
fn instances(gateway: &Gateway) -> impl Iterator<Item = String> {
    let of_routes = gateway.routes.iter().filter_map(|route| match &route.target {
        Target::Instances(instances) => Some(instances),
        Target::Gateway(_) => None,
    });
    of_routes.flatten().map(|instance| instance.id.to_string())
}

/// Snapshots, oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    served: VecDeque<Served>,
}

impl History {
    /// Adds a snapshot that agents may serve from now on.
    pub(super) fn add(&mut self, snapshot: &Snapshot) {
        let known = self
            .served
            .iter()
            .any(|served| served.generation == snapshot.generation() && served.digest == snapshot.digest());
        if known {
            return;
        }
        while self.served.len() >= SNAPSHOTS_MAX {
            self.served.pop_front();
        }
        self.served.push_back(Served::of(snapshot));
    }

    pub(super) fn newest(&self) -> Option<Generation> {
        self.served.iter().map(|served| served.generation).max()
    }

    pub(super) fn get(&self, generation: Generation, digest: Digest) -> Option<&Served> {
        self.served
            .iter()
            .find(|served| served.generation == generation && served.digest == digest)
    }

    /// What an agent serves; `None` if that is not known. An agent that refused gateways serves another
    /// digest than the document's, so the generation counts then.
    fn served_by(&self, agent: &Acknowledgement) -> Option<&Served> {
        let by_digest = self
            .served
            .iter()
            .rev()
            .find(|served| Some(served.digest) == agent.digest);
        by_digest.or_else(|| {
            let same = |served: &&Served| served.generation == agent.generation;
            self.served
                .iter()
                .rev()
                .find(same)
                .filter(|_| !agent.refused.is_empty())
        })
    }

    /// Ids of instances that some agent may still send requests: those of the newest snapshots from
    /// `published` on (any agent may take them at any moment), those that an agent serves, and those that it
    /// may serve in an old form of a gateway whose new form it refused. `None` if not known.
    pub(super) fn held(
        &self,
        published: Option<Generation>,
        agents: &[Acknowledgement],
    ) -> Option<BTreeSet<String>> {
        let mut held = BTreeSet::new();
        for served in &self.served {
            if Some(served.generation) >= published {
                held.extend(served.instances());
            }
        }
        for agent in agents.iter().filter(|agent| agent.digest.is_some()) {
            held.extend(self.served_by(agent)?.instances());
            for refusal in &agent.refused {
                let forms = self
                    .served
                    .iter()
                    .filter_map(|served| served.gateway(&refusal.gateway));
                held.extend(forms.flat_map(instances));
            }
        }
        Some(held)
    }

    /// A route's weight that every agent has taken: that of the oldest snapshot which one of them serves.
    /// `None` if there is no agent, or what one serves is not known, or one refused the gateway.
    pub(super) fn acknowledged(&self, agents: &[Acknowledgement], gateway: &str, route: &str) -> Option<u16> {
        let mut oldest: Option<&Served> = None;
        for agent in agents {
            if agent.refused.iter().any(|refusal| refusal.gateway == gateway) {
                return None;
            }
            let served = self.served_by(agent)?;
            if oldest.is_none_or(|oldest| served.generation < oldest.generation) {
                oldest = Some(served);
            }
        }
        oldest?.weight(gateway, route)
    }
}

#[cfg(test)]
mod tests {
    use weir_model::{
        Acknowledgement, AgentId, Balance, ConditionStrength, Gateway, GatewayName, Generation, Instance,
        InstanceId, InstanceState, Protocol, Refusal, Route, RouteName, Snapshot, Sticky, Target, Weight,
    };

    use super::{History, SNAPSHOTS_MAX};

    fn snapshot(generation: u64, weight: u64, instances: &[&str]) -> Snapshot {
        let route = |name: &str, percent, instances: &[&str]| Route {
            name: RouteName::new(name).unwrap(),
            weight: Weight::from_percent(percent).unwrap(),
            condition: None,
            condition_strength: ConditionStrength::ZERO,
            balance: Balance::RoundRobin,
            options: Default::default(),
            target: Target::Instances(
                instances
                    .iter()
                    .map(|id| Instance {
                        id: InstanceId::new(*id).unwrap(),
                        host: "h".to_owned(),
                        port: 1,
                        state: InstanceState::Serving,
                    })
                    .collect(),
            ),
        };
        let gateway = Gateway {
            name: GatewayName::new("shop").unwrap(),
            protocol: Protocol::Http,
            listener: None,
            virtual_hosts: Vec::new(),
            options: Default::default(),
            sticky: Sticky::None,
            routes: vec![route("a", weight, instances), route("b", 100 - weight, &[])],
        };
        Snapshot::new("default", Generation(generation), vec![gateway]).unwrap()
    }

    fn agent(serves: Option<&Snapshot>) -> Acknowledgement {
        Acknowledgement {
            agent: AgentId::new("edge").unwrap(),
            admin: None,
            generation: serves.map(Snapshot::generation).unwrap_or_default(),
            digest: serves.map(Snapshot::digest),
            seen: Generation(0),
            refused: Vec::new(),
            version: String::new(),
            started_at_ms: 0,
            at_ms: 0,
            stale_ms: 0,
        }
    }

    fn held(history: &History, published: u64, agents: &[Acknowledgement]) -> Option<Vec<String>> {
        let held = history.held(Some(Generation(published)), agents)?;
        Some(held.into_iter().collect())
    }

    #[test]
    fn an_instance_is_held_until_every_agent_has_let_go() {
        let mut history = History::default();
        let (one, two) = (snapshot(1, 50, &["x", "y"]), snapshot(2, 50, &["y"]));
        history.add(&one);
        history.add(&two);
        let both = [agent(Some(&one)), agent(Some(&two))];
        assert_eq!(held(&history, 2, &both).unwrap(), ["x", "y"]);
        assert_eq!(
            held(&history, 2, &[agent(Some(&two)), agent(None)]).unwrap(),
            ["y"]
        );
        assert_eq!(held(&history, 1, &[agent(Some(&two))]).unwrap(), ["x", "y"]);
    }

    #[test]
    fn an_agent_that_serves_something_unknown_holds_everything() {
        let mut history = History::default();
        history.add(&snapshot(2, 50, &["y"]));
        let unknown = agent(Some(&snapshot(1, 50, &["x"])));
        assert_eq!(held(&history, 2, std::slice::from_ref(&unknown)), None);
        assert_eq!(history.acknowledged(&[unknown], "shop", "a"), None);
    }

    #[test]
    fn a_refused_gateway_holds_what_it_ever_held() {
        let mut history = History::default();
        let (one, two) = (snapshot(1, 50, &["x"]), snapshot(2, 60, &["y"]));
        history.add(&one);
        history.add(&two);
        let mut stubborn = agent(Some(&two));
        stubborn.digest = Some(snapshot(9, 1, &["z"]).digest());
        stubborn.refused = vec![Refusal {
            gateway: "shop".to_owned(),
            reason: "no".to_owned(),
        }];
        assert_eq!(
            held(&history, 2, std::slice::from_ref(&stubborn)).unwrap(),
            ["x", "y"]
        );
        assert_eq!(history.acknowledged(&[stubborn], "shop", "a"), None);
    }

    #[test]
    fn acknowledged_is_what_the_slowest_agent_has() {
        let mut history = History::default();
        let (one, two) = (snapshot(1, 50, &[]), snapshot(2, 80, &[]));
        history.add(&one);
        history.add(&two);
        let acknowledged = |agents: &[Acknowledgement]| history.acknowledged(agents, "shop", "a");
        assert_eq!(acknowledged(&[agent(Some(&one)), agent(Some(&two))]), Some(5_000));
        assert_eq!(acknowledged(&[agent(Some(&two)), agent(Some(&two))]), Some(8_000));
        assert_eq!(acknowledged(&[agent(Some(&two)), agent(None)]), None);
        assert_eq!(acknowledged(&[]), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut history = History::default();
        for generation in 1..100 {
            history.add(&snapshot(generation, 50, &[]));
            history.add(&snapshot(generation, 50, &[]));
        }
        assert_eq!(history.served.len(), SNAPSHOTS_MAX);
        assert_eq!(history.newest(), Some(Generation(99)));
    }
}
