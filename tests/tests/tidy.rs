//! The rules of the repository that a compiler does not know: who may use whom, licences, lints, set-up commands.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Which crates of ours each crate of ours may use (ARCHITECTURE.md, "Arrows"). Nothing else.
const ARROWS: &[(&str, &[&str])] = &[
    ("weir-model", &[]),
    ("weir-proxy", &["weir-model"]),
    ("weir-store", &["weir-model"]),
    ("weir-agent", &["weir-model", "weir-proxy", "weir-store"]),
    ("weir-artifact", &["weir-model"]),
    ("weir-plan", &["weir-model", "weir-artifact"]),
    ("weir-driver", &[]),
    ("weir-driver-process", &["weir-driver"]),
    ("weir-driver-docker", &["weir-driver"]),
    ("weir-persist", &[]),
    ("weir-ui", &[]),
    (
        "weir-control",
        &[
            "weir-model",
            "weir-store",
            "weir-artifact",
            "weir-plan",
            "weir-driver",
            "weir-driver-process",
            "weir-driver-docker",
            "weir-persist",
            "weir-ui",
        ],
    ),
    (
        "weir",
        &[
            "weir-model",
            "weir-store",
            "weir-artifact",
            "weir-agent",
            "weir-proxy",
            "weir-control",
        ],
    ),
];

/// Crates that only exist for tests and measurements may use any other.
const OUTERMOST: &[&str] = &[
    "weir-tests",
    "weir-test-docker",
    "weir-test-service",
    "weir-benches",
    "weir-loadtests",
];

/// What the process that parses hostile bytes must not link (ARCHITECTURE.md, "Invariants").
const NOT_IN_THE_AGENT: &[&str] = &[
    "rusqlite",
    "bollard",
    "kube",
    "rquickjs",
    "weir-artifact",
    "weir-plan",
    "weir-driver",
    "weir-control",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .exec()
        .unwrap()
}

fn workspace(metadata: &Metadata) -> Vec<&Package> {
    metadata.workspace_packages()
}

