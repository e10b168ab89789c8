//! Steps 2 and 3 of the routing order: from a gateway to one of its routes.

use super::{By, Hop, Matched, NO_HOP, SET_LEFT, SET_TAKEN, SET_WEIGHTED, cookies::cookie};
use crate::{
    condition::{Names, RequestView},
    table::Gateway,
};

/// The route whose clients ask for this name.
pub(super) fn by_name(gateway: &Gateway, slot: u32, name: &str) -> Option<Hop> {
    let routes = (0..=u16::MAX).zip(&gateway.source.routes);
    // The exact name is nearer than a wildcard, whatever their order.
    let found = |is_match: fn(&str, &str) -> bool| {
        let is_for = |own: &String| is_match(own, name);
        routes
            .clone()
            .find(|(_, route)| route.options.server_names.iter().any(is_for))
            .map(|(index, _)| index)
    };
    let index = found(|own, name| own == name).or_else(|| {
        found(|own, name| {
            own.strip_prefix("*.")
                .is_some_and(|parent| name.split_once('.').is_some_and(|(_, rest)| rest == parent))
        })
    })?;
    Some(Hop {
        gateway: slot,
        route: index,
        by: By::Condition,
        taken: Matched::Taken,
        matched: index,
        ..NO_HOP
    })
}

/// Steps 2 and 3: which route. `None`: no condition matched and every weight is zero.
pub(super) fn decide<R: RequestView>(gateway: &Gateway, slot: u32, request: Option<&R>) -> Option<Hop> {
    let mut hop = Hop {
        gateway: slot,
        ..NO_HOP
    };
    if let Some(request) = request {
        let names = if gateway.conditioned.is_empty() {
            None
        } else {
            Some(Names::of(request))
        };
        for index in &gateway.conditioned {
            let route = gateway.routes.get(usize::from(*index))?;
            if !route
                .condition
                .as_ref()
                .zip(names)
                .is_some_and(|(condition, names)| condition.matches_among(request, names))
            {
                continue;
            }
            let cookies = gateway.cookies.as_ref().zip(route.cookies.as_ref());
            let remembered = cookies.and_then(|(gateway, route)| {
                let value = cookie(request, &route.matched)?;
                if *value == *route.lookup {
                    Some(true)
                } else if *value == *gateway.weighted {
                    Some(false)
                } else {
                    None
                }
            });
            let taken = remembered.unwrap_or_else(|| {
                route
                    .strength
                    .as_ref()
                    .is_none_or(|split| split.at(route.live.strength.next()) == 0)
            });
            hop.matched = *index;
            hop.taken = if taken { Matched::Taken } else { Matched::Left };
            if cookies.is_some() && remembered.is_none() {
                hop.set |= if taken { SET_TAKEN } else { SET_LEFT };
            }
            if taken {
                hop.route = *index;
                hop.by = if remembered.is_some() {
                    By::Cookie
                } else {
                    By::Condition
                };
                return Some(hop);
            }
            break;
        }
        if let Some(cookies) = &gateway.cookies
            && let Some(value) = cookie(request, &cookies.weighted)
            && let Some((index, _)) = (0..=u16::MAX).zip(&gateway.routes).find(|(_, route)| {
                route
                    .cookies
                    .as_ref()
                    .is_some_and(|route| *route.lookup == *value)
            })
        {
            hop.route = index;
            hop.by = By::Cookie;
            return Some(hop);
        }
    }
    hop.route = gateway.weights.as_ref()?.at(gateway.live.weights.next());
    hop.by = By::Weight;
    if gateway.cookies.is_some() {
        hop.set |= SET_WEIGHTED;
    }
    Some(hop)
}
