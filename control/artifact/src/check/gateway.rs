//! A gateway by itself.

use super::{Issue, WHOLE, percent, protocol_issues, total_weight};
use crate::Gateway;

pub(crate) fn gateway(gateway: &Gateway) -> Vec<Issue> {
    let mut issues = Vec::new();
    if let Some(total) = total_weight(gateway)
        && total != 0
        && total != WHOLE
    {
        let message = format!(
            "the given weights total {}, they must total 100% or 0%",
            percent(total)
        );
        issues.push(
            Issue::new("GatewayRouteWeightError", ["routes"], message)
                .hint("give every route its weight, or none"),
        );
    }
    if let Some(port) = &gateway.port {
        issues.extend(protocol_issues(gateway, port.protocol));
    }
    issues
}
