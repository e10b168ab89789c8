//! What is allowed but hardly meant.

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
