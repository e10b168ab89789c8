//! `weir check`: files without a server, with the server's own words.

use clap::Args;
use weir_artifact::read::{Checked, Documents, Expected, Library};

use crate::{
    client::Problem,
    failure::{Failure, Located, Source},
    kind::Kind,
    output::Output,
};

/// Check files without a server.
///
/// Every problem of every file is shown with its place. What documents import is looked up among all the files; what is
/// not there is noted, and the rest of the document is checked as far as it goes. References are not looked up.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir check -f shop.yaml\n  weir check -f templates/ -f artifacts/ --strict\n  \
    weir check --kind blueprint -f shop.yaml"
)]
pub(crate) struct Check {
    /// File, folder, or - for standard input; may be repeated
    #[arg(short, long = "file", required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Kind of the one artifact of each file, when the documents do not name it
    #[arg(short, long)]
    kind: Option<Kind>,
    /// Refuse documents that import what none of the files has
    #[arg(long)]
    strict: bool,
}

pub(crate) fn run(check: &Check, output: Output) -> Result<(), Failure> {
    let mut sources = Vec::new();
    for file in &check.files {
        sources.extend(Source::read_all(file)?);
    }
    let kind = check.kind.map(weir_artifact::Kind::from);
    let mut library = Library::default();
    let parsed: Vec<_> = sources
        .into_iter()
        .map(|source| {
            let documents = Documents::parse(&source.text);
            if let Ok(documents) = &documents {
                library.add(documents, kind);
            }
            (source, documents)
        })
        .collect();
    let expected = match check.kind {
        None => Expected::Requests,
        Some(Kind::Deployments) => Expected::DeployRequest,
        Some(kind) => Expected::One(kind.into()),
    };
    let mut wrong = Vec::new();
    for (source, documents) in parsed {
        let mut checked = match documents {
            Ok(documents) => documents
                .complete(|import| library.find(import, |_| None))
                .check(expected),
            Err(problems) => Checked {
                problems,
                ..Checked::default()
            },
        };
        if check.strict {
            checked.problems.append(&mut checked.unknown_imports);
            checked.problems.sort_by_key(|problem| problem.position);
        }
        tell(&source, &checked, &output)?;
        if !checked.problems.is_empty() {
            wrong.push(Located {
                problems: checked.problems.into_iter().map(problem).collect(),
                source,
            });
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Failure::Invalid(wrong))
    }
}

/// Says what is not an error.
fn tell(source: &Source, checked: &Checked, output: &Output) -> Result<(), Failure> {
    let label = source.label();
    for warning in &checked.warnings {
        output.note(&format!("{label}: warning: {warning}"))?;
    }
    for unknown in &checked.unknown_imports {
        let place = match unknown.position {
            Some(position) => format!("{label}:{}:{}", position.line, position.column),
            None => label.to_owned(),
        };
        output.note(&format!(
            "{place}: note: {}: {} among these files; what it would bring is not checked",
            unknown.path, unknown.message
        ))?;
    }
    if !checked.problems.is_empty() {
        return Ok(());
    }
    match checked.documents {
        1 => output.note(&format!("{label}: ok")),
        count => output.note(&format!("{label}: ok, {count} artifacts")),
    }
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
