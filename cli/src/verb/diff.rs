//! `weir diff`: what applying documents would change.

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::Context;
use crate::{
    failure::{Failure, Source},
    output::Format,
    tree,
};

/// Show what `weir apply` (or with --delete, deleting) would change. Changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weir diff -f shop.yaml\n  weir diff -f artifacts/ --exit-code")]
pub(crate) struct Diff {
    /// File, folder (.yaml, .yml, .json), or - for standard input; may be repeated
    #[arg(short, long = "file", required = true, value_name = "FILE")]
    files: Vec<String>,
    /// What deleting them would change
    #[arg(long)]
    delete: bool,
    /// Exit with 1 if there are differences
    #[arg(long)]
    exit_code: bool,
}

pub(crate) async fn run(context: &Context, diff: &Diff) -> Result<(), Failure> {
    let path = if diff.delete { "/plan?delete=true" } else { "/plan" };
    let mut plans = Vec::new();
    for file in &diff.files {
        for source in Source::read_all(file)? {
            let plan = context
                .client
                .send(Method::POST, path, source.text.to_string())
                .await;
            plans.push(plan.map_err(|error| source.blame(error))?);
        }
    }
    let changed = |artifact: &&Value| tree::text(artifact, "/action") != "unchanged";
    let differs = plans
        .iter()
        .any(|plan| tree::elements(plan, "/artifacts").any(|artifact| changed(&artifact)));
    match context.output.format {
        Format::Yaml | Format::Json => match plans.as_slice() {
            [plan] => context.output.tree(plan)?,
            plans => context.output.tree(&json!(plans))?,
        },
        Format::Name | Format::Table => {
            let artifacts = plans.iter().flat_map(|plan| tree::elements(plan, "/artifacts"));
            let text: String = artifacts
                .filter(changed)
                .map(|artifact| shown(artifact, context.output.format))
                .collect();
            context.output.print(&text)?;
            if !differs {
                context.output.note("no differences")?;
            }
        }
    }
    if differs && diff.exit_code {
        return Err(Failure::Differs);
    }
    Ok(())
}

/// One artifact and its differences, a line each.
fn shown(artifact: &Value, format: Format) -> String {
    let [kind, name, action] = ["/kind", "/name", "/action"].map(|key| tree::text(artifact, key));
    if format == Format::Name {
        return format!("{kind}/{name}\n");
    }
    let mut text = format!("{action} {kind} {name}\n");
    for change in tree::elements(artifact, "/changes") {
        let side = |key: &str| match change.get(key) {
            None | Some(Value::Null) => "-".to_owned(),
            Some(value) => tree::scalar(value),
        };
        text.push_str(&format!(
            "  {}: {} -> {}\n",
            tree::text(change, "/path"),
            side("before"),
            side("after")
        ));
    }
    let left_out = tree::text(artifact, "/changes_left_out");
    if !left_out.is_empty() {
        text.push_str(&format!("  and {left_out} more\n"));
    }
    for service in tree::elements(artifact, "/services") {
        let [cluster, name, action] = ["/cluster", "/service", "/action"].map(|key| tree::text(service, key));
        text.push_str(&format!("  {action} {cluster}/{name}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::shown;
    use crate::output::Format;

    #[test]
    fn differences_are_a_line_each() {
        let artifact = json!({"kind": "deployment", "name": "shop", "action": "update",
            "changes": [{"path": "a/b", "before": 2, "after": 3}, {"path": "c", "before": null, "after": "x"}],
            "services": [{"cluster": "front", "service": "front:1", "action": "scale"}]});
        assert_eq!(
            shown(&artifact, Format::Table),
            "update deployment shop\n  a/b: 2 -> 3\n  c: - -> x\n  scale front/front:1\n"
        );
        assert_eq!(shown(&artifact, Format::Name), "deployment/shop\n");
    }
}
