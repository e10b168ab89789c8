//! Documents and what becomes of them: `testdata/good/*.txt` to JSON, `testdata/bad/*.txt` to problems.
//! A section begins with `=== title`; places count from the line after it.

#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

mod deploy;
mod imports;
mod warnings;

use std::{collections::BTreeSet, fmt::Write, fs, path::Path};

use weir_artifact::{Artifact, Kind, Problem, read, write};

fn sections(folder: &str, name: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(folder)
        .join(name);
    let text = fs::read_to_string(path.with_extension("txt")).unwrap();
    let sections = format!("\n{text}");
    sections
        .split("\n=== ")
        .skip(1)
        .map(|section| {
            let (title, body) = section.split_once('\n').unwrap();
            (title.to_owned(), format!("{body}\n"))
        })
        .collect()
}

fn snapshot(folder: &str, name: &str, content: String) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(format!("../../testdata/{folder}"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, content));
}

fn good(kind: Kind) {
    let mut out = String::new();
    for (title, text) in sections("good", kind.singular()) {
        let artifact = read::one(kind, &text).unwrap_or_else(|problems| panic!("{title}: {problems:#?}"));
        let value = write::value(&artifact);
        writeln!(
            out,
            "=== {title}\n{}",
            serde_json::to_string_pretty(&value).unwrap()
        )
        .unwrap();
        same(kind, &artifact, &title);
    }
    snapshot("good", kind.singular(), out);
}

/// What is written reads back, in every way in which it is read.
fn same(kind: Kind, artifact: &Artifact, title: &str) {
    let value = write::value(artifact);
    let mut expected = artifact.clone();
    match &mut expected {
        Artifact::Gateway(gateway) => {
            for route in gateway.routes.values_mut() {
                if let weir_artifact::OrReference::Inline(route) = route {
                    route.targets.clear();
                }
            }
        }
        Artifact::Route(route) => route.route.targets.clear(),
        _ => {}
    }
    assert_eq!(
        read::one(kind, &value.to_string()).as_ref(),
        Ok(&expected),
        "{title}: JSON"
    );
    let yaml = write::yaml(&value);
    assert_eq!(
        read::one(kind, &yaml).as_ref(),
        Ok(&expected),
        "{title}: YAML\n{yaml}"
    );
    assert_eq!(
        read::stored(kind, &value).as_ref(),
        Ok(&expected),
        "{title}: stored"
    );
    assert_eq!(read::many(&yaml).as_ref(), Ok(&vec![expected]), "{title}: many");
}

fn listed(problems: &[Problem]) -> String {
    let mut out = String::new();
    for problem in problems {
        let place = problem
            .position
            .map_or("-".to_owned(), |p| format!("{}:{}", p.line, p.column));
        write!(
            out,
            "{place} {} {}: {}",
            problem.code, problem.path, problem.message
        )
        .unwrap();
        if let Some(hint) = &problem.hint {
            write!(out, " ({hint})").unwrap();
        }
        out.push('\n');
    }
    out
}

fn bad(name: &str, problems_of: impl Fn(&str) -> Vec<Problem>) -> BTreeSet<&'static str> {
    let mut out = String::new();
    let mut codes = BTreeSet::new();
    for (title, text) in sections("bad", name) {
        let problems = problems_of(&text);
        assert!(!problems.is_empty(), "{title}");
        codes.extend(problems.iter().map(|problem| problem.code));
        writeln!(out, "=== {title}\n{}", listed(&problems)).unwrap();
    }
    snapshot("bad", name, out);
    codes
}

#[test]
fn good_breeds() {
    good(Kind::Breed);
}

#[test]
fn good_scales() {
    good(Kind::Scale);
}

#[test]
fn good_conditions() {
    good(Kind::Condition);
}

#[test]
fn good_gateways() {
    good(Kind::Gateway);
}

#[test]
fn good_blueprints() {
    good(Kind::Blueprint);
}

#[test]
fn good_slas() {
    good(Kind::Sla);
}

#[test]
fn good_escalations() {
    good(Kind::Escalation);
}

#[test]
fn good_routes() {
    good(Kind::Route);
}

#[test]
fn good_rewrites() {
    good(Kind::Rewrite);
}

#[test]
fn good_workflows() {
    good(Kind::Workflow);
}

#[test]
fn good_templates() {
    good(Kind::Template);
}

#[test]
fn good_deployments() {
    good(Kind::Deployment);
}

