//! All of a storage in a file, and back.
//!
//! **Job.** Lines of JSON that any backend reads whichever wrote them: a head, every artifact as it is now, every event,
//! and an end that tells how many there were.
//!
//! **Invariants.** A file is read whole, and found whole, before anything of it is written. A storage that holds something
//! is not written over unless that is asked for.
//!
//! **Absent.** No history of artifacts: it begins anew. What changes while a backup is made may be in it or not.

use std::{
    io::{self, BufRead},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::{Event, EventDraft, EventQuery, Page, PersistError, Persistence, Write};

/// Form of the lines; a reader refuses others.
const FORM: u32 = 1;
/// Longest line in bytes: more than the longest body that the API takes.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Rows that are read or written together.
const TOGETHER: u64 = 500;

/// One line.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    /// The first.
    Backup {
        form: u32,
        namespace: String,
        at_ms: u64,
    },
    /// An artifact as it was.
    Artifact { kind: String, name: String, body: Value },
    /// An event.
    Event(EventLine),
    /// The last.
    End(Contents),
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct EventLine {
    tags: Vec<String>,
    value: Value,
    timestamp_ms: u64,
    #[serde(rename = "type")]
    kind: String,
}

/// What a backup holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Contents {
    /// Artifacts of all kinds, control's own records among them.
    pub artifacts: u64,
    /// Events.
    pub events: u64,
}

