//! Gateways as text, cut into sections, so that a change of one gateway is a change of one section.
//!
//! **Job.** [`Text`] is what the gateways of one snapshot are on the wire. A snapshot that follows another shares every
//! section that it has in common with it: its text, its hash and its gateways.
//!
//! **Invariants.** A section is whole gateways, each with a comma before it and no white space around it. Where sections
//! begin follows from the names of the gateways (and, within a long run of them, from lengths), not from their number or
//! from what came before: a gateway that comes or goes moves no boundary but its own.
//!
//! **Absent.** The meaning of the text ([`super`]), and how sections are packed and named in a store (`weir-store`).

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use sha2::{Digest as _, Sha256};

use crate::{Digest, Gateway};

/// Fewest gateways to a section, on average.
const SPACING_MIN: usize = 16;
/// Names that would need more than this to a section are cut as they are.
const SPACING_MAX: usize = 1 << 30;
/// Sections aimed at: at most so many, on average.
const SECTIONS_AIM: usize = 96;
/// As long as there are between these many sections on average, the spacing of before stays: a number of gateways that goes to
/// and fro does not cut everything anew.
const SECTIONS_KEPT: std::ops::RangeInclusive<usize> = 24..=160;
/// More sections than this by name (names that were chosen to that end): the spacing grows.
const SECTIONS_MAX: usize = 256;
/// A section that has become as long as this in bytes ends there, whatever the names.
const SECTION_BYTES_MAX: usize = 256 * 1024;

/// Whole gateways and their text.
#[derive(Debug)]
pub struct Section {
    /// `,{..},{..}`
    text: Arc<str>,
    /// Where each gateway's text ends; a comma and the next one follow.
    ends: Box<[usize]>,
    gateways: Box<[Arc<Gateway>]>,
    sha256: OnceLock<[u8; 32]>,
}

impl Section {
    /// `text` is the gateways, each with a comma before it; `ends` says where each of them ends.
    pub(super) fn new(text: Arc<str>, ends: Box<[usize]>, gateways: Box<[Arc<Gateway>]>) -> Self {
        debug_assert!(text.starts_with(',') && ends.last() == Some(&text.len()));
        debug_assert_eq!(ends.len(), gateways.len());
        Self {
            text,
            ends,
            gateways,
            sha256: OnceLock::new(),
        }
    }

    /// Its gateways as JSON, each with a comma before it: as it stands in a document after another section.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// As it stands in a document as the first section: without the first comma.
    pub fn text_of_first(&self) -> &str {
        self.text.get(1..).unwrap_or_default()
    }

    /// SHA-256 of [`Section::text`].
    pub fn sha256(&self) -> [u8; 32] {
        *self
            .sha256
            .get_or_init(|| Sha256::digest(self.text.as_bytes()).into())
    }

    /// Its gateways, in order; never empty.
    pub fn gateways(&self) -> &[Arc<Gateway>] {
        &self.gateways
    }

    /// Each gateway with its text.
    pub(super) fn each(&self) -> impl Iterator<Item = (&Arc<Gateway>, &str)> {
        let texts = texts(&self.text, &self.ends);
        self.gateways.iter().zip(texts)
    }
}

/// The gateways' texts between their commas.
pub(super) fn texts<'t>(text: &'t str, ends: &'t [usize]) -> impl Iterator<Item = &'t str> {
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts
        .zip(ends)
        .map(|(start, end)| text.get(start + 1..*end).unwrap_or_default())
}

/// What the gateways of a snapshot are on the wire. A copy costs nothing.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    sections: Arc<[Arc<Section>]>,
    /// Gateways to a section by name, on average: a power of two.
    spacing: usize,
    /// Bytes of all sections, the comma before the first one not counted.
    bytes: usize,
}

impl Text {
    /// The text of these gateways, shared with `before` as far as its gateways are the same allocations. `known` gives
    /// the text of others, if it is known already.
    pub(crate) fn of<'t>(
        gateways: &[Arc<Gateway>],
        before: Option<&Text>,
        known: impl Fn(usize) -> Option<&'t str>,
    ) -> Self {
        let (spacing, starts) = starts(gateways, before.map(|before| before.spacing));
        let old = before.map_or(&[][..], |before| &*before.sections);
        let old_by_first: HashMap<usize, &Arc<Section>> = old
            .iter()
            .filter_map(|section| Some((identity(section.gateways.first()?), section)))
            .collect();
        let mut old_texts = OldTexts::of(old);
        let mut sections = Vec::with_capacity(starts.len());
        let ends = starts.iter().copied().skip(1).chain([gateways.len()]);
        for (start, end) in starts.iter().copied().zip(ends) {
            let mut rest = start..end;
            while let Some(run) = gateways.get(rest.clone()).filter(|run| !run.is_empty()) {
                let section = same_in(&old_by_first, run).unwrap_or_else(|| {
                    let text_of = |index: usize, gateway: &Arc<Gateway>| match known(rest.start + index) {
                        Some(text) => std::borrow::Cow::Borrowed(text),
                        None => old_texts.get(gateway),
                    };
                    Arc::new(composed(run, text_of))
                });
                rest.start += section.gateways.len();
                sections.push(section);
            }
        }
        Self::from_sections(sections, spacing)
    }

    /// These sections as they stand in a document.
    pub(super) fn as_read(sections: Vec<Arc<Section>>) -> Self {
        let count = sections.iter().map(|section| section.gateways.len()).sum();
        Self::from_sections(sections, spacing(count))
    }

    fn from_sections(sections: Vec<Arc<Section>>, spacing: usize) -> Self {
        let bytes: usize = sections.iter().map(|section| section.text.len()).sum();
        Self {
            sections: sections.into(),
            spacing,
            bytes: bytes.saturating_sub(1),
        }
    }

    pub(crate) fn sections(&self) -> &[Arc<Section>] {
        &self.sections
    }

    /// The list `gateways` without its brackets, in pieces.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &str> {
        let first = self
            .sections
            .iter()
            .take(1)
            .map(|section| section.text_of_first());
        first.chain(self.sections.iter().skip(1).map(|section| &**section.text()))
    }

    /// Bytes of all pieces.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Digest of the list `gateways`.
    pub(crate) fn digest(&self) -> Digest {
        digest(self.pieces())
    }
}

