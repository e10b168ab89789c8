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
            match count(&source.text, check.kind) {
                Ok((count, warnings)) => {
                    for warning in warnings {
                        output.note(&format!("{}: warning: {warning}", source.label()))?;
                    }
                    match count {
                        1 => output.note(&format!("{}: ok", source.label()))?,
                        count => output.note(&format!("{}: ok, {count} artifacts", source.label()))?,
                    }
                }
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

/// How many artifacts a text has and what is hardly meant, or what is wrong with it.
fn count(
    text: &str,
    kind: Option<Kind>,
) -> Result<(usize, Vec<weir_artifact::Problem>), Vec<weir_artifact::Problem>> {
    let documents = read::Documents::parse(text)?;
    Ok(match kind {
        None => {
            let read = documents.requests()?;
            (read.value.len(), read.warnings)
        }
        Some(Kind::Deployments) => (1, documents.deploy_request()?.warnings),
        Some(kind) => (1, documents.one(kind.into())?.warnings),
    })
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
