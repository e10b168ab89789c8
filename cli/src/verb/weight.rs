//! `weir weight`: how a gateway splits its traffic.

use clap::Args;

use super::{Context, route};
use crate::{failure::Failure, output, tree};

/// Change how a gateway splits its traffic.
///
/// Routes may be named by any part of their path that only they have, such as the service. Routes that
/// are not named keep their weight. The weights must total 100.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir weight shop/front/web front:1=90 front:2=10\n  \
    weir weight shop/front/web front:1=0 front:2=100 --wait"
)]
pub(crate) struct Weight {
    /// Name of the gateway
    gateway: String,
    /// Route and percent
    #[arg(required = true, value_name = "ROUTE=PERCENT")]
    weights: Vec<String>,
    /// Wait until every agent acknowledged, at most --timeout; else the change is watched for 2 s
    #[arg(short, long)]
    wait: bool,
}

impl Weight {
    /// Sets weights, each `ROUTE=PERCENT`.
    pub(crate) fn of(gateway: String, weights: Vec<String>) -> Self {
        Self {
            gateway,
            weights,
            wait: false,
        }
    }
}

pub(crate) async fn run(context: &Context, weight: &Weight) -> Result<(), Failure> {
    let typed = weight
        .weights
        .iter()
        .map(|text| assignment(text))
        .collect::<Result<Vec<_>, _>>()?;
    let mut change = route::Change::begin(&context.client, &weight.gateway).await?;
    let weights = complete(&change.weights(), &typed)?;
    for (path, parts) in &weights {
        change.route(path)["weight"] = tree::percent(*parts).into();
    }
    route::finish(context, change, weight.wait).await
}

/// Reads `front:1=90` or `front:1=90%`.
fn assignment(text: &str) -> Result<(String, u32), Failure> {
    text.rsplit_once('=')
        .and_then(|(route, percent)| Some((route.to_owned(), tree::parts(percent)?)))
        .ok_or_else(|| {
            Failure::Usage(format!(
                "`{text}` is not ROUTE=PERCENT, such as front:1=90 (0 to 100)"
            ))
        })
}

/// The weights of all routes after the change; they total 100 %.
fn complete(before: &[(String, u32)], typed: &[(String, u32)]) -> Result<Vec<(String, u32)>, Failure> {
    let paths: Vec<String> = before.iter().map(|(path, _)| path.clone()).collect();
    let mut after = before.to_vec();
    let mut named = Vec::new();
    for (text, parts) in typed {
        let path = route::find(&paths, text)?;
        if named.contains(&path) {
            return Err(Failure::Usage(format!("route `{path}` is named twice")));
        }
        if let Some((_, weight)) = after.iter_mut().find(|(known, _)| *known == path) {
            *weight = *parts;
        }
        named.push(path);
    }
    let total: u32 = after.iter().map(|(_, parts)| parts).sum();
    if total == 10_000 {
        return Ok(after);
    }
    let lines: String = before
        .iter()
        .zip(&after)
        .map(|((path, old), (_, new))| {
            let change = if named.contains(path) {
                format!("{} -> {}", tree::percent(*old), tree::percent(*new))
            } else {
                format!("{} (not named, stays)", tree::percent(*old))
            };
            format!("\n  {}  {change}", output::route_label(path))
        })
        .collect();
    Err(Failure::Usage(format!(
        "the weights would total {} instead of 100%; nothing was changed. Name the other routes too:{lines}",
        tree::percent(total)
    )))
}

#[cfg(test)]
mod tests {
    use super::{assignment, complete};
    use crate::failure::Failure;

    fn routes() -> Vec<(String, u32)> {
        vec![
            ("d/c/a/web".to_owned(), 8_000),
            ("d/c/b/web".to_owned(), 2_000),
            ("d/c/c/web".to_owned(), 0),
        ]
    }

    #[test]
    fn routes_that_are_not_named_keep_their_weight() {
        let typed = [("a".to_owned(), 7_000), ("c".to_owned(), 1_000)];
        let after = complete(&routes(), &typed).unwrap();
        assert_eq!(
            after.iter().map(|(_, parts)| *parts).collect::<Vec<_>>(),
            [7_000, 2_000, 1_000]
        );
    }

    #[test]
    fn a_wrong_total_shows_all_routes() {
        let Err(Failure::Usage(text)) = complete(&routes(), &[("a".to_owned(), 9_000)]) else {
            panic!("a usage failure");
        };
        assert!(text.contains("total 110% instead of 100%"), "{text}");
        assert!(text.contains("a  80% -> 90%"), "{text}");
        assert!(text.contains("b  20% (not named, stays)"), "{text}");
        let twice = [("a".to_owned(), 5_000), ("c/a".to_owned(), 5_000)];
        assert!(complete(&routes(), &twice).is_err());
    }

    #[test]
    fn assignments() {
        assert_eq!(assignment("a=b=90%").unwrap(), ("a=b".to_owned(), 9_000));
        for wrong in ["a", "a=", "a=x", "a=101", "a=-1"] {
            assert!(assignment(wrong).is_err(), "{wrong}");
        }
    }
}
