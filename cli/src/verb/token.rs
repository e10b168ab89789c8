//! `weir token`: who may use control.

use std::io::Write as _;

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use super::Context;
use crate::{
    client::encode,
    failure::Failure,
    output::{Format, Table},
};

/// Make, list and revoke access tokens (needs the role admin).
///
/// Each role may do what the ones before it may: a viewer reads, an operator changes artifacts, an approver
/// lets releases go on, an admin makes tokens and changes the configuration.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir token create ci --role operator --expires-in 90d > ci.token\n  \
    weir --token-file ci.token get gateways\n  weir token revoke ci"
)]
pub(crate) struct Token {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a token; it is printed this once
    Create(Create),
    /// List the tokens, without what makes them work
    List,
    /// End a token, named by its name or id
    #[command(visible_alias = "delete")]
    Revoke {
        /// Name or id
        name: String,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// Whose it is: the name that events show
    name: String,
    /// What it may do
    #[arg(long, value_enum, default_value = "viewer")]
    role: Role,
    /// Time after which it ends, such as 12h or 90d; default: never
    #[arg(long, value_name = "DURATION", value_parser = lifetime)]
    expires_in: Option<u64>,
    /// Good in every namespace, not only in control's
    #[arg(long)]
    every_namespace: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    Viewer,
    Operator,
    Approver,
    Admin,
}

pub(crate) async fn run(context: &Context, token: &Token) -> Result<(), Failure> {
    match &token.verb {
        Verb::Create(asked) => create(context, asked).await,
        Verb::List => list(context).await,
        Verb::Revoke { name } => {
            let path = format!("/tokens/{}", encode(name).replace('/', "%2F"));
            let known = context.client.get("/tokens", &[]).await?;
            let is_it = |token: &&Value| [text(token, "name"), text(token, "id")].contains(&name.as_str());
            if known.as_array().into_iter().flatten().find(is_it).is_none() {
                return Err(Failure::NotFound(format!("there is no token `{name}`")));
            }
            context.client.send(Method::DELETE, &path, String::new()).await?;
            context.output.note(&format!("Token {name} is revoked."))
        }
    }
}

async fn create(context: &Context, asked: &Create) -> Result<(), Failure> {
    let role = asked
        .role
        .to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default();
    let mut body = json!({"name": asked.name, "role": role});
    if let Some(fields) = body.as_object_mut() {
        if asked.every_namespace {
            fields.insert("namespace".to_owned(), json!("*"));
        }
        if let Some(seconds) = asked.expires_in {
            fields.insert("expires_in_s".to_owned(), json!(seconds));
        }
    }
    let made = context.client.send_value(Method::POST, "/tokens", &body).await?;
    match context.output.format {
        Format::Yaml | Format::Json => context.output.tree(&made),
        Format::Table | Format::Name => {
            // The token alone is data, so that it can go into a file.
            context.output.print(text(&made, "token"))?;
            if !context.output.quiet {
                let _ = writeln!(
                    std::io::stderr().lock(),
                    "Token {} with the role {role}; it is shown this once.",
                    asked.name
                );
            }
            Ok(())
        }
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    let tokens = context.client.get("/tokens", &[]).await?;
    let all = tokens.as_array().map(Vec::as_slice).unwrap_or_default();
    match context.output.format {
        Format::Yaml | Format::Json => context.output.tree(&tokens),
        Format::Name => {
            let names: String = all
                .iter()
                .map(|token| format!("tokens/{}\n", text(token, "name")))
                .collect();
            context.output.print(&names)
        }
        Format::Table => {
            let mut table = Table::new(&["NAME", "ROLE", "NAMESPACE", "ID", "CREATED", "BY", "EXPIRES"]);
            for token in all {
                let fields = [
                    "name",
                    "role",
                    "namespace",
                    "id",
                    "created_at",
                    "created_by",
                    "expires_at",
                ];
                table.row(fields.map(|field| text(token, field).to_owned()).to_vec());
            }
            context.output.table(&table)
        }
    }
}

fn text<'a>(token: &'a Value, field: &str) -> &'a str {
    token.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Seconds of `90s`, `30m`, `12h` or `90d`.
fn lifetime(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no time for a token; write it as 90s, 30m, 12h or 90d");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number
        .checked_mul(seconds)
        .filter(|seconds| *seconds > 0)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::lifetime;

    #[test]
    fn lifetimes() {
        assert_eq!(lifetime("90d"), Ok(7_776_000));
        assert_eq!(lifetime("12h"), Ok(43_200));
        for wrong in [
            "",
            "d",
            "5",
            "0s",
            "1w",
            "-1d",
            "99999999999999999999d",
            "999999999999999999d",
        ] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }
}
