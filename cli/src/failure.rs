//! How a verb can fail, what is shown for it, and the exit code.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::PathBuf,
    sync::Arc,
};

use crate::client::{ClientError, Problem};

/// Why a verb did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What was typed makes no sense together.
    Usage(String),
    /// Something that was named is not there.
    NotFound(String),
    /// A document is wrong.
    Invalid(Vec<Located>),
    /// What was waited for did not come.
    TimedOut(String),
    /// The server was not reached or refused.
    Client(ClientError),
    /// There are differences, which were shown.
    Differs,
    /// The reader of standard output has gone; nothing to tell.
    OutputClosed,
    /// Anything else.
    Other(anyhow::Error),
}

/// Problems of one text.
#[derive(Debug)]
pub(crate) struct Located {
    /// Where the text came from.
    pub(crate) source: Source,
    /// What is wrong with it.
    pub(crate) problems: Vec<Problem>,
}

/// A text and its name.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// As the user named it; `-` is standard input.
    pub(crate) name: String,
    /// The text.
    pub(crate) text: Arc<str>,
}

/// Longest file or standard input, in bytes: what control takes, and then some.
const SOURCE_BYTES_MAX: u64 = 16 * 1024 * 1024;

impl Source {
    /// Reads a file, or standard input for `-`.
    pub(crate) fn read(name: &str) -> Result<Self, Failure> {
        use io::Read as _;
        let reader: Box<dyn io::Read> = if name == "-" {
            Box::new(io::stdin().lock())
        } else {
            match std::fs::File::open(name) {
                Ok(file) => Box::new(file),
                Err(error) => {
                    return Err(anyhow::Error::new(error)
                        .context(format!("cannot read {name}"))
                        .into());
                }
            }
        };
        let mut text = String::new();
        let bytes = reader
            .take(SOURCE_BYTES_MAX + 1)
            .read_to_string(&mut text)
            .map_err(|error| anyhow::Error::new(error).context(format!("cannot read {name}")))?;
        if bytes as u64 > SOURCE_BYTES_MAX {
            return Err(Failure::Other(anyhow::anyhow!(
                "{name} is longer than {SOURCE_BYTES_MAX} bytes"
            )));
        }
        Ok(Self {
            name: name.to_owned(),
            text: text.into(),
        })
    }

    /// The files that `-f` names: a file, standard input, or every `.yaml`, `.yml` and `.json` of a folder
    /// in order of names.
    pub(crate) fn read_all(name: &str) -> Result<Vec<Self>, Failure> {
        if name == "-" || !std::path::Path::new(name).is_dir() {
            return Ok(vec![Self::read(name)?]);
        }
        let context = |error| anyhow::Error::new(error).context(format!("cannot read {name}"));
        let mut paths: Vec<PathBuf> = Vec::new();
        for entry in std::fs::read_dir(name).map_err(context)? {
            let path = entry.map_err(context)?.path();
            let document = path
                .extension()
                .is_some_and(|ending| ending == "yaml" || ending == "yml" || ending == "json");
            if document && path.is_file() {
                paths.push(path);
            }
        }
        paths.sort();
        if paths.is_empty() {
            return Err(Failure::NotFound(format!(
                "folder {name} has no .yaml, .yml or .json files"
            )));
        }
        paths
            .iter()
            .map(|path| Self::read(&path.to_string_lossy()))
            .collect()
    }

    /// What to call it in messages.
    pub(crate) fn label(&self) -> &str {
        if self.name == "-" { "<stdin>" } else { &self.name }
    }

    /// An answer about this text as a failure that can show the places.
    pub(crate) fn blame(&self, error: ClientError) -> Failure {
        match error {
            ClientError::Refused {
                status: 400,
                problems,
                ..
            } if !problems.is_empty() => Failure::Invalid(vec![Located {
                source: self.clone(),
                problems,
            }]),
            other => Failure::Client(other),
        }
    }
}

