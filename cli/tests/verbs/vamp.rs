//! The words of Vamp's two command lines.

use serde_json::{Value, json};

use crate::{
    server::{Server, weir},
    shop,
};

/// Method and path of a request, and its body as a tree.
fn sent(server: &Server, line: &str) -> Value {
    let requests = server.requests();
    let (_, body) = requests
        .iter()
        .find(|(known, _)| known.trim_end_matches('?') == line)
        .unwrap_or_else(|| panic!("{line} in {requests:?}"));
    let mut trees = weir_artifact::read::trees(body).unwrap();
    trees.pop().unwrap()
}

#[test]
fn one_artifact_is_stored_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("front.yaml");
    std::fs::write(&file, "name: front:1\ndeployable: acme/front:1\n").unwrap();
    let file = file.to_str().unwrap();
    let stored = json!({"name": "front:1", "deployable": {"definition": "acme/front:1"}});
    let server = Server::start()
        .says(
            "POST /scales",
            400,
            json!({"message": "a scale has no deployable"}),
        )
        .says("POST /workflows", 202, json!([stored]))
        .says("PUT /workflows/front:1", 200, stored.clone());
    let created = server.weir(&["create", "workflow", "-f", file, "--json"]);
    assert_eq!(created.code, Some(0), "{}", created.stderr);
    assert_eq!(serde_json::from_str::<Value>(&created.stdout).unwrap(), stored);
    let updated = server.weir(&["update", "workflow", "front:1", "--file", file]);
    assert_eq!(updated.code, Some(0), "{}", updated.stderr);
    assert!(
        updated.stdout.starts_with("name: front:1\n"),
        "{}",
        updated.stdout
    );
    let given = json!({"name": "front:1", "deployable": "acme/front:1"});
    assert_eq!(sent(&server, "POST /api/v1/workflows"), given);
    assert_eq!(sent(&server, "PUT /api/v1/workflows/front:1"), given);
    assert_eq!(server.weir(&["create", "scale", "-f", file]).code, Some(4));
    assert_eq!(weir(&["create", "breed"]).code, Some(2), "nothing says what");
}

#[test]
fn an_event_is_published() {
    let stored = json!({"id": "7", "tags": ["a:b", "c", "a"], "type": "audit", "value": "out"});
    let server = Server::start().says("POST /events", 201, stored.clone());
    let emitted = server.weir(&["emit", "out", "-t", "a:b,c", "--type", "audit", "--json"]);
    assert_eq!(emitted.code, Some(0), "{}", emitted.stderr);
    assert_eq!(serde_json::from_str::<Value>(&emitted.stdout).unwrap(), stored);
    assert_eq!(
        sent(&server, "POST /api/v1/events"),
        json!({"value": "out", "tags": ["a:b", "c"], "type": "audit"})
    );
    assert_eq!(weir(&["emit", "out"]).code, Some(2), "an event needs a tag");
}

#[test]
fn differences_are_shown_and_told_by_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.yaml");
    std::fs::write(&file, "{kind: breed, name: a, deployable: x}").unwrap();
    let file = file.to_str().unwrap();
    let artifact = json!({"kind": "breed", "name": "a", "action": "update",
        "changes": [{"path": "deployable/definition", "before": "y", "after": "x"}]});
    let server = Server::start().says("POST /plan", 200, json!({"artifacts": [artifact]}));
    let shown = server.weir(&["diff", "-f", file]);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert_eq!(shown.stdout, "update breed a\n  deployable/definition: y -> x\n");
    assert_eq!(server.weir(&["diff", "-f", file, "--exit-code"]).code, Some(1));

    let same = json!({"artifacts": [{"kind": "breed", "name": "a", "action": "unchanged", "changes": []}]});
    let server = Server::start().says("POST /plan", 200, same);
    let shown = server.weir(&["diff", "-f", file, "--exit-code"]);
    assert_eq!((shown.code, shown.stdout.as_str()), (Some(0), "no differences\n"));
    server.weir(&["diff", "-f", file, "--delete"]);
    let requests = server.requests();
    assert_eq!(requests.last().unwrap().0, "POST /api/v1/plan?delete=true");
}

#[test]
fn what_both_make_together_is_printed_and_nothing_is_deployed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("more.yaml");
    std::fs::write(&file, "{name: more, clusters: {back: back:1}}").unwrap();
    let file = file.to_str().unwrap();
    let shop = json!({"name": "shop", "clusters": {"front": "front:1"}});
    let server = Server::start()
        .says("GET /deployments/shop", 200, shop.clone())
        .says("GET /blueprints/shop", 200, shop);
    let expected = json!({"name": "shop", "clusters": {"front": "front:1", "back": "back:1"}});
    for (option, request) in [
        ("--deployment", "GET /api/v1/deployments/shop?as_blueprint=true"),
        ("--blueprint", "GET /api/v1/blueprints/shop?"),
    ] {
        let merged = server.weir(&["merge", option, "shop", "-f", file, "-o", "json"]);
        assert_eq!(merged.code, Some(0), "{}", merged.stderr);
        assert_eq!(serde_json::from_str::<Value>(&merged.stdout).unwrap(), expected);
        assert_eq!(server.requests().last().unwrap().0, request);
    }
    assert_eq!(server.weir(&["merge", "shop"]).code, Some(2), "into what?");
}

