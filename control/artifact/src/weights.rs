//! Weights of a gateway's routes (spec of the artifacts, §7.2).

use weir_model::{ConditionStrength, Weight};

use crate::{
    Gateway, OrReference, Problem,
    check::{Issue, WHOLE, percent},
};

/// Parts per ten thousand in one percent.
const PERCENT: u32 = 100;

/// Fills in what a gateway's routes leave open: routes without weight share what the others leave of 100 %
/// in whole percent, the last one takes the remainder; strength is 100 % where there is a condition, else
/// 0 %. Routes without weight are moved to the front, as Vamp does.
///
/// # Errors
/// `GatewayRouteWeightError` if the weights total neither 100 % nor 0 %, or a route is still a reference
/// (it must be resolved before). The gateway is unchanged then.
pub fn complete(gateway: &mut Gateway) -> Result<(), Problem> {
    let mut given = 0;
    let mut open = 0;
    for (path, route) in &gateway.routes {
        match route {
            OrReference::Inline(route) => match route.weight {
                Some(weight) => given += u32::from(weight.parts()),
                None => open += 1,
            },
            OrReference::Reference(name) => {
                return Err(problem(format!(
                    "route `{path}` stands for the stored route `{name}`, which is not resolved"
                )));
            }
        }
    }
    if given > WHOLE || (open == 0 && given != 0 && given != WHOLE) {
        return Err(problem(format!(
            "the weights total {}, they must total 100% or 0%",
            percent(given)
        )));
    }
    let available = WHOLE - given;
    let share = available.checked_div(open).unwrap_or(0) / PERCENT * PERCENT;
    let (mut front, mut back) = (Vec::new(), Vec::new());
    let mut left = open;
    for (path, mut route) in std::mem::take(&mut gateway.routes) {
        let mut was_open = false;
        if let OrReference::Inline(route) = &mut route {
            if route.weight.is_none() {
                was_open = true;
                left -= 1;
                let parts = if left == 0 {
                    available - share * (open - 1)
                } else {
                    share
                };
                route.weight = Weight::from_parts(u64::from(parts)).ok();
            }
            route.condition_strength.get_or_insert(match route.condition {
                Some(_) => ConditionStrength::FULL,
                None => ConditionStrength::ZERO,
            });
        }
        if was_open { &mut front } else { &mut back }.push((path, route));
    }
    gateway.routes = front.into_iter().chain(back).collect();
    Ok(())
}

fn problem(message: String) -> Problem {
    Issue::new("GatewayRouteWeightError", ["routes"], message).into()
}

#[cfg(test)]
mod tests {
    use weir_model::Weight;

    use super::complete;
    use crate::{Gateway, OrReference, Route};

    fn gateway(weights: &[(&str, Option<u64>)]) -> Gateway {
        let route = |parts: &Option<u64>| {
            OrReference::Inline(Route {
                weight: parts.map(|parts| Weight::from_parts(parts).unwrap()),
                ..Route::default()
            })
        };
        Gateway {
            routes: weights
                .iter()
                .map(|(path, parts)| ((*path).to_owned(), route(parts)))
                .collect(),
            ..Gateway::default()
        }
    }

    fn completed(weights: &[(&str, Option<u64>)]) -> Option<Vec<(String, String)>> {
        let mut gateway = gateway(weights);
        let before = gateway.clone();
        if complete(&mut gateway).is_err() {
            assert_eq!(gateway, before, "unchanged on errors");
            return None;
        }
        let text = |route: &OrReference<Route>| match route {
            OrReference::Inline(route) => route.weight.unwrap().to_string(),
            OrReference::Reference(_) => unreachable!(),
        };
        Some(
            gateway
                .routes
                .iter()
                .map(|(path, route)| (path.clone(), text(route)))
                .collect(),
        )
    }

    #[test]
    fn the_rest_is_shared_in_whole_percent_and_the_last_takes_the_remainder() {
        for (weights, expected) in [
            (
                vec![("a", None), ("b", None), ("c", None)],
                Some("a 33% b 33% c 34%"),
            ),
            (vec![("a", None)], Some("a 100%")),
            (vec![("a", Some(3000)), ("b", None)], Some("b 70% a 30%")),
            (vec![("a", Some(10_000)), ("b", None)], Some("b 0% a 100%")),
            (vec![("a", Some(0)), ("b", Some(0))], Some("a 0% b 0%")),
            (
                vec![("a", Some(3333)), ("b", None), ("c", None)],
                Some("b 33% c 33.67% a 33.33%"),
            ),
            (vec![], Some("")),
            (vec![("a", Some(3000)), ("b", Some(3000))], None),
            (vec![("a", Some(9000)), ("b", Some(3000)), ("c", None)], None),
        ] {
            let found = completed(&weights).map(|routes| {
                let texts: Vec<String> = routes
                    .iter()
                    .map(|(path, weight)| format!("{path} {weight}"))
                    .collect();
                texts.join(" ")
            });
            assert_eq!(found.as_deref(), expected, "{weights:?}");
        }
    }

    #[test]
    fn a_condition_without_strength_takes_every_matching_request() {
        let mut gateway = gateway(&[("a", None), ("b", None)]);
        if let Some(OrReference::Inline(route)) = gateway.routes.get_mut("a") {
            route.condition = Some(OrReference::Reference("ie".to_owned()));
        }
        complete(&mut gateway).unwrap();
        let strengths: Vec<String> = gateway
            .routes
            .values()
            .map(|route| match route {
                OrReference::Inline(route) => route.condition_strength.unwrap().to_string(),
                OrReference::Reference(_) => unreachable!(),
            })
            .collect();
        assert_eq!(strengths, ["100%", "0%"]);
    }

    #[test]
    fn a_reference_must_be_resolved_before() {
        let mut gateway = gateway(&[("a", None)]);
        gateway
            .routes
            .insert("b".to_owned(), OrReference::Reference("stored".to_owned()));
        assert_eq!(
            complete(&mut gateway).unwrap_err().code,
            "GatewayRouteWeightError"
        );
    }
}
