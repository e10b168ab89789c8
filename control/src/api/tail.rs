//! What the path after a kind means: a name, or something below it.

use weir_artifact::Kind;

use super::answer::ApiError;
use crate::state::Shelf;

/// What the path after a kind means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// A name.
    Artifact(String),
    /// `{name}/revisions`
    Revisions(String),
    /// `{name}/revisions/{n}`
    Revision(String, u64),
    /// `{name}/revisions/{n}/rollback`
    Rollback(String, u64),
    /// `{name}/status` of a workflow
    Status(String),
}

impl Tail {
    /// Reads the rest of a path. Names of gateways have slashes, and are decoded once more (spec of the API §1), as
    /// clients encode them twice; a gateway that is there goes before anything below another one.
    pub(super) async fn of(shelf: &Shelf, kind: Kind, rest: &str) -> Result<Self, ApiError> {
        if kind != Kind::Gateway {
            return Ok(Self::read(kind, rest));
        }
        let rest = rest.replace("%2F", "/").replace("%2f", "/");
        let tail = Self::read(kind, &rest);
        let is_plain = matches!(tail, Self::Artifact(_));
        if !is_plain && shelf.stored(kind.plural(), &rest).await?.is_some() {
            return Ok(Self::Artifact(rest));
        }
        Ok(tail)
    }

    /// What a method is answered that does not fit: 405 with those that do.
    pub(super) fn refused(&self) -> ApiError {
        ApiError::method_not_allowed().allowing(match self {
            Self::Artifact(_) => "GET,HEAD,PUT,DELETE",
            Self::Revisions(_) | Self::Revision(..) => "GET,HEAD",
            Self::Rollback(..) => "POST",
            Self::Status(_) => "GET,HEAD,PUT",
        })
    }

    fn read(kind: Kind, rest: &str) -> Self {
        Self::below(kind, rest).unwrap_or_else(|| Self::Artifact(rest.to_owned()))
    }

    fn below(kind: Kind, rest: &str) -> Option<Self> {
        let (before, last) = rest.rsplit_once('/')?;
        match last {
            "revisions" => return Some(Self::Revisions(before.to_owned())),
            "status" if kind == Kind::Workflow => return Some(Self::Status(before.to_owned())),
            "rollback" => {
                let (name, number) = revision(before)?;
                return Some(Self::Rollback(name, number));
            }
            _ => {}
        }
        let (name, number) = revision(rest)?;
        Some(Self::Revision(name, number))
    }
}

/// `{name}/revisions/{n}`
fn revision(path: &str) -> Option<(String, u64)> {
    let (before, number) = path.rsplit_once('/')?;
    let name = before.strip_suffix("/revisions")?;
    Some((name.to_owned(), number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use weir_artifact::Kind;

    use super::Tail;

    #[test]
    fn names_and_what_is_below_them() {
        let text = str::to_owned;
        for (kind, rest, tail) in [
            (Kind::Breed, "a:1", Tail::Artifact(text("a:1"))),
            (Kind::Breed, "a/revisions", Tail::Revisions(text("a"))),
            (Kind::Breed, "a/revisions/7", Tail::Revision(text("a"), 7)),
            (
                Kind::Breed,
                "a/revisions/7/rollback",
                Tail::Rollback(text("a"), 7),
            ),
            (
                Kind::Breed,
                "a/revisions/x",
                Tail::Artifact(text("a/revisions/x")),
            ),
            (Kind::Breed, "revisions", Tail::Artifact(text("revisions"))),
            (Kind::Breed, "a/status", Tail::Artifact(text("a/status"))),
            (Kind::Workflow, "a/status", Tail::Status(text("a"))),
            (
                Kind::Gateway,
                "s/c/p/revisions/1",
                Tail::Revision(text("s/c/p"), 1),
            ),
        ] {
            assert_eq!(Tail::read(kind, rest), tail, "{rest}");
        }
    }
}
