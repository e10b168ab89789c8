//! Documents that follow one another: what is remembered changes nothing but the cost.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;

use super::{Document, Part, Parts, Reader, Reading, WireError, read};
use crate::{
    Balance, ConditionStrength, Gateway, GatewayName, Generation, Listener, Protocol, Route, RouteName,
    Snapshot, Sticky, Target, Weight,
    wire::v1::{head, tail, write},
};

fn gateway(name: &str, variant: u16) -> Gateway {
    let route = |name: &str, weight| Route {
        name: RouteName::new(name).unwrap(),
        weight: Weight::from_percent(weight).unwrap(),
        condition: None,
        condition_strength: ConditionStrength::ZERO,
        balance: Balance::RoundRobin,
        target: Target::Instances(Vec::new()),
        options: Default::default(),
    };
    let weight = u64::from(variant % 101);
    Gateway {
        name: GatewayName::new(name).unwrap(),
        protocol: Protocol::Http,
        listener: (variant >= 101).then(|| Listener {
            address: "127.0.0.1".parse().unwrap(),
            port: variant,
        }),
        virtual_hosts: vec![format!("{name}.example")],
        sticky: Sticky::None,
        routes: vec![route("a", weight), route("b", 100 - weight)],
        options: Default::default(),
    }
}

/// A snapshot as it lies in a store; texts that are equal to those of before are the same allocations, as from a reader of the
/// store.
fn laid_out(snapshot: &Snapshot, store: &mut BTreeMap<String, Arc<str>>) -> Parts {
    let mut kept = |text: &str| {
        let known = store.entry(text.to_owned()).or_insert_with(|| text.into());
        Arc::clone(known)
    };
    let sections = snapshot.sections().iter().enumerate();
    let sections = sections.map(|(index, section)| Part {
        gateways: section.gateways().len(),
        text: kept(if index == 0 {
            section.text_of_first()
        } else {
            section.text()
        }),
    });
    let sections = sections.collect();
    Parts {
        head: kept(&head(snapshot.namespace())),
        sections,
        tail: kept(&tail(snapshot.generation(), snapshot.digest())),
    }
}

/// As a reader of 1.0 has it.
fn joined(parts: &Parts) -> String {
    let sections = parts.sections.iter().map(|part| &*part.text);
    [&*parts.head]
        .into_iter()
        .chain(sections)
        .chain([&*parts.tail])
        .collect()
}

fn many(count: usize) -> Vec<Gateway> {
    (0..count)
        .map(|number| gateway(&format!("g{number}"), 50))
        .collect()
}

fn snapshot(generation: u64, gateways: Vec<Gateway>) -> Snapshot {
    Snapshot::new("test", Generation(generation), gateways).unwrap()
}

fn assert_same(one: &Reading, other: &Reading) {
    assert_eq!(one.snapshot, other.snapshot);
    assert_eq!((one.digest, &one.refused), (other.digest, &other.refused));
    assert_eq!(write(&one.snapshot), write(&other.snapshot));
}