impl Failure {
    /// 1 general, 2 usage, 3 not found, 4 validation, 5 server, 6 timeout or no connection.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Other(_) | Self::Differs => 1,
            Self::Usage(_) => 2,
            Self::NotFound(_) => 3,
            Self::Invalid(_) => 4,
            Self::TimedOut(_) => 6,
            Self::Client(error) => match error {
                ClientError::Refused { status: 404, .. } => 3,
                ClientError::Refused { status: 400, .. } => 4,
                ClientError::Refused { status, .. } if *status >= 500 => 5,
                ClientError::Unreachable { .. } | ClientError::TimedOut { .. } => 6,
                ClientError::BadHost(_) | ClientError::BadFile { .. } | ClientError::BadToken => 2,
                ClientError::Refused { .. } | ClientError::Unreadable { .. } => 1,
            },
        }
    }

    /// Shows it on standard error.
    pub(crate) fn report(&self) {
        let text = self.text();
        if !text.is_empty() {
            // Nothing can be done when even standard error is closed.
            let _ = io::stderr().lock().write_all(text.as_bytes());
        }
    }

    /// What is shown, with a line end.
    fn text(&self) -> String {
        match self {
            Self::OutputClosed | Self::Differs => String::new(),
            Self::Usage(message) | Self::NotFound(message) | Self::TimedOut(message) => {
                format!("error: {message}\n")
            }
            Self::Invalid(located) => located.iter().map(render).collect(),
            // The text with the places was made here: the person has not seen it.
            Self::Client(ClientError::Refused { problems, .. }) if !problems.is_empty() => problems
                .iter()
                .map(|problem| {
                    let hint = problem.hint.as_ref().map(|hint| format!("\nhint: {hint}"));
                    format!(
                        "error: {}{}{}\n",
                        place(problem),
                        problem.message,
                        hint.unwrap_or_default()
                    )
                })
                .collect(),
            Self::Client(error) => {
                let mut text = format!("error: {}\n", chain(error));
                if let Some(hint) = error.hint() {
                    let _ = writeln!(text, "hint: {hint}");
                }
                text
            }
            Self::Other(error) => format!("error: {error:#}\n"),
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            let _ = write!(text, ": {next}");
        }
        cause = error.source();
    }
    text
}

/// Where in the tree a problem is, if the message does not say it.
fn place(problem: &Problem) -> String {
    if problem.path.is_empty() || problem.path == "/" || problem.message.contains(&problem.path) {
        String::new()
    } else {
        format!("{}: ", problem.path)
    }
}

/// Problems with the lines that they are about.
fn render(located: &Located) -> String {
    let mut text = String::new();
    for problem in &located.problems {
        let label = located.source.label();
        let place = place(problem);
        match (problem.line, problem.column) {
            (Some(line), column) => {
                let column = column.unwrap_or(1).max(1);
                let _ = writeln!(text, "{label}:{line}:{column}: {place}{}", problem.message);
                let source = line
                    .checked_sub(1)
                    .and_then(|index| located.source.text.lines().nth(index));
                if let Some(source) = source {
                    let number = line.to_string();
                    let margin = " ".repeat(number.len());
                    // Tabs are kept in the indent, so that the caret stands below its column.
                    let indent: String = source
                        .chars()
                        .take(column - 1)
                        .map(|char| if char == '\t' { '\t' } else { ' ' })
                        .collect();
                    let _ = writeln!(text, " {number} | {source}\n {margin} | {indent}^");
                }
            }
            (None, _) => {
                let _ = writeln!(text, "{label}: {place}{}", problem.message);
            }
        }
        if let Some(hint) = &problem.hint {
            let _ = writeln!(text, "  hint: {hint}");
        }
    }
    text
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Other(error.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Failure, Located, Source};
    use crate::client::{ClientError, Problem};

    fn source() -> Source {
        Source {
            name: "shop.yaml".to_owned(),
            text: "name: shop\nclusters:\n  front:\n    wieght: 80%\n".into(),
        }
    }

    fn problem() -> Problem {
        Problem {
            path: "clusters/front".to_owned(),
            line: Some(4),
            column: Some(5),
            message: "unknown key `wieght`".to_owned(),
            hint: Some("did you mean `weight`?".to_owned()),
        }
    }

    #[test]
    fn shows_the_line_with_a_caret() {
        let failure = Failure::Invalid(vec![Located {
            source: source(),
            problems: vec![problem()],
        }]);
        assert_eq!(
            failure.text(),
            "shop.yaml:4:5: clusters/front: unknown key `wieght`\n \
             4 |     wieght: 80%\n   |     ^\n  \
             hint: did you mean `weight`?\n"
        );
        assert_eq!(failure.exit_code(), 4);
    }

    #[test]
    fn a_place_beyond_the_text_is_only_named() {
        let mut beyond = problem();
        beyond.line = Some(99);
        beyond.hint = None;
        let failure = Failure::Invalid(vec![Located {
            source: source(),
            problems: vec![beyond],
        }]);
        assert_eq!(
            failure.text(),
            "shop.yaml:99:5: clusters/front: unknown key `wieght`\n"
        );
    }

    #[test]
    fn blames_the_text_only_when_the_server_named_places() {
        let refused = |status, problems| ClientError::Refused {
            status,
            message: "no".to_owned(),
            problems,
            action: "PUT /".to_owned(),
        };
        assert!(matches!(
            source().blame(refused(400, vec![problem()])),
            Failure::Invalid(_)
        ));
        assert_eq!(source().blame(refused(400, Vec::new())).exit_code(), 4);
        assert_eq!(source().blame(refused(404, vec![problem()])).exit_code(), 3);
        assert_eq!(source().blame(refused(502, Vec::new())).exit_code(), 5);
        assert_eq!(source().blame(refused(401, Vec::new())).exit_code(), 1);
    }
}
