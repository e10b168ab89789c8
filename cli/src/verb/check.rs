//! `weir check`: files without a server, with the server's own words.

use clap::Args;
use weir_artifact::read;

use crate::{
    client::Problem,
    failure::{Failure, Located, Source},
    kind::Kind,
    output::Output,
};

/// Check files without a server.
///
/// Every problem of every file is shown with its place. References are not looked up.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir check -f shop.yaml\n  weir check -f artifacts/\n  \
    weir check --kind blueprint -f shop.yaml"
)]
pub(crate) struct Check {
    /// File, folder, or - for standard input; may be repeated
    #[arg(short, long = "file", required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Kind of the one artifact of each file, when the documents do not name it
    #[arg(short, long)]
    kind: Option<Kind>,
}

pub(crate) fn run(check: &Check, output: Output) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    for file in &check.files {
        for source in Source::read_all(file)? {
            match count(&source.text, check.kind)? {
                Ok(1) => output.note(&format!("{}: ok", source.label()))?,
                Ok(count) => output.note(&format!("{}: ok, {count} artifacts", source.label()))?,
                Err(problems) => wrong.push(Located {
                    problems: problems.into_iter().map(problem).collect(),
                    source,
                }),
            }
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Failure::Invalid(wrong))
    }
}

/// How many artifacts a text has, or what is wrong with it.
fn count(text: &str, kind: Option<Kind>) -> Result<Result<usize, Vec<weir_artifact::Problem>>, Failure> {
    let kind = match kind {
        None => return Ok(read::requests(text).map(|requests| requests.len())),
        Some(Kind::Breeds) => weir_artifact::Kind::Breed,
        Some(Kind::Blueprints) => weir_artifact::Kind::Blueprint,
        Some(Kind::Scales) => weir_artifact::Kind::Scale,
        Some(Kind::Conditions) => weir_artifact::Kind::Condition,
        Some(Kind::Gateways) => weir_artifact::Kind::Gateway,
        Some(Kind::Deployments) => return Ok(read::deploy_request(text).map(|_| 1)),
        Some(other) => {
            return Err(Failure::Usage(format!(
                "{other} cannot be checked without a server yet"
            )));
        }
    };
    Ok(read::one(kind, text).map(|_| 1))
}

/// A problem found here, as one that the server tells.
pub(crate) fn problem(problem: weir_artifact::Problem) -> Problem {
    Problem {
        path: problem.path,
        line: problem.position.map(|position| position.line),
        column: problem.position.map(|position| position.column),
        message: problem.message,
        hint: problem.hint,
    }
}
