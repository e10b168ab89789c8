//! Reading documents, whole or in parts, one after the other.
//!
//! **Job.** A [`Reader`] remembers what it read last: of the next document it parses only gateways whose text is new, and gives all
//! others as the same allocations, so that whoever compares two snapshots sees at a glance what changed.
//!
//! **Invariants.** What is read does not depend on what is remembered: a reader that remembers nothing gives an equal
//! snapshot, the same digest and the same refusals. A document in parts gives what the parts put together give; parts
//! that are not what they are said to be are refused. The digest is computed over every gateway's text each time.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    Gateway, WireError,
    section::{Section, Text, digest, identity},
};
use crate::{Digest, Generation, Refusal, Snapshot, SnapshotProblemKind};

/// A document as it lies in a store.
#[derive(Clone, Debug)]
pub enum Document {
    /// One text.
    Whole(Vec<u8>),
    /// A text in parts.
    Parts(Parts),
}

/// A document in parts: put together they are its text.
#[derive(Clone, Debug)]
pub struct Parts {
    /// From the beginning to the bracket that opens the list of gateways.
    pub head: Arc<str>,
    /// The gateways.
    pub sections: Vec<Part>,
    /// From the bracket that closes the list of gateways to the end.
    pub tail: Arc<str>,
}

/// Whole gateways of a document.
#[derive(Clone, Debug)]
pub struct Part {
    /// How many gateways it is said to have; at least one.
    pub gateways: usize,
    /// Gateways with a comma between them, and one before the first of them if another part is before it; no white
    /// space around gateways. A part that is the same allocation as in the document before is not read again.
    pub text: Arc<str>,
}

/// A document that was read: what can be served, and what cannot and why.
#[derive(Debug)]
pub struct Reading {
    /// The gateways that are sound. Its digest is the document's only if nothing was refused.
    pub snapshot: Snapshot,
    /// Digest of the whole document.
    pub digest: Digest,
    /// Gateways that were refused.
    pub refused: Vec<Refusal>,
}

/// Reads documents that follow one another.
#[derive(Debug, Default)]
pub struct Reader {
    known: Vec<Arc<Known>>,
    /// What was read last.
    before: Option<Snapshot>,
}

/// A part that was read.
#[derive(Debug)]
struct Known {
    /// As it was given: holding it keeps its address its own.
    given: Arc<str>,
    is_first: bool,
    texts: Arc<str>,
    ends: Box<[usize]>,
    outcomes: Vec<Result<Arc<crate::Gateway>, Fault>>,
    /// If every gateway could be read.
    section: Option<Arc<Section>>,
}

/// Why a gateway could not be read.
#[derive(Clone, Debug)]
struct Fault {
    name: Option<String>,
    reason: String,
}

/// What is around the gateways.
struct Frame {
    namespace: String,
    generation: Generation,
    digest: Digest,
}

/// Where gateways may be that have the same text.
struct OldGateways<'t>(HashMap<&'t str, &'t Arc<crate::Gateway>>);

impl Reader {
    /// A reader that has this snapshot from elsewhere.
    pub fn after(snapshot: Snapshot) -> Self {
        Self {
            known: Vec::new(),
            before: Some(snapshot),
        }
    }

    /// Reads a document.
    ///
    /// # Errors
    /// [`WireError`] when the document as a whole is unusable (what was read before is still remembered then); faults of
    /// single gateways are in [`Reading::refused`].
    pub fn read(&mut self, document: &Document) -> Result<Reading, WireError> {
        match document {
            Document::Whole(bytes) => self.read_whole(bytes),
            Document::Parts(parts) => self.read_parts(parts),
        }
    }