#[derive(Clone, Debug)]
enum Change {
    Put(u8, u16),
    Remove(u8),
    /// Leads to another gateway, which may not be there.
    Lead(u8, u8),
    Garble(u8),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (any::<u8>(), prop_oneof![0..101_u16, 9000..9004_u16]).prop_map(|(name, variant)| Change::Put(name, variant)),
        2 => any::<u8>().prop_map(Change::Remove),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(from, to)| Change::Lead(from, to)),
        1 => any::<u8>().prop_map(Change::Garble),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever changes, in whatever order: after each step what is read equals what a reader without memory reads, gateways that
    /// stayed are the same allocations, and only sections around what changed are new.
    #[test]
    fn memory_changes_nothing_but_the_cost(steps in prop::collection::vec(prop::collection::vec(change(), 1..4), 1..8)) {
        let mut world: BTreeMap<String, Gateway> = many(120).into_iter().map(|gateway| (gateway.name.to_string(), gateway)).collect();
        let (mut reader, mut store) = (Reader::default(), BTreeMap::new());
        let mut written = snapshot(1, world.values().cloned().collect());
        let mut seen: Option<Reading> = None;
        let mut whole_reader = Reader::default();
        for (generation, step) in (2..).zip(steps) {
            let mut touched = Vec::new();
            let mut garbled = Vec::new();
            for change in step {
                let name = |number: u8| format!("g{}", u16::from(number) * 2);
                let (number, new) = match change {
                    Change::Put(number, variant) => (number, Some(gateway(&name(number), variant))),
                    Change::Remove(number) => (number, None),
                    Change::Lead(from, to) => {
                        let mut leading = gateway(&name(from), 50);
                        leading.routes[0].target = Target::Gateway(GatewayName::new(name(to)).unwrap());
                        (from, Some(leading))
                    }
                    Change::Garble(number) => {
                        garbled.push(name(number));
                        continue;
                    }
                };
                touched.push(name(number));
                match new {
                    Some(new) => world.insert(name(number), new),
                    None => world.remove(&name(number)),
                };
            }
            let gateways: Vec<Gateway> = world.values().cloned().collect();
            let (alone, alone_refused) = Snapshot::sound_part("test", Generation(generation), gateways.clone());
            let (next, refused) = Snapshot::sound_part_after(&written, "test", Generation(generation), gateways);
            prop_assert_eq!(&next, &alone);
            prop_assert_eq!(refused, alone_refused);
            prop_assert_eq!(write(&next), write(&alone));
            let before: Vec<_> = written.sections().iter().map(|section| section.sha256()).collect();
            let new = next.sections().iter().filter(|section| !before.contains(&section.sha256())).count();
            // A change cuts at most three sections anew: it can take a boundary away, or set one.
            let sound_changes = written.gateways().iter().filter(|old| next.gateway(old.name.as_str()).is_none_or(|now| !Arc::ptr_eq(now, old))).count()
                + next.gateways().iter().filter(|now| written.gateway(now.name.as_str()).is_none()).count();
            prop_assert!(new <= 3 * sound_changes + 1, "{new} new sections of {sound_changes} changes");

            let mut parts = laid_out(&next, &mut store);
            // A gateway that this program cannot read, with the digest that it gives.
            for name in &garbled {
                for part in &mut parts.sections {
                    let (from, to) = (format!("{{\"name\":\"{name}\","), format!("{{\"name\":\"{name}\",\"sticky\":\"?\","));
                    if part.text.contains(&from) {
                        part.text = part.text.replacen(&from, &to, 1).into();
                    }
                }
            }
            if let Err(WireError::Digest { stated, actual }) = read(joined(&parts).as_bytes()) {
                parts.tail = parts.tail.replace(&stated.to_string(), &actual.to_string()).into();
            }
            let plain = read(joined(&parts).as_bytes()).unwrap();
            prop_assert_eq!(garbled.iter().any(|name| next.gateway(name).is_some()), !plain.refused.is_empty());
            let reading = reader.read(&Document::Parts(parts.clone())).unwrap();
            assert_same(&reading, &plain);
            assert_same(&whole_reader.read(&Document::Whole(joined(&parts).into_bytes())).unwrap(), &plain);
            if let Some(seen) = &seen {
                for old in seen.snapshot.gateways() {
                    if let Some(now) = reading.snapshot.gateway(old.name.as_str()) {
                        prop_assert_eq!(**now == **old, Arc::ptr_eq(now, old), "{}", old.name);
                    }
                }
            }
            seen = Some(reading);
            written = next;
        }
    }
}

