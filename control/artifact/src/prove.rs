//! What gateways and conditions hardly mean: conditions that never or always match, routes in each other's way.
//!
//! **Invariants.** Nothing here makes a document wrong: all of it is allowed, and Vamp took it in silence. What is
//! called impossible is so; what may overlap need not. Work is bounded by the steps of a document.

use std::cell::Cell;

use weir_model::condition::{Condition, prove::Prover};

use crate::{Gateway, OrReference, Rewrite, Route, check::Issue};

/// Steps for one document; a step is about 100 ns.
pub(crate) const STEPS_MAX: u64 = 3_000_000;
/// Routes with conditions that are compared with each other.
const ROUTES_MAX: usize = 64;
/// Overlaps that are told of one gateway.
const OVERLAPS_MAX: usize = 8;

/// What a condition by itself hardly means.
pub(crate) fn condition(condition: &Condition, steps: &Cell<u64>) -> Vec<Issue> {
    let prover = Prover::new(steps);
    let mut issues = Vec::new();
    if prover.never(condition.expression()) {
        issues.push(Issue::new(NEVER, [], "no request can match the condition"));
    } else if prover.always(condition.expression()) {
        issues.push(Issue::new(ALWAYS, [], "every request matches the condition"));
    }
    issues
}

const NEVER: &str = "ConditionNeverMatches";
const ALWAYS: &str = "ConditionAlwaysMatches";

/// What a route by itself hardly means.
pub(crate) fn route(route: &Route, steps: &Cell<u64>) -> Vec<Issue> {
    let mut issues = Vec::new();
    if let Some(OrReference::Inline(condition)) = &route.condition {
        let found = self::condition(condition, steps);
        issues.extend(found.into_iter().map(|issue| issue.under(["condition"])));
    }
    for (index, rewrite) in route.rewrites.iter().enumerate() {
        if let Rewrite::Path(rewrite) = rewrite
            && Prover::new(steps).never(rewrite.condition())
        {
            issues.push(Issue::new(
                NEVER,
                ["rewrites", &index.to_string()],
                "no request can match the condition of the rewrite",
            ));
        }
    }
    issues
}

/// What a gateway hardly means. Routes and conditions that are references are not known here.
pub(crate) fn gateway(gateway: &Gateway, steps: &Cell<u64>) -> Vec<Issue> {
    let prover = Prover::new(steps);
    let mut issues = Vec::new();
    let mut before: Vec<(&str, &Condition)> = Vec::new();
    let mut overlaps = 0;
    for (path, route) in &gateway.routes {
        let OrReference::Inline(route) = route else {
            continue;
        };
        let own = self::route(route, steps);
        let is_constant = own.iter().any(|issue| issue.path.len() == 1);
        issues.extend(own.into_iter().map(|issue| issue.under(["routes", path])));
        let Some(OrReference::Inline(condition)) = &route.condition else {
            continue;
        };
        if before.len() >= ROUTES_MAX {
            break;
        }
        if !is_constant || prover.always(condition.expression()) {
            let at = ["routes", path.as_str(), "condition"];
            match covered(&prover, condition, &before) {
                Some(shadow) => {
                    let what = match route.weight {
                        Some(weight) if weight.parts() == 0 => {
                            "the route gets nothing, for its weight is 0% as well"
                        }
                        _ => "the condition decides nothing",
                    };
                    let message = format!(
                        "every request that matches is one of {shadow} already: the first that matches counts, so {what}"
                    );
                    issues.push(
                        Issue::new("ShadowedCondition", at, message).hint("put the narrower condition first"),
                    );
                }
                None if !is_constant => {
                    let rivals = before
                        .iter()
                        .filter(|(_, other)| {
                            let both = [(condition.expression(), true), (other.expression(), true)];
                            overlaps < OVERLAPS_MAX && prover.possible(&both) == Some(true)
                        })
                        .map(|(path, _)| format!("`{path}`"))
                        .collect::<Vec<_>>();
                    if !rivals.is_empty() {
                        overlaps += 1;
                        let message = format!(
                            "a request may match this and the condition of {} as well, which comes first",
                            rivals.join(", ")
                        );
                        issues.push(Issue::new("OverlappingConditions", at, message));
                    }
                }
                None => {}
            }
        }
        // Nobody is asked whether it matches then.
        if route
            .condition_strength
            .is_none_or(|strength| !strength.is_zero())
        {
            before.push((path, condition));
        }
    }
    issues
}

/// Those routes before it that leave nothing for a condition.
fn covered(prover: &Prover<'_>, condition: &Condition, before: &[(&str, &Condition)]) -> Option<String> {
    let is_within = |others: &[(&str, &Condition)]| {
        let mut wanted = vec![(condition.expression(), true)];
        wanted.extend(others.iter().map(|(_, other)| (other.expression(), false)));
        prover.possible(&wanted) == Some(false)
    };
    // The same text is the same condition, whatever can be proven.
    let one = before
        .iter()
        .find(|(_, other)| *other == condition || is_within(&[("", other)]));
    if let Some((path, _)) = one {
        return Some(format!("`{path}`"));
    }
    (before.len() > 1 && is_within(before)).then(|| "the routes before it".to_owned())
}