    /// Reads a document that is one text.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn read_whole(&mut self, bytes: &[u8]) -> Result<Reading, WireError> {
        let document = parse(bytes)?;
        let frame = Frame {
            namespace: document.namespace,
            generation: document.generation,
            digest: document.digest,
        };
        let texts: Vec<&str> = document.gateways.iter().map(|raw| raw.get()).collect();
        let pieces = texts
            .iter()
            .enumerate()
            .flat_map(|(index, text)| [if index == 0 { "" } else { "," }, text]);
        frame.check(digest(pieces))?;
        let before = self.before.take();
        let reading = {
            let old = OldGateways::of(before.iter().flat_map(|before| before.text().sections()));
            let outcomes = texts.iter().map(|text| old.read(text)).collect();
            frame.sealed(outcomes, &texts, before.as_ref())
        };
        self.known.clear();
        self.before = Some(reading.snapshot.clone());
        Ok(reading)
    }

    fn read_parts(&mut self, parts: &Parts) -> Result<Reading, WireError> {
        let frame = Frame::around(parts)?;
        let known = self.take_known(parts)?;
        frame.check(digest(known.iter().map(|part| part.piece())))?;
        let sections: Option<Vec<Arc<Section>>> = known.iter().map(|part| part.section.clone()).collect();
        let reading = match sections.and_then(|sections| frame.whole(sections, self.before.as_ref())) {
            Some(reading) => reading,
            None => {
                let outcomes = known
                    .iter()
                    .flat_map(|part| part.outcomes.iter().cloned())
                    .collect();
                let texts = known
                    .iter()
                    .flat_map(|part| super::section::texts(&part.texts, &part.ends));
                let texts: Vec<&str> = texts.collect();
                frame.sealed(outcomes, &texts, self.before.as_ref())
            }
        };
        self.known = known;
        self.before = Some(reading.snapshot.clone());
        Ok(reading)
    }

    /// The parts of a document: those of before as they were read, the others read now.
    fn take_known(&self, parts: &Parts) -> Result<Vec<Arc<Known>>, WireError> {
        let by_identity: HashMap<(usize, bool), &Arc<Known>> = self
            .known
            .iter()
            .map(|known| ((identity_of_text(&known.given), known.is_first), known))
            .collect();
        let mut found = Vec::with_capacity(parts.sections.len());
        let mut kept = HashSet::new();
        for (index, part) in parts.sections.iter().enumerate() {
            let key = (identity_of_text(&part.text), index == 0);
            let known = by_identity.get(&key).copied();
            if let Some(section) = known.and_then(|known| known.section.as_ref()) {
                kept.insert(identity(section));
            }
            found.push(known);
        }
        let mut old = None;
        let mut read = Vec::with_capacity(found.len());
        for (index, (part, known)) in parts.sections.iter().zip(found).enumerate() {
            let known = match known {
                Some(known) if known.outcomes.len() == part.gateways => Arc::clone(known),
                _ => {
                    // Gateways that are not where they were are looked for where something has vanished.
                    let old = old.get_or_insert_with(|| {
                        let before = self.before.iter().flat_map(|before| before.text().sections());
                        OldGateways::of(before.filter(|section| !kept.contains(&identity(section))))
                    });
                    Arc::new(Known::read(part, index == 0, old)?)
                }
            };
            read.push(known);
        }
        Ok(read)
    }
}

/// Reads a document.
///
/// # Errors
/// [`WireError`] when the document as a whole is unusable; faults of single gateways are in
/// [`Reading::refused`].
pub fn read(bytes: &[u8]) -> Result<Reading, WireError> {
    Reader::default().read_whole(bytes)
}

#[derive(Deserialize)]
struct WholeDocument<'a> {
    version: String,
    namespace: String,
    generation: Generation,
    digest: Digest,
    #[serde(borrow)]
    gateways: Vec<&'a RawValue>,
}

fn parse(bytes: &[u8]) -> Result<WholeDocument<'_>, WireError> {
    #[derive(Deserialize)]
    struct Version {
        version: String,
    }
    match serde_json::from_slice::<WholeDocument<'_>>(bytes) {
        Ok(document) => {
            check_version(&document.version)?;
            Ok(document)
        }
        Err(error) => {
            // Another version may have another shape.
            if let Ok(Version { version }) = serde_json::from_slice(bytes) {
                check_version(&version)?;
            }
            Err(error.into())
        }
    }
}

fn check_version(version: &str) -> Result<(), WireError> {
    if version.split('.').next() == Some("1") {
        Ok(())
    } else {
        Err(WireError::Version(version.chars().take(20).collect()))
    }
}

impl Frame {
    /// What is around the sections. Head and tail must be members of one object each, so that the list of gateways is
    /// where it seems to be.
    fn around(parts: &Parts) -> Result<Self, WireError> {
        let wrong = |what| WireError::Parts(what);
        let before = parts
            .head
            .strip_suffix(super::OPENING)
            .ok_or(wrong("the head does not end where the list of gateways begins"))?;
        let after = parts
            .tail
            .strip_prefix(super::CLOSING)
            .ok_or(wrong("the tail does not begin where the list of gateways ends"))?;
        serde_json::from_str::<HashMap<String, IgnoredAny>>(&format!("{before}}}"))?;
        serde_json::from_str::<HashMap<String, IgnoredAny>>(&format!("{{{after}"))?;
        // Read as one, so that a member that is there twice is seen.
        let around = [&*parts.head, &*parts.tail].concat();
        let document = parse(around.as_bytes())?;
        Ok(Self {
            namespace: document.namespace,
            generation: document.generation,
            digest: document.digest,
        })
    }

    fn check(&self, actual: Digest) -> Result<(), WireError> {
        if actual == self.digest {
            return Ok(());
        }
        Err(WireError::Digest {
            stated: self.digest,
            actual,
        })
    }

