//! `weir agents`: the gateway agents and which generation they serve.

use super::Context;
use crate::{
    failure::Failure,
    output::{Format, Table},
    traffic,
};

pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    match context.output.format {
        Format::Yaml | Format::Json => {
            let value = context.client.get("/agents", &[]).await?;
            return context.output.tree(&value);
        }
        Format::Table | Format::Name => {}
    }
    let agents = traffic::agents(&context.client).await?;
    if context.output.format == Format::Name {
        let names: String = agents
            .iter()
            .map(|agent| format!("agents/{}\n", agent.agent))
            .collect();
        return context.output.print(&names);
    }
    let mut table = Table::new(&[
        "AGENT",
        "STATE",
        "GENERATION",
        "SEEN",
        "DIGEST",
        "REFUSED",
        "ADMIN",
        "VERSION",
        "STARTED",
    ]);
    let mut reasons = String::new();
    for agent in &agents {
        let started = jiff::Timestamp::from_millisecond(agent.started_at_ms)
            .map(|time| format!("{time:.0}"))
            .unwrap_or_default();
        let digest: String = agent
            .digest
            .as_deref()
            .and_then(|digest| digest.strip_prefix("sha256:"))
            .unwrap_or_default()
            .chars()
            .take(12)
            .collect();
        table.row(vec![
            agent.agent.clone(),
            if agent.live { "live" } else { "gone" }.to_owned(),
            agent.generation.to_string(),
            agent.seen.to_string(),
            digest,
            agent.refused.len().to_string(),
            agent.admin.clone().unwrap_or_default(),
            agent.version.clone(),
            started,
        ]);
        for refused in &agent.refused {
            let gateway = if refused.gateway.is_empty() {
                "the whole document"
            } else {
                &refused.gateway
            };
            reasons.push_str(&format!(
                "{} refuses {gateway}: {}\n",
                agent.agent, refused.reason
            ));
        }
    }
    if agents.is_empty() {
        return context.output.note("No agent is running.");
    }
    context.output.table(&table)?;
    context.output.print(&reasons)
}