/// Digest of a list of gateways that stands in these pieces.
pub(super) fn digest<'t>(pieces: impl Iterator<Item = &'t str>) -> Digest {
    let inner = pieces.map(str::as_bytes);
    Digest::of_pieces([&b"["[..]].into_iter().chain(inner).chain([&b"]"[..]]))
}

/// What tells one allocation from another while both are held.
pub(super) fn identity<T>(held: &Arc<T>) -> usize {
    Arc::as_ptr(held).addr()
}

/// The section of before that these gateways begin with, if one is the same as cutting them anew would give.
fn same_in(old_by_first: &HashMap<usize, &Arc<Section>>, run: &[Arc<Gateway>]) -> Option<Arc<Section>> {
    let section = *old_by_first.get(&identity(run.first()?))?;
    let same = run.get(..section.gateways.len())?;
    let is_cut_here = same.len() == run.len() || section.text.len() >= SECTION_BYTES_MAX;
    let is_same = same.iter().zip(&section.gateways).all(|(a, b)| Arc::ptr_eq(a, b));
    (is_cut_here && is_same).then(|| Arc::clone(section))
}

/// The texts of gateways of before, by allocation; made when the first is asked for.
struct OldTexts<'t> {
    sections: &'t [Arc<Section>],
    by_identity: Option<HashMap<usize, &'t str>>,
}

impl<'t> OldTexts<'t> {
    fn of(sections: &'t [Arc<Section>]) -> Self {
        Self {
            sections,
            by_identity: None,
        }
    }

    fn get(&mut self, gateway: &Arc<Gateway>) -> std::borrow::Cow<'t, str> {
        let sections = self.sections;
        let by_identity = self.by_identity.get_or_insert_with(|| {
            let each = sections.iter().flat_map(|section| section.each());
            each.map(|(gateway, text)| (identity(gateway), text)).collect()
        });
        match by_identity.get(&identity(gateway)) {
            Some(text) => std::borrow::Cow::Borrowed(text),
            None => std::borrow::Cow::Owned(super::gateway_text(gateway)),
        }
    }
}

/// A section of as many of these gateways as fit into one.
fn composed<'t>(
    run: &[Arc<Gateway>],
    mut text_of: impl FnMut(usize, &Arc<Gateway>) -> std::borrow::Cow<'t, str>,
) -> Section {
    let mut text = String::new();
    let mut ends = Vec::with_capacity(run.len());
    for (index, gateway) in run.iter().enumerate() {
        text.push(',');
        text.push_str(&text_of(index, gateway));
        ends.push(text.len());
        if text.len() >= SECTION_BYTES_MAX {
            break;
        }
    }
    let gateways = run.iter().take(ends.len()).cloned().collect();
    Section::new(text.into(), ends.into(), gateways)
}

/// Where sections begin by name, and with what spacing.
fn starts(gateways: &[Arc<Gateway>], before: Option<usize>) -> (usize, Vec<usize>) {
    let kept = before.filter(|spacing| {
        *spacing == SPACING_MIN && gateways.len() <= SPACING_MIN * SECTIONS_AIM
            || SECTIONS_KEPT.contains(&(gateways.len() / spacing.max(&1)))
    });
    let mut spacing = kept.unwrap_or_else(|| spacing(gateways.len()));
    let hashes: Vec<u64> = gateways
        .iter()
        .map(|gateway| hash(gateway.name.as_str()))
        .collect();
    loop {
        let mask = (spacing as u64).wrapping_sub(1);
        let begins = |(index, hash): (usize, &u64)| (index == 0 || hash & mask == 0).then_some(index);
        let starts: Vec<usize> = hashes.iter().enumerate().filter_map(begins).collect();
        if starts.len() <= SECTIONS_MAX || spacing >= SPACING_MAX {
            return (spacing, starts);
        }
        spacing *= 2;
    }
}

/// Gateways to a section for so many: a power of two.
fn spacing(gateways: usize) -> usize {
    gateways
        .div_ceil(SECTIONS_AIM)
        .next_power_of_two()
        .max(SPACING_MIN)
}

/// FNV-1a with a last mix (that of MurmurHash3), since only the lowest bits count. It must stay as it is: another function
/// would cut everything anew once.
fn hash(name: &str) -> u64 {
    let fnv = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    mixed ^ (mixed >> 33)
}