#[test]
fn a_number_of_gateways_has_few_sections_and_a_change_touches_one() {
    for count in [100_usize, 1_000, 5_000] {
        let first = snapshot(1, many(count));
        let sections = first.sections().len();
        assert!(
            (count / 128..=160).contains(&sections),
            "{sections} sections of {count}"
        );
        let mut gateways = many(count);
        gateways[count / 2].routes.reverse();
        let (second, _) = Snapshot::sound_part_after(&first, "test", Generation(2), gateways.clone());
        let shared = |second: &Snapshot| {
            let is_old = |section: &&_| first.sections().iter().any(|old| Arc::ptr_eq(old, section));
            second.sections().iter().filter(is_old).count()
        };
        assert_eq!(shared(&second), sections - 1);
        // Cut by whoever, it is cut alike.
        let alone = snapshot(2, gateways.clone());
        let texts = |snapshot: &Snapshot| {
            snapshot
                .sections()
                .iter()
                .map(|section| section.text().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(texts(&second), texts(&alone));
        gateways.remove(count / 3);
        let (third, _) = Snapshot::sound_part_after(&first, "test", Generation(3), gateways);
        assert!(shared(&third) >= sections - 4);
    }
}

#[test]
fn long_gateways_fill_a_section_and_names_cannot_make_thousands() {
    let long = |number: usize| {
        let mut long = gateway(&format!("g{number}"), 50);
        long.virtual_hosts
            .push(format!("{number}{}", "x".repeat(200_000)));
        long
    };
    let first = snapshot(1, (0..40).map(long).collect());
    assert!(
        first
            .sections()
            .iter()
            .all(|section| section.text().len() < 600_000)
    );
    let all: usize = first
        .sections()
        .iter()
        .map(|section| section.gateways().len())
        .sum();
    assert_eq!(all, 40);
}

fn parts_of(count: usize) -> Parts {
    laid_out(&snapshot(7, many(count)), &mut BTreeMap::new())
}

#[test]
fn parts_that_are_not_what_they_are_said_to_be_are_refused() {
    type Spoil = fn(&mut Parts);
    let cases: [(&str, Spoil); 12] = [
        ("one gateway less", |parts| parts.sections[1].gateways -= 1),
        ("one gateway more", |parts| parts.sections[1].gateways += 1),
        ("no gateways", |parts| {
            parts.sections[1].gateways = 0;
            parts.sections[1].text = "".into();
        }),
        ("a section twice", |parts| {
            let again = parts.sections[1].clone();
            parts.sections.insert(1, again);
        }),
        ("a section less", |parts| drop(parts.sections.remove(1))),
        ("sections in another order", |parts| parts.sections.swap(1, 2)),
        ("white space", |parts| {
            parts.sections[1].text = parts.sections[1].text.replacen(",{", ", {", 1).into();
        }),
        ("no comma", |parts| {
            parts.sections[1].text = parts.sections[1].text.replacen(',', "", 1).into();
        }),
        ("the list ends within a section", |parts| {
            parts.sections[1].text = format!("{}],\"x\":[{{}}", parts.sections[1].text).into();
        }),
        ("another list", |parts| {
            parts.head = parts.head.replace("\"gateways\"", "\"others\"").into();
        }),
        ("a list within something else", |parts| {
            parts.head = format!("{{\"x\":{}", parts.head).into();
            parts.tail = format!("{}}}", parts.tail).into();
        }),
        ("a second list", |parts| {
            parts.tail = parts.tail.replace("],", "],\"gateways\":[],").into();
        }),
    ];
    let mut knowing = Reader::default();
    knowing.read(&Document::Parts(parts_of(200))).unwrap();
    for (what, spoil) in cases {
        let mut parts = parts_of(200);
        spoil(&mut parts);
        for reader in [&mut Reader::default(), &mut knowing] {
            let refused = reader.read(&Document::Parts(parts.clone()));
            assert!(refused.is_err(), "{what}");
        }
    }
    // What was read before is remembered all the same.
    let again = knowing.read(&Document::Parts(parts_of(200))).unwrap();
    assert_same(&again, &read(joined(&parts_of(200)).as_bytes()).unwrap());
}

#[test]
fn what_was_on_disk_is_known() {
    let first = snapshot(1, many(50));
    let mut reader = Reader::after(first.clone());
    let reading = reader
        .read(&Document::Whole(write(&snapshot(2, many(51)))))
        .unwrap();
    let shared = reading.snapshot.gateways().iter().zip(first.gateways());
    assert!(shared.into_iter().all(|(now, old)| Arc::ptr_eq(now, old)));
}