    /// The reading if nothing is to be refused.
    fn whole(&self, sections: Vec<Arc<Section>>, before: Option<&Snapshot>) -> Option<Reading> {
        let text = Text::as_read(sections);
        let snapshot = Snapshot::of_text(self.namespace.clone(), self.generation, text, self.digest, before)?;
        Some(Reading {
            snapshot,
            digest: self.digest,
            refused: Vec::new(),
        })
    }

    /// The reading of gateways that have these texts.
    fn sealed(
        self,
        outcomes: Vec<Result<Arc<crate::Gateway>, Fault>>,
        texts: &[&str],
        before: Option<&Snapshot>,
    ) -> Reading {
        let mut gateways = Vec::with_capacity(outcomes.len());
        let mut sound_texts = Vec::with_capacity(outcomes.len());
        let mut refused = Vec::new();
        for (index, (outcome, text)) in outcomes.into_iter().zip(texts).enumerate() {
            match outcome {
                Ok(gateway) => {
                    gateways.push(gateway);
                    sound_texts.push(*text);
                }
                Err(fault) => refused.push(Refusal {
                    // The empty name would mean the whole document.
                    gateway: fault.name.unwrap_or_else(|| format!("#{index}")),
                    reason: fault.reason,
                }),
            }
        }
        let digest = refused.is_empty().then_some(self.digest);
        let (snapshot, problems) = Snapshot::sound_part_of_texts(
            self.namespace,
            self.generation,
            gateways,
            &sound_texts,
            digest,
            before,
        );
        let unreadable: HashSet<String> = refused.iter().map(|refusal| refusal.gateway.clone()).collect();
        refused.extend(problems.into_iter().map(|problem| Refusal {
            gateway: problem.gateway.to_string(),
            reason: match problem.kind {
                SnapshotProblemKind::UnknownTarget { route, target }
                    if unreadable.contains(target.as_str()) =>
                {
                    SnapshotProblemKind::RefusedTarget { route, target }.to_string()
                }
                kind => kind.to_string(),
            },
        }));
        Reading {
            snapshot,
            digest: self.digest,
            refused,
        }
    }
}

impl<'t> OldGateways<'t> {
    fn of(sections: impl Iterator<Item = &'t Arc<Section>>) -> Self {
        let each = sections.flat_map(|section| section.each());
        Self(each.map(|(gateway, text)| (text, gateway)).collect())
    }

    /// The gateway of this text.
    fn read(&self, text: &str) -> Result<Arc<crate::Gateway>, Fault> {
        if let Some(gateway) = self.0.get(text) {
            return Ok(Arc::clone(gateway));
        }
        let outcome = serde_json::from_str::<Gateway>(text)
            .map_err(|error| error.to_string())
            .and_then(|wire| crate::Gateway::try_from(wire).map_err(|error| error.to_string()));
        outcome.map(Arc::new).map_err(|reason| Fault {
            name: name_in(text),
            reason,
        })
    }
}

impl Known {
    fn read(part: &Part, is_first: bool, old: &OldGateways<'_>) -> Result<Self, WireError> {
        let texts: Arc<str> = if is_first {
            format!(",{}", part.text).into()
        } else {
            Arc::clone(&part.text)
        };
        let inner = texts
            .strip_prefix(',')
            .ok_or(WireError::Parts("a section does not begin with a comma"))?;
        let list = format!("[{inner}]");
        let raw: Vec<&RawValue> = serde_json::from_str(&list)?;
        if raw.is_empty() || raw.len() != part.gateways {
            return Err(WireError::Parts(
                "a section has another number of gateways than it is said to have",
            ));
        }
        let mut end = 0;
        let ends: Box<[usize]> = raw
            .iter()
            .map(|raw| {
                end += 1 + raw.get().len();
                end
            })
            .collect();
        if end != texts.len() {
            return Err(WireError::Parts(
                "there is more between the gateways of a section than a comma",
            ));
        }
        let outcomes: Vec<_> = raw.iter().map(|raw| old.read(raw.get())).collect();
        let gateways: Option<Box<[_]>> = outcomes
            .iter()
            .map(|outcome| outcome.as_ref().ok().cloned())
            .collect();
        let section =
            gateways.map(|gateways| Arc::new(Section::new(Arc::clone(&texts), ends.clone(), gateways)));
        Ok(Self {
            given: Arc::clone(&part.text),
            is_first,
            texts,
            ends,
            outcomes,
            section,
        })
    }

    /// As it stands in the document.
    fn piece(&self) -> &str {
        &self.given
    }
}

fn identity_of_text(text: &Arc<str>) -> usize {
    Arc::as_ptr(text).cast::<u8>().addr()
}

fn name_in(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Name {
        name: String,
    }
    let Name { name } = serde_json::from_str(text).ok()?;
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests;
