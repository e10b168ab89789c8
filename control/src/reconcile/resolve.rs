//! References of a request to what they stand for.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use weir_artifact::{
    Artifact, Blueprint, Breed, Cluster, Deployment, Gateway, Kind, NamedScale, OrReference, Problem,
    Rewrite, Route, Scale, Service,
};
use weir_model::Condition;
use weir_persist::PersistError;

use crate::{error::problem, state::Shelf};

/// Resolves what a request refers to, and collects what is not there.
#[derive(Debug)]
pub(super) struct Resolver<'a> {
    shelf: &'a Shelf,
    /// Breeds given in place, by name: they are stored as artifacts of their own, and others may refer to them.
    inline: BTreeMap<String, Breed>,
    pub(super) found: Vec<Problem>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(shelf: &'a Shelf) -> Self {
        Self {
            shelf,
            inline: BTreeMap::new(),
            found: Vec::new(),
        }
    }

    /// Breeds that were given in place.
    pub(super) fn inline_breeds(self) -> impl Iterator<Item = Artifact> {
        self.inline.into_values().map(Artifact::Breed)
    }

    fn missing(&mut self, kind: &str, name: &str, path: String) {
        let message = format!("there is no {kind} `{name}`");
        self.found.push(problem("ArtifactNotFound", path, message));
    }

    /// Puts breeds, scales and conditions of a blueprint in place. A breed that is no longer stored but runs
    /// in `existing` is taken from there.
    pub(super) async fn blueprint(
        &mut self,
        blueprint: &mut Blueprint,
        existing: Option<&Deployment>,
    ) -> Result<(), PersistError> {
        for cluster in blueprint.clusters.values() {
            for service in &cluster.services {
                if let OrReference::Inline(breed) = &service.breed {
                    self.collect(breed);
                }
            }
        }
        for (name, cluster) in &mut blueprint.clusters {
            self.cluster(name, cluster, existing).await?;
        }
        for gateway in &mut blueprint.gateways {
            let key = gateway.port.as_ref().map_or("", |port| port.text.as_str());
            let path = format!("gateways/{key}/routes");
            self.routes(&mut gateway.routes, &path).await?;
        }
        Ok(())
    }

    fn collect(&mut self, breed: &Breed) {
        for dependency in breed.dependencies.values() {
            if let OrReference::Inline(breed) = dependency {
                self.collect(breed);
            }
        }
        self.inline.insert(breed.name.clone(), breed.clone());
    }

    async fn cluster(
        &mut self,
        name: &str,
        cluster: &mut Cluster,
        existing: Option<&Deployment>,
    ) -> Result<(), PersistError> {
        for service in &mut cluster.services {
            let path = format!("clusters/{name}/services/{}", service.name());
            if let OrReference::Reference(reference) = &service.breed {
                let reference = reference.clone();
                let breed = match self.inline.get(&reference) {
                    Some(breed) => Some(breed.clone()),
                    None => self.shelf.breed(&reference).await?,
                };
                match breed.or_else(|| running(existing, name, &reference)) {
                    Some(breed) => service.breed = OrReference::Inline(breed),
                    None => self.missing("breed", &reference, format!("{path}/breed")),
                }
            }
            if let Some(OrReference::Reference(reference)) = &service.scale {
                let reference = reference.clone();
                match self.scale(&reference).await? {
                    Some(scale) => service.scale = Some(OrReference::Inline(scale)),
                    None => self.missing("scale", &reference, format!("{path}/scale")),
                }
            }
        }
        for (port, gateway) in &mut cluster.gateways {
            let path = format!("clusters/{name}/gateways/{port}/routes");
            self.routes(&mut gateway.routes, &path).await?;
        }
        Ok(())
    }

    /// The scale of that name.
    pub(super) async fn scale(&self, name: &str) -> Result<Option<Scale>, PersistError> {
        let named: Option<NamedScale> = self.shelf.scale(name).await?;
        Ok(named.map(|named| named.scale))
    }

    /// Puts the routes, conditions and rewrites of a gateway in place.
    pub(super) async fn gateway(&mut self, gateway: &mut Gateway) -> Result<(), PersistError> {
        self.routes(&mut gateway.routes, "routes").await
    }

    async fn routes(
        &mut self,
        routes: &mut IndexMap<String, OrReference<Route>>,
        path: &str,
    ) -> Result<(), PersistError> {
        for (key, route) in routes {
            let path = format!("{path}/{key}");
            if let OrReference::Reference(name) = route {
                let name = name.clone();
                match self.shelf.artifact(Kind::Route, &name).await? {
                    Some(Artifact::Route(named)) => *route = OrReference::Inline(named.route),
                    _ => self.missing("route", &name, path.clone()),
                }
            }
            match route {
                OrReference::Reference(_) => {}
                OrReference::Inline(route) => {
                    for (index, rewrite) in route.rewrites.iter_mut().enumerate() {
                        if let Rewrite::Reference(name) = rewrite {
                            let name = name.clone();
                            match self.shelf.artifact(Kind::Rewrite, &name).await? {
                                Some(Artifact::Rewrite(named)) => *rewrite = Rewrite::Path(named.path),
                                _ => self.missing("rewrite", &name, format!("{path}/rewrites/{index}")),
                            }
                        }
                    }
                    if let Some(OrReference::Reference(name)) = &route.condition {
                        let name = name.clone();
                        match self.condition(&name).await? {
                            Some(condition) => route.condition = Some(OrReference::Inline(condition)),
                            None => self.missing("condition", &name, format!("{path}/condition")),
                        }
                    }
                }
            }
        }
        Ok(())
    }

    async fn condition(&self, name: &str) -> Result<Option<Condition>, PersistError> {
        Ok(match self.shelf.artifact(Kind::Condition, name).await? {
            Some(Artifact::Condition(named)) => Some(named.condition),
            _ => None,
        })
    }
}

fn running(existing: Option<&Deployment>, cluster: &str, breed: &str) -> Option<Breed> {
    let services: &[Service] = &existing?.clusters.get(cluster)?.services;
    services.iter().find_map(|service| match &service.breed {
        OrReference::Inline(there) if there.name == breed => Some(there.clone()),
        _ => None,
    })
}
