//! `weir condition`: chosen requests of a gateway go to one route.

use clap::Args;
use serde_json::{Value, json};

use super::{Context, route};
use crate::{
    client::Problem,
    failure::{Failure, Located, Source},
    tree,
};

/// Send chosen requests of a gateway to one route.
///
/// The first route whose condition matches gets the request (or the given share of such requests); all
/// others are split by weight.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir condition shop/front/web front:2 \"User-Agent == Firefox\"\n  \
    weir condition shop/front/web front:2 \"has cookie beta\" --strength 50\n  \
    weir condition shop/front/web front:2 --clear"
)]
pub(crate) struct Condition {
    /// Name of the gateway
    gateway: String,
    /// Route, or a part of its path that only it has
    route: String,
    /// The condition
    #[arg(required_unless_present = "clear", conflicts_with = "clear")]
    condition: Option<String>,
    /// Percent of the matching requests; default: what it was, else 100
    #[arg(long, value_parser = strength, value_name = "PERCENT", conflicts_with = "clear")]
    strength: Option<u32>,
    /// Remove the condition
    #[arg(long)]
    clear: bool,
    /// Wait until every agent acknowledged, at most --timeout; else the change is watched for 2 s
    #[arg(short, long)]
    wait: bool,
}

impl Condition {
    /// Sets the condition of a route, or with `None` takes it away.
    pub(crate) fn of(
        gateway: String,
        route: String,
        condition: Option<String>,
        strength: Option<u32>,
    ) -> Self {
        Self {
            gateway,
            route,
            clear: condition.is_none(),
            condition,
            strength,
            wait: false,
        }
    }
}

/// Reads a percentage.
pub(crate) fn strength(text: &str) -> Result<u32, String> {
    tree::parts(text).ok_or_else(|| format!("`{text}` is not a percentage from 0 to 100"))
}

pub(crate) async fn run(context: &Context, condition: &Condition) -> Result<(), Failure> {
    let text = condition
        .condition
        .as_deref()
        .filter(|text| !text.trim().is_empty());
    if let Some(text) = text {
        check(text)?;
    }
    let mut change = route::Change::begin(&context.client, &condition.gateway).await?;
    let path = route::find(&change.routes(), &condition.route)?;
    set(change.route(&path), text, condition.strength);
    route::finish(context, change, condition.wait).await
}

/// Reads the condition as control does, to show the place of a fault in what was typed.
fn check(text: &str) -> Result<(), Failure> {
    let Err(error) = weir_model::Condition::parse(text) else {
        return Ok(());
    };
    Err(Failure::Invalid(vec![Located {
        source: Source {
            name: "condition".to_owned(),
            text: text.into(),
        },
        problems: vec![Problem {
            path: String::new(),
            line: Some(1),
            column: Some(error.position + 1),
            message: error.message,
            hint: None,
        }],
    }]))
}

/// Sets or removes the condition of a route.
pub(crate) fn set(route: &mut Value, condition: Option<&str>, strength: Option<u32>) {
    let had = route
        .get("condition")
        .is_some_and(|condition| !condition.is_null());
    let Some(condition) = condition else {
        route["condition"] = Value::Null;
        route["condition_strength"] = json!("0%");
        return;
    };
    route["condition"] = json!({ "condition": condition });
    let given = strength.map(tree::percent);
    if let Some(percent) = given {
        route["condition_strength"] = json!(percent);
    } else if !had {
        route["condition_strength"] = json!("100%");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::set;

    #[test]
    fn the_strength_stays_unless_given() {
        let mut route = json!({"weight": "50%", "condition": null, "condition_strength": "0%"});
        set(&mut route, Some("has cookie a"), None);
        assert_eq!(route["condition"], json!({"condition": "has cookie a"}));
        assert_eq!(route["condition_strength"], "100%");
        set(&mut route, Some("has cookie a"), Some(2_500));
        set(&mut route, Some("has cookie b"), None);
        assert_eq!(route["condition_strength"], "25%");
        set(&mut route, None, None);
        assert_eq!(
            route,
            json!({"weight": "50%", "condition": null, "condition_strength": "0%"})
        );
    }
}
