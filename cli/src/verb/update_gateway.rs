//! `weir update-gateway`: weights and conditions in the words of Vamp's second command line.

use clap::Args;

use super::{Context, condition, weight};
use crate::failure::Failure;

/// Set weights, or the condition of a route, in Vamp's words (see `weir weight` and `weir condition`).
#[derive(Debug, Args)]
#[command(
    group(clap::ArgGroup::new("what").required(true).args(["weights", "route"])),
    after_help = "Examples:\n  weir update-gateway shop/front/web -w front:1@70%,front:2@30%\n  \
    weir update-gateway shop/front/web -r front:2 -c \"User-Agent == Firefox\" -s 50%\n  \
    weir update-gateway shop/front/web -r front:2 -c null"
)]
pub(crate) struct UpdateGateway {
    /// Name of the gateway
    name: String,
    /// Routes and their weights, separated by commas
    #[arg(short, long, value_delimiter = ',', value_name = "ROUTE@PERCENT,...", conflicts_with_all = ["route", "condition", "strength"])]
    weights: Vec<String>,
    /// The route whose condition is set
    #[arg(short, long, requires = "condition")]
    route: Option<String>,
    /// The condition; null takes it away
    #[arg(short, long, requires = "route")]
    condition: Option<String>,
    /// Percent of the matching requests; default: what it was, else 100
    #[arg(short, long, value_parser = condition::strength, value_name = "PERCENT", requires = "route")]
    strength: Option<u32>,
}

pub(crate) async fn run(context: &Context, update: UpdateGateway) -> Result<(), Failure> {
    if let (Some(route), Some(text)) = (update.route, update.condition) {
        let text = (text != "null").then_some(text);
        let set = condition::Condition::of(update.name, route, text, update.strength);
        return condition::run(context, &set).await;
    }
    let weights = update.weights.iter().map(|pair| assignment(pair));
    let weights = weights.collect::<Result<Vec<String>, Failure>>()?;
    weight::run(context, &weight::Weight::of(update.name, weights)).await
}

/// `front:1@70%` in the words of `weir weight`.
fn assignment(text: &str) -> Result<String, Failure> {
    match text.trim().rsplit_once('@') {
        Some((route, percent)) => Ok(format!("{route}={percent}")),
        None => Err(Failure::Usage(format!(
            "`{text}` is not ROUTE@PERCENT, such as front:1@90%"
        ))),
    }
}