#[test]
fn arrows_point_down() {
    let metadata = metadata();
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let ours: BTreeSet<String> = workspace(&metadata)
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    let mut wrong = Vec::new();
    for package in workspace(&metadata) {
        if OUTERMOST.contains(&package.name.as_str()) {
            continue;
        }
        let Some(allowed) = allowed.get(package.name.as_str()) else {
            wrong.push(format!("{} is not in the list of arrows", package.name));
            continue;
        };
        for dependency in package
            .dependencies
            .iter()
            .filter(|d| d.kind != DependencyKind::Development)
        {
            if ours.contains(&dependency.name) && !allowed.contains(&dependency.name.as_str()) {
                wrong.push(format!("{} -> {}", package.name, dependency.name));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows that ARCHITECTURE.md does not have: {wrong:#?}"
    );
}

#[test]
fn the_agent_links_no_driver_no_database_and_no_control() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().unwrap();
    let name_of: BTreeMap<_, _> = metadata
        .packages
        .iter()
        .map(|p| (&p.id, p.name.as_str()))
        .collect();
    let start = workspace(&metadata)
        .into_iter()
        .find(|p| p.name.as_str() == "weir-agent")
        .unwrap();
    let mut seen = BTreeSet::new();
    let mut queue = vec![&start.id];
    while let Some(id) = queue.pop() {
        if !seen.insert(id) {
            continue;
        }
        let node = resolve.nodes.iter().find(|node| node.id == *id).unwrap();
        for dependency in &node.deps {
            if dependency
                .dep_kinds
                .iter()
                .any(|kind| kind.kind == DependencyKind::Normal)
            {
                queue.push(&dependency.pkg);
            }
        }
    }
    let linked: Vec<_> = seen
        .iter()
        .map(|id| name_of[id])
        .filter(|name| NOT_IN_THE_AGENT.contains(name))
        .collect();
    assert!(linked.is_empty(), "weir-agent links {linked:?}");
}

/// Stores that a program can leave out. The embedded one and the sharing of it are part of control.
const OPTIONAL_STORES: &[(&str, &[&str])] = &[
    (
        "weir-agent",
        &["embedded", "file", "remote", "etcd", "consul", "zookeeper"],
    ),
    ("weir-control", &["file", "etcd", "consul", "zookeeper"]),
    ("weir", &["file", "etcd", "consul", "zookeeper"]),
];

/// Every program has each store by default, and can be built without any of them: a dependency with default features
/// would bring them all back.
#[test]
fn programs_pass_the_features_of_the_stores_on() {
    let metadata = metadata();
    let packages = workspace(&metadata);
    let find = |name: &str| {
        packages
            .iter()
            .find(|package| package.name.as_str() == name)
            .unwrap()
    };
    let users = ["weir-store", "weir-agent", "weir-control"];
    for (name, stores) in OPTIONAL_STORES {
        let package = find(name);
        let default: BTreeSet<&str> = package.features["default"].iter().map(String::as_str).collect();
        assert_eq!(default, stores.iter().copied().collect(), "{name}");
        let of_ours: Vec<_> = package
            .dependencies
            .iter()
            .filter(|d| d.kind != DependencyKind::Development && users.contains(&d.name.as_str()))
            .collect();
        for dependency in &of_ours {
            assert!(!dependency.uses_default_features, "{name} -> {}", dependency.name);
            for store in *stores {
                let passed = format!("{}/{store}", dependency.name);
                assert!(package.features[*store].contains(&passed), "{name}: {passed}");
                let fixed = dependency.features.iter().any(|feature| feature == store);
                assert!(!fixed, "{name} always has {passed}");
            }
        }
        assert!(
            of_ours.iter().any(|dependency| dependency.name == "weir-store"),
            "{name}"
        );
    }
    let stores = &find("weir-store").features;
    for store in OPTIONAL_STORES[0].1 {
        assert!(stores.contains_key(*store), "{store}");
    }
}

#[test]
fn every_crate_inherits_the_lints() {
    for package in workspace(&metadata()) {
        let manifest = fs::read_to_string(&package.manifest_path).unwrap();
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{} does not inherit the lints",
            package.name
        );
    }
}

/// Licences that may be linked, one by one; the same list is in deny.toml.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// (crate, licence): permissive, looked at one by one.
const LICENCE_EXCEPTIONS: &[(&str, &str)] = &[("notify", "CC0-1.0")];

/// Whether an SPDX expression of `AND`, `OR` and parentheses can be met with the allowed licences.
fn acceptable(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    fn any(
        tokens: &mut std::iter::Peekable<std::vec::IntoIter<String>>,
        allowed: &dyn Fn(&str) -> bool,
    ) -> bool {
        let mut met = all(tokens, allowed);
        while tokens.next_if(|token| token == "OR").is_some() {
            met |= all(tokens, allowed);
        }
        met
    }
    fn all(
        tokens: &mut std::iter::Peekable<std::vec::IntoIter<String>>,
        allowed: &dyn Fn(&str) -> bool,
    ) -> bool {
        let mut met = one(tokens, allowed);
        while tokens.next_if(|token| token == "AND").is_some() {
            met &= one(tokens, allowed);
        }
        met
    }
    fn one(
        tokens: &mut std::iter::Peekable<std::vec::IntoIter<String>>,
        allowed: &dyn Fn(&str) -> bool,
    ) -> bool {
        let Some(token) = tokens.next() else { return false };
        if token == "(" {
            let met = any(tokens, allowed);
            assert_eq!(tokens.next().as_deref(), Some(")"));
            return met;
        }
        let mut licence = token;
        if tokens.next_if(|token| token == "WITH").is_some() {
            licence = format!("{licence} WITH {}", tokens.next().unwrap());
        }
        allowed(&licence)
    }
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let tokens: Vec<String> = spaced.split_whitespace().map(str::to_owned).collect();
    any(&mut tokens.into_iter().peekable(), allowed)
}

#[test]
fn licences_are_permissive() {
    let listed = fs::read_to_string(root().join("deny.toml")).unwrap();
    for licence in LICENCES {
        assert!(
            listed.contains(&format!("\"{licence}\"")),
            "deny.toml does not list {licence}"
        );
    }
    let mut wrong = Vec::new();
    for package in &metadata().packages {
        let expression = package.license.as_deref().unwrap_or("none");
        let allowed = |licence: &str| {
            LICENCES.contains(&licence) || LICENCE_EXCEPTIONS.contains(&(package.name.as_str(), licence))
        };
        if !acceptable(expression, &allowed) {
            wrong.push(format!("{} {}: {expression}", package.name, package.version));
        }
    }
    assert!(wrong.is_empty(), "licences that are not allowed: {wrong:#?}");
}

#[test]
fn licence_expressions_are_read_right() {
    let mit = |licence: &str| licence == "MIT";
    assert!(acceptable("MIT OR GPL-3.0", &mit));
    assert!(acceptable("(MIT OR GPL-3.0) AND MIT", &mit));
    assert!(acceptable("MIT/Apache-2.0", &mit));
    assert!(!acceptable("MIT AND GPL-3.0", &mit));
    assert!(!acceptable("GPL-3.0 WITH Classpath-exception-2.0", &mit));
}

/// Files that a person reads or a machine builds; not what tools left behind.
fn sources(extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !matches!(name.as_str(), "target" | ".git" | "node_modules" | ".weir") {
                    folders.push(path);
                }
            } else if path
                .extension()
                .is_some_and(|e| extensions.contains(&e.to_string_lossy().as_ref()))
            {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn the_readme_begins_with_the_two_set_up_commands() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let commands: Vec<&str> = readme
        .split("```sh\n")
        .skip(1)
        .take(1)
        .flat_map(|block| block.split("```").next().unwrap().lines())
        .map(|line| line.split('#').next().unwrap().trim())
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(commands, ["cargo run --release -- demo", "tests/run"]);
}

#[test]
fn documents_link_to_files_that_exist() {
    let mut wrong = Vec::new();
    for path in sources(&["md"]) {
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            if !path.parent().unwrap().join(file).exists() {
                wrong.push(format!(
                    "{}: {link}",
                    path.strip_prefix(root()).unwrap().display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere: {wrong:#?}");
}

#[test]
fn no_file_holds_two_ideas() {
    const LINES_MAX: usize = 900;
    let mut wrong = Vec::new();
    for path in sources(&["rs", "js"]) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        if lines > LINES_MAX {
            wrong.push(format!(
                "{}: {lines} lines",
                path.strip_prefix(root()).unwrap().display()
            ));
        }
    }
    assert!(wrong.is_empty(), "files over {LINES_MAX} lines: {wrong:#?}");
}
