//! Routes of a gateway as people name them, and changing them: shared by `weight` and `condition`.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::{Context, get::missing};
use crate::{
    client::{self, Client, ClientError},
    failure::Failure,
    kind::Kind,
    output, traffic, tree,
    wait::{self, Acknowledged, Wanted},
};

/// How long a change is watched without `--wait`.
const WATCH: Duration = Duration::from_secs(2);

/// A gateway as it was before a change.
#[derive(Debug)]
pub(crate) struct Change {
    /// Its name.
    pub(crate) name: String,
    /// The artifact, to be changed.
    pub(crate) gateway: Value,
    before: Value,
    generation: u64,
}

impl Change {
    /// Reads the gateway and which generation is published.
    pub(crate) async fn begin(client: &Client, name: &str) -> Result<Self, Failure> {
        let gateway = client
            .get(&client::artifact(Kind::Gateways, name), &[])
            .await
            .map_err(|error| missing(error, Kind::Gateways, name))?;
        let generation = match traffic::read(client, Some(name), traffic::WINDOW_S).await {
            Ok(traffic) => traffic.generation.unwrap_or(0),
            Err(error) if error.is_not_found() => 0,
            Err(error) => return Err(error.into()),
        };
        Ok(Self {
            name: name.to_owned(),
            before: gateway.clone(),
            gateway,
            generation,
        })
    }

    /// Paths of the routes.
    pub(crate) fn routes(&self) -> Vec<String> {
        tree::entries(&self.gateway, "/routes")
            .map(|(path, _)| path.to_owned())
            .collect()
    }

    /// One route.
    pub(crate) fn route(&mut self, path: &str) -> &mut Value {
        &mut self.gateway["routes"][path]
    }

    /// Weight of each route, parts per ten thousand.
    pub(crate) fn weights(&self) -> Vec<(String, u32)> {
        tree::entries(&self.gateway, "/routes")
            .map(|(path, route)| {
                (
                    path.to_owned(),
                    tree::parts(&tree::text(route, "/weight")).unwrap_or(0),
                )
            })
            .collect()
    }

    /// Stores the change. `None`: nothing was changed.
    pub(crate) async fn store(self, client: &Client) -> Result<Option<Wanted>, ClientError> {
        if self.gateway == self.before {
            return Ok(None);
        }
        let path = client::artifact(Kind::Gateways, &self.name);
        client.send_value(Method::PUT, &path, &self.gateway).await?;
        Ok(Some(Wanted {
            weights: self.weights(),
            gateway: self.name,
            after: self.generation,
        }))
    }
}

/// Stores a change and tells how far it has come.
pub(crate) async fn finish(context: &Context, change: Change, wait: bool) -> Result<(), Failure> {
    let name = change.name.clone();
    let shares = shares(&change.gateway);
    let Some(wanted) = change.store(&context.client).await? else {
        return context
            .output
            .note(&format!("gateway {name} is like that already"));
    };
    context.output.note(&format!("gateway {name}: {shares}"))?;
    let at_most = if wait { context.client.timeout() } else { WATCH };
    let state = wait::acknowledged(&context.client, &wanted, at_most).await?;
    context.output.note(&state.sentence())?;
    judge(&state, wait)
}

fn judge(state: &Acknowledged, wait: bool) -> Result<(), Failure> {
    if !state.refused.is_empty() {
        return Err(Failure::Other(anyhow::anyhow!(
            "an agent refuses the change and keeps the gateway as it was"
        )));
    }
    if wait && !state.complete() {
        return Err(Failure::TimedOut(
            "not every agent acknowledged the change in time".to_owned(),
        ));
    }
    Ok(())
}

/// Routes and weights on one line.
fn shares(gateway: &Value) -> String {
    tree::entries(gateway, "/routes")
        .map(|(path, route)| {
            let condition = output::condition(route);
            let condition = if condition.is_empty() {
                condition
            } else {
                format!(" ({condition})")
            };
            format!(
                "{} {}{condition}",
                output::route_label(path),
                tree::text(route, "/weight")
            )
        })
        .collect::<Vec<_>>()
        .join(", ")
}

/// The route that a person means: the whole path, or some parts of it in a row that only this route has.
pub(crate) fn find(routes: &[String], typed: &str) -> Result<String, Failure> {
    if let Some(exact) = routes.iter().find(|path| *path == typed) {
        return Ok(exact.clone());
    }
    // A service may be called as its cluster is: its own name goes first.
    let mut matches: Vec<&String> = routes
        .iter()
        .filter(|path| output::route_label(path) == typed)
        .collect();
    if matches.len() != 1 {
        matches = routes.iter().filter(|path| has_parts(path, typed)).collect();
    }
    match matches.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(Failure::NotFound(format!(
            "the gateway has no route `{typed}`; its routes are\n  {}",
            routes.join("\n  ")
        ))),
        several => Err(Failure::Usage(format!(
            "`{typed}` may be any of these routes; name a part that only one of them has\n  {}",
            several
                .iter()
                .map(|path| path.as_str())
                .collect::<Vec<_>>()
                .join("\n  ")
        ))),
    }
}

fn has_parts(path: &str, typed: &str) -> bool {
    if path.starts_with('[') {
        return path.trim_matches(['[', ']']) == typed;
    }
    let parts: Vec<&str> = path.split('/').collect();
    let wanted: Vec<&str> = typed.split('/').collect();
    !typed.is_empty()
        && parts
            .windows(wanted.len())
            .any(|window| window == wanted.as_slice())
}

#[cfg(test)]
mod tests {
    use super::find;
    use crate::failure::Failure;

    #[test]
    fn a_part_that_only_one_route_has_is_enough() {
        let routes = [
            "shop/front/front:1/web",
            "shop/front/front:2/web",
            "[10.0.0.1:80]",
        ]
        .map(str::to_owned);
        assert_eq!(find(&routes, "front:2").unwrap(), routes[1]);
        assert_eq!(find(&routes, "front/front:1").unwrap(), routes[0]);
        assert_eq!(find(&routes, "shop/front/front:1/web").unwrap(), routes[0]);
        assert_eq!(find(&routes, "10.0.0.1:80").unwrap(), routes[2]);
        assert!(matches!(find(&routes, "front"), Err(Failure::Usage(_))));
        assert!(matches!(find(&routes, "front:3"), Err(Failure::NotFound(_))));
        assert!(matches!(find(&routes, ""), Err(Failure::NotFound(_))));
    }
}
