//! Documents that verbs take: from a file, from standard input, or stored.

use clap::Args;
use serde_json::Value;

use super::{Context, check, get::missing};
use crate::{
    client,
    failure::{Failure, Located, Source},
    kind::Kind,
};

/// A file or standard input. Standard input is read only where it is asked for.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Input {
    /// File, or - for standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "stdin")]
    pub(crate) file: Option<String>,
    /// Read standard input
    #[arg(long)]
    pub(crate) stdin: bool,
}

impl Input {
    /// The text; `None` if neither was named.
    pub(crate) fn read(&self) -> Result<Option<Source>, Failure> {
        match (&self.file, self.stdin) {
            (Some(file), _) => Source::read(file).map(Some),
            (None, true) => Source::read("-").map(Some),
            (None, false) => Ok(None),
        }
    }
}

/// A blueprint: its text, or the name of one that is stored.
#[derive(Debug)]
pub(crate) enum Given {
    Text(Source),
    Stored(String),
}

impl Given {
    /// What was typed: an argument that is a file, `-` or a name; or the options.
    pub(crate) fn of(what: Option<&str>, input: &Input) -> Result<Self, Failure> {
        match (what, input.read()?) {
            (None, Some(source)) => Ok(Self::Text(source)),
            (Some(what), None) if what == "-" || std::path::Path::new(what).is_file() => {
                Source::read(what).map(Self::Text)
            }
            (Some(name), None) => Ok(Self::Stored(name.to_owned())),
            (Some(what), Some(source)) => Err(Failure::Usage(format!(
                "name one blueprint: `{what}`, or {}",
                source.label()
            ))),
            (None, None) => Err(Failure::Usage(
                "name a blueprint: a file, one that is stored, or --stdin".to_owned(),
            )),
        }
    }

    /// As a tree.
    pub(crate) async fn tree(&self, context: &Context) -> Result<Value, Failure> {
        match self {
            Self::Text(source) => only(source),
            Self::Stored(name) => {
                let path = client::artifact(Kind::Blueprints, name);
                let found = context.client.get(&path, &[]).await;
                found.map_err(|error| missing(error, Kind::Blueprints, name))
            }
        }
    }
}

/// The one document of a text.
pub(crate) fn only(source: &Source) -> Result<Value, Failure> {
    let mut trees = weir_artifact::read::trees(&source.text).map_err(|problems| {
        Failure::Invalid(vec![Located {
            source: source.clone(),
            problems: problems.into_iter().map(check::problem).collect(),
        }])
    })?;
    match (trees.pop(), trees.is_empty()) {
        (Some(tree @ Value::Object(_)), true) => Ok(tree),
        _ => Err(Failure::Usage(format!(
            "{} must hold one document, a map",
            source.label()
        ))),
    }
}
