//! Documents and what becomes of them: `testdata/good/*.txt` to JSON, `testdata/bad/*.txt` to problems.
//! A section begins with `=== title`; places count from the line after it.

#![allow(clippy::unwrap_used, reason = "tests say what they expect")]

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
    settings.set_snapshot_path(format!("../testdata/{folder}"));
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
const CODES: [&str; 47] = [
    "ConditionPortTypeError",
    "DuplicateGatewayPortError",
    "EitherReferenceOrAnonymous",
    "EmptyImportError",
    "GatewayRouteConditionStrengthError",
    "GatewayRouteWeightError",
    "IllegalAnonymousRoutingPortMappingError",
    "IllegalGatewayStickyValue",
    "IllegalGatewayVirtualHosts",
    "IllegalName",
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
];

#[test]
fn bad_documents_give_every_problem_with_its_place() {
    let mut codes = bad("many", |text| read::many(text).unwrap_err());
    for kind in Kind::ALL {
        codes.extend(bad(kind.singular(), |text| read::one(kind, text).unwrap_err()));
    }
    assert!(codes.remove("YamlParsingError"));
    assert_eq!(codes, BTreeSet::from(CODES));
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

mod deploy {
    use weir_artifact::read::{DeployRequest, deploy_request};

    fn reference(text: &str) -> String {
        match deploy_request(text).unwrap() {
            DeployRequest::Reference(name) => name,
            DeployRequest::Blueprint(blueprint) => panic!("{blueprint:?}"),
        }
    }

    #[test]
    fn a_name_is_a_reference() {
        for text in [
            "sava:1.0",
            "name: sava:1.0",
            "{\"name\": \"sava:1.0\"}",
            "\"sava:1.0\"",
            "{ref: sava:1.0}",
        ] {
            assert_eq!(reference(text), "sava:1.0", "{text}");
        }
    }

    #[test]
    fn a_printed_deployment_is_a_blueprint() {
        for (_, text) in super::sections("good", "deployment") {
            let DeployRequest::Blueprint(blueprint) = deploy_request(&text).unwrap() else {
                panic!("a reference");
            };
            let service = &blueprint.clusters["front"].services[0];
            assert_eq!((blueprint.name.as_str(), service.name()), ("shop", "front:1"));
            assert_eq!(service.runtime, None);
        }
        for kind in ["blueprint", "blueprints", "deployment", "deployments"] {
            assert!(
                deploy_request(&format!("{{kind: {kind}, name: a, clusters: {{b: c}}}}")).is_ok(),
                "{kind}"
            );
        }
        let problems = deploy_request("{kind: breed, name: a, clusters: {b: c}}").unwrap_err();
        assert_eq!(problems[0].code, "InconsistentArtifactKind");
    }

    /// The deployment may hold the other service of the route and the breed of the dependency.
    #[test]
    fn a_part_may_lean_on_the_deployment() {
        let text = "
            name: canary
            clusters:
              front:
                gateways: {web: {routes: {front:1: {weight: 90%}, front:2: {weight: 10%}}}}
                services: {name: front:2, deployable: x, ports: {web: 80}, dependencies: {db: db:1}}";
        assert!(deploy_request(text).is_ok());
        let problems = weir_artifact::read::one(weir_artifact::Kind::Blueprint, text).unwrap_err();
        let codes: Vec<_> = problems.iter().map(|problem| problem.code).collect();
        assert_eq!(
            codes,
            ["UnresolvedServiceRouteError", "UnresolvedBreedDependencyError"]
        );
    }
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

mod imports {
    use serde_json::{Value, json};
    use weir_artifact::{
        Artifact, Kind,
        read::{Documents, Import},
        write,
    };

    fn import(kind: Kind, name: &str) -> Import {
        Import {
            kind,
            name: name.to_owned(),
        }
    }

    fn shelf(import: &Import) -> Option<Value> {
        Some(match (import.kind, import.name.as_str()) {
            (Kind::Template, "base") => {
                json!({"name": "base", "kind": "template", "metadata": {}, "definition": {
                    "deployable": "acme/base", "environment_variables": {"A": "1", "B": "1"}, "metadata": {"tags": [1, 2]},
                }})
            }
            (Kind::Template, "more") => json!({"definition": {
                "environment_variables": {"B": "2"}, "metadata": {"tags": [2, 3], "deep": {"a": 1}},
            }}),
            (Kind::Breed, "front:1") => {
                json!({"name": "front:1", "kind": "breed", "deployable": "x", "ports": {"web": "80/http"}})
            }
            _ => return None,
        })
    }

    #[test]
    fn what_is_imported_is_merged_and_the_own_body_wins() {
        let text = "
            name: shop
            import: [base, more, breeds/front:1]
            environment_variables: {C: 3, A: 7}
            metadata: {tags: [4, 1], deep: {b: 2}}";
        let documents = Documents::parse(text).unwrap();
        assert_eq!(
            documents.imports().unwrap(),
            [
                import(Kind::Template, "base"),
                import(Kind::Template, "more"),
                import(Kind::Breed, "front:1")
            ]
        );
        let read = documents.complete(shelf).unwrap().one(Kind::Breed).unwrap();
        let value = write::value(&read.value);
        assert_eq!(value["name"], "shop");
        assert_eq!(value["deployable"], json!({"definition": "x"}));
        assert_eq!(value["ports"], json!({"web": "80/http"}));
        assert_eq!(
            value["environment_variables"],
            json!({"A": "7", "B": "2", "C": "3"})
        );
        assert_eq!(
            value["metadata"],
            json!({"tags": [1, 2, 3, 4], "deep": {"a": 1, "b": 2}})
        );
    }

    #[test]
    fn faults_of_what_is_imported_are_where_it_is_imported() {
        let bad = |_: &Import| Some(json!({"definition": {"nobody": 1, "ports": {"a b": 1}}}));
        let text = "name: a\ndeployable: b\nimport: x\n";
        let documents = Documents::parse(text).unwrap().complete(bad).unwrap();
        let problems = documents.one(Kind::Breed).unwrap_err();
        let found: Vec<_> = problems
            .iter()
            .map(|problem| {
                (
                    problem.code,
                    problem.path.as_str(),
                    problem.position.unwrap().line,
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                ("IllegalStrictName", "ports/a b", 3),
                ("UnexpectedElement", "nobody", 3)
            ]
        );
    }

    #[test]
    fn nothing_found_is_a_problem_of_each() {
        let text = "- {kind: breed, name: a, deployable: b, import: [base, none]}\n- {kind: blueprint, name: b, import: gateways/a/b}\n";
        let documents = Documents::parse(text).unwrap();
        assert_eq!(documents.imports().unwrap().len(), 3);
        let problems = documents.complete(shelf).unwrap_err();
        let found: Vec<_> = problems
            .iter()
            .map(|problem| (problem.code, problem.path.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("ImportReferenceError", "0/import"),
                ("ImportReferenceError", "1/import")
            ]
        );
        assert!(problems[1].message.contains("gateway `a/b`"), "{}", problems[1]);
    }

    #[test]
    fn imports_may_be_all_there_is() {
        let documents = Documents::parse("import: breeds/front:1").unwrap();
        let read = documents.complete(shelf).unwrap().one(Kind::Breed).unwrap();
        assert!(matches!(&read.value, Artifact::Breed(breed) if breed.name == "front:1"));
        assert_eq!(Documents::parse("name: a").unwrap().imports().unwrap(), []);
        let many = (0..65).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
        let problems = Documents::parse(&format!("import: [{many}]")).unwrap().imports();
        assert_eq!(problems.unwrap_err()[0].code, "ImportDefinitionError");
    }
}

mod warnings {
    use weir_artifact::{Kind, Severity, read::Documents};

    fn of(kind: Kind, text: &str) -> Vec<String> {
        let read = Documents::parse(text).unwrap().one(kind).unwrap();
        read.warnings
            .iter()
            .map(|warning| {
                assert_eq!(warning.severity, Severity::Warning);
                let line = warning.position.map_or(0, |position| position.line);
                format!("{line} {} {}", warning.code, warning.path)
            })
            .collect()
    }

    #[test]
    fn routes_in_each_others_way() {
        let text = "\
name: g
port: 80
routes:
  a: {weight: 100%, condition: <path_beg /a>}
  b: {weight: 0%, condition: <path_beg /a/b>}
  c: {weight: 0%, condition: host == x and host == y}
  d: {weight: 0%, condition: has cookie c or misses cookie c}
  e: {weight: 0%, condition: has cookie c}
  f: {weight: 0%, condition: {ref: somewhere}}
  g: {weight: 0%, rewrites: {path: /x if always_false}}
";
        assert_eq!(
            of(Kind::Gateway, text),
            [
                "5 ShadowedCondition routes/b/condition",
                "6 ConditionNeverMatches routes/c/condition",
                "7 ConditionAlwaysMatches routes/d/condition",
                "8 ShadowedCondition routes/e/condition",
                "10 ConditionNeverMatches routes/g/rewrites/0",
            ]
        );
    }

    #[test]
    fn overlaps_and_what_does_not_overlap() {
        let gateway = |conditions: &[&str]| {
            let routes: String = conditions
                .iter()
                .enumerate()
                .map(|(index, condition)| format!("  r{index}: {{condition: '{condition}'}}\n"))
                .collect();
            of(Kind::Gateway, &format!("name: g\nroutes:\n{routes}"))
        };
        assert_eq!(
            gateway(&["User-Agent == Firefox", "User-Agent == Chrome"]).len(),
            1
        );
        assert_eq!(gateway(&["host == a", "host == b", "host == c"]), [""; 0]);
        assert_eq!(gateway(&["<path_beg /a>", "<path_beg /b>"]), [""; 0]);
        assert_eq!(
            gateway(&["<path_beg /a/b>", "<path_beg /a>"]),
            ["4 OverlappingConditions routes/r1/condition"]
        );
        // Both together leave nothing.
        let covered = gateway(&["has cookie a", "has cookie b", "has cookie a or has cookie b"]);
        assert_eq!(covered.last().unwrap(), "5 ShadowedCondition routes/r2/condition");
    }

    #[test]
    fn a_condition_of_no_strength_stands_in_nobodys_way() {
        let text = "name: g\nroutes:\n  a: {condition: host == a, condition_strength: 0%}\n  b: {condition: host == a}\n";
        assert_eq!(of(Kind::Gateway, text), [""; 0]);
    }

    #[test]
    fn everywhere_conditions_are() {
        let never = "condition: host == a and host == b";
        assert_eq!(
            of(Kind::Condition, &format!("name: c\n{never}\n")),
            ["2 ConditionNeverMatches condition"]
        );
        assert_eq!(
            of(Kind::Route, &format!("name: r\n{never}\n")),
            ["2 ConditionNeverMatches condition"]
        );
        let blueprint = format!(
            "name: b\ngateways: {{80: {{routes: {{c/web: {{{never}}}}}}}}}\nclusters:\n  c:\n    gateways: {{web: {{routes: {{s: {{{never}}}}}}}}}\n    services: s\n"
        );
        assert_eq!(
            of(Kind::Blueprint, &blueprint),
            [
                "2 ConditionNeverMatches gateways/80/routes/c/web/condition",
                "5 ConditionNeverMatches clusters/c/gateways/web/routes/s/condition",
            ]
        );
    }

    #[test]
    fn a_hostile_gateway_ends_soon() {
        let condition = |n: usize| {
            let parts: Vec<String> = (0..40)
                .map(|m| format!("(has cookie a{m} or has header b{n}-{m})"))
                .collect();
            parts.join(" and ")
        };
        let routes: String = (0..150)
            .map(|n| format!("  r{n}: {{condition: '{}'}}\n", condition(n)))
            .collect();
        let began = std::time::Instant::now();
        let _ = of(Kind::Gateway, &format!("name: g\nroutes:\n{routes}"));
        assert!(
            began.elapsed() < std::time::Duration::from_secs(20),
            "{:?}",
            began.elapsed()
        );
    }
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