#[test]
fn a_blueprint_says_what_is_undeployed() {
    let server = Server::start().says("DELETE /deployments/shop", 202, json!({}));
    let undeployed = server.weir(&["undeploy", "shop", "--blueprint", "front"]);
    assert_eq!(undeployed.code, Some(0), "{}", undeployed.stderr);
    assert_eq!(
        sent(&server, "DELETE /api/v1/deployments/shop"),
        json!({"name": "front"})
    );
    assert_eq!(
        server.weir(&["undeploy", "none", "--blueprint", "front"]).code,
        Some(3)
    );
    let both = ["undeploy", "shop", "--blueprint", "front", "--stdin"];
    assert_eq!(server.weir(&both).code, Some(2));
    let asked = server.requests().len();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("empty.yaml");
    for text in ["", "# nothing\n", "---\n"] {
        std::fs::write(&file, text).unwrap();
        let refused = server.weir(&["undeploy", "shop", "-f", file.to_str().unwrap()]);
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(
            refused.stderr.contains("is empty: it names no services"),
            "{}",
            refused.stderr
        );
    }
    assert_eq!(server.requests().len(), asked);
}

#[test]
fn a_stored_blueprint_is_the_beginning_of_another() {
    let shop =
        json!({"name": "shop", "metadata": {}, "clusters": {"front": {"services": [{"breed": "front:1"}]}}});
    let server = Server::start().says("GET /blueprints/shop", 200, shop);
    let made = server.weir(&[
        "generate",
        "blueprint",
        "-s",
        "shop",
        "-c",
        "front",
        "-b",
        "front:2",
        "-t",
        "shop:2",
        "--json",
    ]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    assert_eq!(
        serde_json::from_str::<Value>(&made.stdout).unwrap(),
        json!({"name": "shop:2", "kind": "blueprint", "clusters": {"front": {"services": [{"breed": "front:2"}]}}})
    );
    // Nobody is asked where nothing is stored.
    let alone = weir(&["generate", "breed", "front:2", "--deployable", "acme/front:2"]);
    assert_eq!(alone.code, Some(0), "{}", alone.stderr);
    assert_eq!(
        alone.stdout,
        "name: front:2\nkind: breed\ndeployable: acme/front:2\n"
    );
}

#[test]
fn gateways_are_updated_in_vamps_words() {
    let server = shop();
    let path = "PUT /api/v1/gateways/shop/front/web";
    let set = server.weir(&[
        "update-gateway",
        "shop/front/web",
        "-w",
        "front:1@70%,front:2@30%",
    ]);
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    assert_eq!(
        sent(&server, path)["routes"]["shop/front/front:2/web"]["weight"],
        "30%"
    );
    let server = shop();
    let condition = ["-r", "front:2", "-c", "User-Agent == Firefox", "-s", "50%"];
    let set = server.weir(&[&["update-gateway", "shop/front/web"][..], &condition].concat());
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    let route = &sent(&server, path)["routes"]["shop/front/front:2/web"];
    assert_eq!(route["condition"], json!({"condition": "User-Agent == Firefox"}));
    assert_eq!(route["condition_strength"], "50%");
    let cleared = server.weir(&["update-gateway", "shop/front/web", "-r", "front:2", "-c", "null"]);
    assert_eq!(cleared.code, Some(0), "{}", cleared.stderr);
    assert_eq!(server.weir(&["update-gateway", "shop/front/web"]).code, Some(2));
}

#[test]
fn legacy_exit_codes_are_all_0() {
    let server = Server::start();
    for arguments in [
        &["get", "gateway", "missing"][..],
        &["get", "nothing"],
        &["no-such-verb"],
    ] {
        assert_ne!(server.weir(arguments).code, Some(0), "{arguments:?}");
        let legacy = server.weir(&[arguments, &["--legacy-exit-codes"]].concat());
        assert_eq!(legacy.code, Some(0), "{arguments:?}");
        assert!(!legacy.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn the_version_is_told_in_vamps_words() {
    let told = weir(&["version"]);
    assert_eq!(told.code, Some(0));
    assert_eq!(
        told.stdout,
        concat!("CLI version: ", env!("CARGO_PKG_VERSION"), "\n")
    );
}
