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
        "LAG",
        "STALE",
        "DIGEST",
        "REFUSED",
        "ADMIN",
        "VERSION",
        "UPTIME",
    ]);
    let mut reasons = String::new();
    for agent in &agents {
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
            match (agent.state.as_str(), agent.live) {
                ("", true) => "live".to_owned(),
                ("", false) => "gone".to_owned(),
                (state, _) => state.to_owned(),
            },
            agent.generation.to_string(),
            agent.lag.map_or_else(|| "-".to_owned(), |lag| lag.to_string()),
            match agent.stale_ms {
                None => "-".to_owned(),
                Some(0) => "no".to_owned(),
                Some(ms) => time(ms),
            },
            digest,
            agent.refused.len().to_string(),
            agent.admin.clone().unwrap_or_default(),
            agent.version.clone(),
            time(agent.uptime_ms),
        ]);
        if let Some(problem) = &agent.problem {
            reasons.push_str(&format!("{} cannot be asked: {problem}\n", agent.agent));
        }
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
    // What agents say comes from outside: nothing but lines of ours reaches the terminal.
    let is_kept = |char: char| char == '\n' || !char.is_control();
    let reasons: String = reasons
        .chars()
        .map(|char| if is_kept(char) { char } else { ' ' })
        .collect();
    context.output.print(&reasons)
}

/// Milliseconds for people: `12s`, `3m`, `5h`, `2d`.
fn time(ms: u64) -> String {
    match ms / 1_000 {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn times_have_one_unit() {
        let cases = [
            (900, "0s"),
            (119_000, "119s"),
            (120_000, "2m"),
            (7_200_000, "2h"),
            (200_000_000, "2d"),
        ];
        for (ms, text) in cases {
            assert_eq!(time(ms), text);
        }
    }
}