/// Why a backup cannot be made or used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The file cannot be read.
    #[error("the backup cannot be read")]
    Read(#[source] io::Error),
    /// The file is not a backup, or damaged.
    #[error("line {line} of the backup: {problem}")]
    Damaged {
        /// The line, from 1 on.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// Another form.
    #[error("the backup has form {0}; this program knows form {FORM}")]
    Form(u32),
    /// Something is there already.
    #[error("the storage holds {0} artifacts and events; nothing was changed")]
    NotEmpty(u64),
    /// The storage failed.
    #[error("the storage failed")]
    Storage(#[from] PersistError),
}

/// A backup as it is made, piece by piece, so that none has to be in memory whole.
#[derive(Debug)]
pub struct Export {
    storage: Arc<dyn Persistence>,
    namespace: String,
    at_ms: u64,
    contents: Contents,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Head,
    /// Kinds that are left, the present one last; artifacts of it that were read.
    Artifacts(Vec<String>, u64),
    /// After this event.
    Events(Option<u64>),
    End,
    Over,
}

impl Export {
    /// `at_ms`: now, milliseconds since the Unix epoch.
    pub fn new(storage: Arc<dyn Persistence>, namespace: &str, at_ms: u64) -> Self {
        Self {
            storage,
            namespace: namespace.to_owned(),
            at_ms,
            contents: Contents::default(),
            stage: Stage::Head,
        }
    }

    /// The next lines, each with its end; `None` after the last. An empty piece is not the end.
    ///
    /// # Errors
    /// The storage failed.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, PersistError> {
        let mut out = Vec::new();
        match &mut self.stage {
            Stage::Head => {
                let line = Line::Backup {
                    form: FORM,
                    namespace: self.namespace.clone(),
                    at_ms: self.at_ms,
                };
                put(&mut out, &line);
                let mut kinds = self.storage.kinds().await?;
                kinds.reverse();
                self.stage = Stage::Artifacts(kinds, 0);
            }
            Stage::Artifacts(kinds, offset) => {
                let Some(kind) = kinds.last() else {
                    self.stage = Stage::Events(None);
                    return Ok(Some(out));
                };
                let page = Page {
                    offset: *offset,
                    limit: TOGETHER,
                };
                let (part, _) = self.storage.list(kind, page).await?;
                let read = part.len() as u64;
                for stored in part {
                    let (kind, name, body) = (stored.kind, stored.name, stored.body);
                    put(&mut out, &Line::Artifact { kind, name, body });
                }
                self.contents.artifacts += read;
                *offset += read;
                if read < TOGETHER {
                    kinds.pop();
                    *offset = 0;
                }
            }
            Stage::Events(after) => {
                let query = EventQuery {
                    after_id: *after,
                    ..EventQuery::default()
                };
                let part = self.storage.events_in_order(&query, TOGETHER).await?;
                let Some(last) = part.last() else {
                    self.stage = Stage::End;
                    return Ok(Some(out));
                };
                *after = Some(last.id);
                self.contents.events += part.len() as u64;
                for event in part {
                    put(&mut out, &Line::Event(line_of(event)));
                }
            }
            Stage::End => {
                put(&mut out, &Line::End(self.contents));
                self.stage = Stage::Over;
            }
            Stage::Over => return Ok(None),
        }
        Ok(Some(out))
    }
}

fn line_of(event: Event) -> EventLine {
    EventLine {
        tags: event.tags,
        value: event.value,
        timestamp_ms: event.timestamp_ms,
        kind: event.kind,
    }
}

fn put(out: &mut Vec<u8>, line: &Line) {
    serde_json::to_writer(&mut *out, line).expect("plain data with text keys always serialises");
    out.push(b'\n');
}

/// Looks a backup through. What it holds, if it is whole.
///
/// # Errors
/// [`BackupError`]: it cannot be read, is damaged, cut short, or of another form.
pub fn verify(file: impl BufRead) -> Result<Contents, BackupError> {
    let mut all = Contents::default();
    for_each(file, |line| match line {
        Line::Artifact { .. } => all.artifacts += 1,
        Line::Event(_) => all.events += 1,
        Line::Backup { .. } | Line::End(_) => {}
    })?;
    Ok(all)
}

/// Writes a backup into a storage, which is to be empty unless `over`: then artifacts of the same name are replaced, and
/// events added. [`verify`] it first: what is found damaged here leaves what was before the damage.
///
/// # Errors
/// [`BackupError`].
pub async fn import(
    storage: &dyn Persistence,
    file: impl BufRead,
    over: bool,
) -> Result<Contents, BackupError> {
    if !over {
        let mut there = storage.events_in_order(&EventQuery::default(), 1).await?.len() as u64;
        for kind in storage.kinds().await? {
            let page = Page { offset: 0, limit: 1 };
            there += storage.list(&kind, page).await?.1;
        }
        if there > 0 {
            return Err(BackupError::NotEmpty(there));
        }
    }
    let (mut all, mut writes, mut events) = (Contents::default(), Vec::new(), Vec::new());
    let mut lines = Lines::new(file);
    while let Some(line) = lines.next()? {
        match line {
            Line::Artifact { kind, name, body } => {
                all.artifacts += 1;
                writes.push(Write::Put {
                    kind,
                    name,
                    body,
                    expect: None,
                });
            }
            Line::Event(event) => {
                all.events += 1;
                events.push(EventDraft {
                    tags: event.tags,
                    value: event.value,
                    timestamp_ms: event.timestamp_ms,
                    kind: event.kind,
                });
            }
            Line::Backup { .. } | Line::End(_) => {}
        }
        if (writes.len() + events.len()) as u64 >= TOGETHER {
            storage
                .commit(std::mem::take(&mut writes), std::mem::take(&mut events))
                .await?;
        }
    }
    storage.commit(writes, events).await?;
    Ok(all)
}

fn for_each(file: impl BufRead, mut with: impl FnMut(Line)) -> Result<(), BackupError> {
    let mut lines = Lines::new(file);
    while let Some(line) = lines.next()? {
        with(line);
    }
    Ok(())
}

/// The lines of a file, which has to begin, end and count as a backup does.
struct Lines<R> {
    file: R,
    number: u64,
    seen: Contents,
    is_over: bool,
}

impl<R: BufRead> Lines<R> {
    fn new(file: R) -> Self {
        Self {
            file,
            number: 0,
            seen: Contents::default(),
            is_over: false,
        }
    }

    fn next(&mut self) -> Result<Option<Line>, BackupError> {
        let mut text = Vec::new();
        let limit = LINE_BYTES_MAX as u64 + 1;
        let read = io::Read::take(&mut self.file, limit)
            .read_until(b'\n', &mut text)
            .map_err(BackupError::Read)?;
        self.number += 1;
        let line = self.number;
        let damaged = |problem: &str| {
            Err(BackupError::Damaged {
                line,
                problem: problem.to_owned(),
            })
        };
        if read == 0 {
            return if self.is_over {
                Ok(None)
            } else {
                damaged("the file ends here, but a backup does not")
            };
        }
        if self.is_over {
            return damaged("there is more behind the end");
        }
        if read > LINE_BYTES_MAX {
            return damaged("it is too long");
        }
        let parsed: Line = match serde_json::from_slice(&text) {
            Ok(parsed) => parsed,
            Err(error) => return damaged(&error.to_string()),
        };
        match &parsed {
            Line::Backup { form, .. } if line == 1 && *form == FORM => {}
            Line::Backup { form, .. } if line == 1 => return Err(BackupError::Form(*form)),
            Line::Backup { .. } => return damaged("a second beginning"),
            _ if line == 1 => return damaged("this is not a backup"),
            Line::Artifact { .. } => self.seen.artifacts += 1,
            Line::Event(_) => self.seen.events += 1,
            Line::End(told) if *told == self.seen => self.is_over = true,
            Line::End(_) => return damaged("it held more than is here"),
        }
        Ok(Some(parsed))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::{BackupError, Export, import, verify};
    use crate::{EventDraft, EventQuery, Page, Persistence, Write, memory::Memory};

    async fn filled(artifacts: u64, events: u64) -> Arc<Memory> {
        let storage = Arc::new(Memory::new());
        let writes = (0..artifacts).map(|number| Write::Put {
            kind: if number % 2 == 0 { "breeds" } else { "gateways" }.to_owned(),
            name: format!("a/{number}"),
            body: json!({"z": number, "a": "é\n"}),
            expect: None,
        });
        let events = (0..events).map(|number| EventDraft {
            tags: vec![format!("n:{number}")],
            value: json!(number),
            timestamp_ms: number,
            kind: "event".to_owned(),
        });
        storage.commit(writes.collect(), events.collect()).await.unwrap();
        storage
    }

    async fn file(storage: &Arc<Memory>) -> Vec<u8> {
        let mut export = Export::new(Arc::clone(storage) as _, "default", 1);
        let mut file = Vec::new();
        while let Some(piece) = export.next().await.unwrap() {
            file.extend(piece);
        }
        file
    }

    #[tokio::test]
    async fn all_comes_back() {
        let storage = filled(1_203, 1_501).await;
        let file = file(&storage).await;
        let told = verify(&file[..]).unwrap();
        assert_eq!((told.artifacts, told.events), (1_203, 1_501));
        let other = Memory::new();
        assert_eq!(import(&other, &file[..], false).await.unwrap(), told);
        for kind in ["breeds", "gateways"] {
            let (before, _) = storage.list(kind, Page::ALL).await.unwrap();
            let (after, _) = other.list(kind, Page::ALL).await.unwrap();
            let bodies = |all: Vec<crate::Stored>| -> Vec<_> {
                all.into_iter()
                    .map(|stored| (stored.name, stored.body.to_string()))
                    .collect()
            };
            assert_eq!(bodies(before), bodies(after));
        }
        let all = EventQuery::default();
        assert_eq!(
            storage.events(&all, Page::ALL).await.unwrap(),
            other.events(&all, Page::ALL).await.unwrap()
        );
        let refused = import(&other, &file[..], false).await.unwrap_err();
        assert!(matches!(refused, BackupError::NotEmpty(_)), "{refused}");
        import(&other, &file[..], true).await.unwrap();
        assert_eq!(
            other.list("breeds", Page::ALL).await.unwrap().1,
            602,
            "replaced, not doubled"
        );
    }

    #[tokio::test]
    async fn a_file_that_was_cut_or_changed_is_refused() {
        let whole = file(&filled(3, 2).await).await;
        let text = String::from_utf8(whole.clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for cut in 0..whole.len() - 1 {
            assert!(verify(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let without = |line: usize| {
            let mut lines = lines.clone();
            lines.remove(line);
            lines.join("\n")
        };
        for line in 0..lines.len() {
            let refused = verify(without(line).as_bytes()).unwrap_err();
            assert!(
                matches!(refused, BackupError::Damaged { .. }),
                "{line}: {refused}"
            );
        }
        let newer = text.replacen("\"form\":1", "\"form\":2", 1);
        assert!(matches!(verify(newer.as_bytes()), Err(BackupError::Form(2))));
        let more = format!("{text}\n");
        assert!(verify(more.as_bytes()).is_err());
    }
}