/// Every error of the language, each found at least once in `testdata/bad`.
const CODES: &[&str] = &[
    "ConditionPortTypeError",
    "DuplicateGatewayPortError",
    "EitherReferenceOrAnonymous",
    "EmptyImportError",
    "GatewayRouteConditionStrengthError",
    "GatewayRouteWeightError",
    "IllegalAnonymousRoutingPortMappingError",
    "IllegalGatewayOption",
    "IllegalGatewayStickyValue",
    "IllegalGatewayVirtualHosts",
    "IllegalName",
    "IllegalRouteOption",
    "IllegalStrictName",
    "IllegalWorkflowSchedulePeriod",
    "IllegalWorkflowStatus",
    "ImportDefinitionError",
    "ImportReferenceError",
    "InconsistentArtifactKind",
    "InvalidArgumentError",
    "InvalidArgumentValueError",
    "InvalidGatewayPortError",
    "MalformedTraitError",
    "MissingConstantValueError",
    "MissingEnvironmentVariableError",
    "MissingPathValueError",
    "MissingPortValueError",
    "NegativeFailuresNumberError",
    "NoServiceError",
    "NonUniqueBlueprintBreedReferenceError",
    "OptionPortTypeError",
    "ParserError",
    "RecursiveDependenciesError",
    "RouteConditionStrengthError",
    "RouteWeightError",
    "StickyPortTypeError",
    "UndefinedWorkflowScheduleError",
    "UnexpectedElement",
    "UnexpectedTypeError",
    "UnresolvedBreedDependencyError",
    "UnresolvedDependencyInTraitValueError",
    "UnresolvedEnvironmentVariableError",
    "UnresolvedGatewayPortError",
    "UnresolvedPortReferenceError",
    "UnresolvedScaleEscalationTargetCluster",
    "UnresolvedServiceRouteError",
    "UnsupportedGatewayNameError",
    "UnsupportedKind",
    "UnsupportedMetadata",
    "UnsupportedPathRewriteError",
    "UnsupportedRoutePathError",
    "UnsupportedSelectorError",
];

#[test]
fn bad_documents_give_every_problem_with_its_place() {
    let mut codes = bad("many", |text| read::many(text).unwrap_err());
    for kind in Kind::ALL {
        codes.extend(bad(kind.singular(), |text| read::one(kind, text).unwrap_err()));
    }
    assert!(codes.remove("YamlParsingError"));
    assert_eq!(codes, BTreeSet::from_iter(CODES.iter().copied()));
}

#[test]
fn many_takes_documents_lists_and_lists_in_lists() {
    let text = "---\nkind: breed\nname: a\ndeployable: b\n---\n- [{kind: scales, name: s, cpu: 1, memory: 1GB}]\n- kind: condition\n  name: c\n  condition: has cookie x\n---\n";
    let artifacts = read::many(text).unwrap();
    let found: Vec<_> = artifacts
        .iter()
        .map(|artifact| (artifact.kind(), artifact.name()))
        .collect();
    assert_eq!(
        found,
        [(Kind::Breed, "a"), (Kind::Scale, "s"), (Kind::Condition, "c")]
    );
    assert_eq!(read::many("# nothing\n"), Ok(vec![]));
}

#[test]
fn requests_take_deployments_as_blueprints() {
    use weir_artifact::read::{DeployRequest, Request};
    let text = "- {kind: breed, name: a, deployable: b}\n\
        - {kind: deployment, name: shop, gateways: {9050: c/web}, clusters: {c: a}}\n\
        - {kind: deployments, name: other}\n";
    let requests = read::requests(text).unwrap();
    let [
        Request::Artifact(breed),
        Request::Deploy(shop, whole),
        Request::Deploy(other, by_name),
    ] = requests.as_slice()
    else {
        panic!("{requests:#?}");
    };
    assert_eq!(breed.kind(), Kind::Breed);
    assert_eq!((shop.as_str(), other.as_str()), ("shop", "other"));
    assert!(matches!(whole, DeployRequest::Blueprint(blueprint) if blueprint.gateways.len() == 1));
    assert_eq!(*by_name, DeployRequest::Reference("other".to_owned()));

    let problems =
        read::requests("- {kind: deployment, name: a b}\n- {kind: breed}\n- {name: x}\n").unwrap_err();
    let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert!(
        ["0/name", "1/name", "2/kind"]
            .iter()
            .all(|path| paths.contains(path)),
        "{paths:?}"
    );
}

#[test]
fn a_services_scale_is_in_place_or_a_reference() {
    let text = |text: &str| write::scale(&read::scale(text).unwrap()).to_string();
    assert_eq!(text("small"), r#"{"reference":"small"}"#);
    assert_eq!(text("{ref: small}"), r#"{"reference":"small"}"#);
    assert_eq!(
        text("{cpu: 0.5, memory: 1GB}"),
        r#"{"cpu":0.5,"memory":"1024.00MB","instances":1}"#
    );
    assert!(read::scale("{cpu: 0.5}").is_err());
}

#[test]
fn words_of_kinds() {
    for kind in Kind::ALL {
        assert_eq!(Kind::from_word(kind.singular()), Some(kind));
        assert_eq!(Kind::from_word(kind.plural()), Some(kind));
        assert_eq!(Kind::from_plural(kind.plural()), Some(kind));
        assert_eq!(Kind::from_plural(kind.singular()), None);
    }
    assert_eq!(Kind::from_plural("releases"), None);
}

#[test]
fn control_checks_what_it_has_put_together() {
    use weir_artifact::{OrReference, check};
    let text = "{name: a, clusters: {b: {gateways: {web: {routes: {c: {}}}}, services: [c]}}}";
    let Ok(Artifact::Blueprint(mut blueprint)) = read::one(Kind::Blueprint, text) else {
        panic!("a blueprint");
    };
    assert_eq!(check::blueprint(&blueprint, check::Scope::Whole), []);
    // The reference is resolved: now its port is known not to be there, nor its own check's.
    let breed = "{name: c, deployable: d, ports: {api: 80}}";
    let Ok(Artifact::Breed(mut breed)) = read::one(Kind::Breed, breed) else {
        panic!("a breed");
    };
    breed.constants.insert("k".to_owned(), "$nobody.host".to_owned());
    blueprint.clusters["b"].services[0].breed = OrReference::Inline(breed);
    let problems = check::blueprint(&blueprint, check::Scope::Whole);
    let found: Vec<_> = problems
        .iter()
        .map(|problem| (problem.code, problem.path.as_str()))
        .collect();
    let expected = [
        ("UnresolvedGatewayPortError", "clusters/b/gateways/web"),
        (
            "UnresolvedDependencyInTraitValueError",
            "clusters/b/services/0/breed/constants/k",
        ),
    ];
    assert_eq!(found, expected);
}

#[test]
fn the_list_of_problems_is_bounded_and_says_so() {
    let text: String = (0..1000).map(|index| format!("unknown{index}: x\n")).collect();
    let problems = read::one(Kind::Breed, &text).unwrap_err();
    assert_eq!(problems.len(), 200);
    assert_eq!(
        problems.last().unwrap().hint.as_deref(),
        Some("802 more problems are not listed")
    );
}

#[test]
fn a_clusters_sla_and_a_workflows_status_alone() {
    let text = |text: &str| write::sla(&read::sla(text).unwrap()).to_string();
    assert_eq!(text("fast"), r#"{"reference":"fast"}"#);
    assert_eq!(
        text("{ref: fast, escalations: more}"),
        r#"{"reference":"fast","escalations":[{"reference":"more"}]}"#
    );
    assert_eq!(
        text("{type: escalation_only}"),
        r#"{"type":"escalation_only","escalations":[]}"#
    );
    assert!(read::sla("{name: x, type: escalation_only}").is_err());
    assert!(read::sla("{}").is_err());
    assert_eq!(
        read::workflow_status("Suspending"),
        Ok(weir_artifact::WorkflowStatus::Suspending)
    );
    assert_eq!(
        read::workflow_status("tired").unwrap_err()[0].code,
        "IllegalWorkflowStatus"
    );
}

#[test]
fn what_runs_of_a_workflow_comes_from_storage_only() {
    let text = "{name: w, breed: b, schedule: daemon, instances: [{name: i, host: h, ports: {web: 1}, deployed: true}], health: {running: 1}}";
    let value = read::trees(text).unwrap().remove(0);
    let of_client = read::one(Kind::Workflow, text).unwrap();
    let stored = read::stored(Kind::Workflow, &value).unwrap();
    assert_ne!(of_client, stored);
    let printed = write::value(&stored);
    assert_eq!(printed["instances"][0]["ports"]["web"], 1);
    assert_eq!(printed["health"]["running"], 1);
    assert_eq!(read::one(Kind::Workflow, &printed.to_string()), Ok(of_client));
}
