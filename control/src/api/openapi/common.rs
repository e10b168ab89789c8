//! What holds for every operation, added to each.

use utoipa::openapi::{
    OpenApi, PathItem, Ref, RefOr, Response, Server,
    path::Operation,
    security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};

use super::parts::error;

/// Name of the way to say who one is.
const TOKEN: &str = "token";

/// Answers that any request can have: status, name, and what it means.
const ANY: [(&str, &str, &str); 5] = [
    ("400", "Wrong", "Wrong; nothing was changed"),
    ("401", "NoToken", "No token, or not a good one"),
    (
        "403",
        "Forbidden",
        "The token has another role, or a page from elsewhere asks",
    ),
    ("500", "Failed", "The cause is in the log of control"),
    (
        "503",
        "NotNow",
        "Not now: another control leads, too much at once, no answer in time, or the storage cannot be written",
    ),
];

/// Answers that any request can have that is not a `GET`.
const CHANGES: [(&str, &str, &str); 4] = [
    ("408", "NoBody", "The body did not come in time"),
    (
        "409",
        "Overtaken",
        "Another control on the same storage was faster; try again",
    ),
    ("413", "TooLarge", "The body is too large"),
    ("507", "Full", "The storage is full; nothing was changed"),
];

/// Adds the answers that any request can have, an id for each operation, YAML beside JSON, and tokens.
pub(super) fn complete(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            answers(method, operation);
            operation.operation_id = Some(id(method, path));
        }
    }
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "A token that `weir token` made; not needed where authentication is off",
        ));
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(TOKEN, SecurityScheme::Http(bearer.build()));
    for (_, name, text) in ANY.into_iter().chain(CHANGES) {
        let mut response = error(text);
        yaml_too(&mut response);
        components.responses.insert(name.to_owned(), RefOr::T(response));
    }
    document.security = Some(vec![
        SecurityRequirement::new(TOKEN, [""; 0]),
        SecurityRequirement::default(),
    ]);
    document.servers = Some(vec![Server::new("/")]);
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("get", &mut item.get),
        ("put", &mut item.put),
        ("post", &mut item.post),
        ("delete", &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn answers(method: &str, operation: &mut Operation) {
    let changes: &[_] = if method == "get" { &[] } else { &CHANGES };
    let responses = &mut operation.responses.responses;
    for (status, name, _) in ANY.iter().chain(changes) {
        responses
            .entry((*status).to_owned())
            .or_insert_with(|| RefOr::Ref(Ref::from_response_name(*name)));
    }
    for response in responses.values_mut() {
        if let RefOr::T(response) = response {
            yaml_too(response);
        }
    }
}

/// What can be had as JSON can be had as YAML.
fn yaml_too(response: &mut Response) {
    if let Some(content) = response.content.get("application/json").cloned() {
        response.content.insert("application/x-yaml".to_owned(), content);
    }
}

/// `get_breeds_name_revisions`
fn id(method: &str, path: &str) -> String {
    let rest = path.strip_prefix(super::BASE).unwrap_or(path);
    let words = rest
        .split(|character: char| !character.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let mut id = method.to_owned();
    for word in words {
        id.push('_');
        id.push_str(word);
    }
    id
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::http::Method;
    use serde_json::Value;

    /// What linters of such descriptions ask for, so that one need not be installed to find out.
    #[test]
    fn the_description_is_sound() {
        let tree = serde_json::to_value(super::super::document()).unwrap();
        let mut problems = Vec::new();
        let mut ids = BTreeSet::new();
        let tags: BTreeSet<&str> = tree["tags"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tag| tag["name"].as_str().unwrap())
            .collect();
        for (path, item) in tree["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let place = format!("{method} {path}");
                let mut wrong = |what: &str| problems.push(format!("{place}: {what}"));
                if !ids.insert(operation["operationId"].as_str().unwrap_or_default().to_owned()) {
                    wrong("its id is not its own");
                }
                if operation["summary"]
                    .as_str()
                    .is_none_or(|text| !text.ends_with('.'))
                {
                    wrong("no summary that is a sentence");
                }
                for tag in operation["tags"].as_array().unwrap() {
                    if !tags.contains(tag.as_str().unwrap()) {
                        wrong("a tag that is not declared");
                    }
                }
                let mut declared = BTreeSet::new();
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    let name = parameter["name"].as_str().unwrap();
                    if !declared.insert((name, parameter["in"].as_str().unwrap())) {
                        wrong("a parameter twice");
                    }
                }
                for segment in path.split('/').filter(|segment| segment.starts_with('{')) {
                    if !declared.remove(&(segment.trim_matches(['{', '}']), "path")) {
                        wrong("a part of the path that is not declared");
                    }
                }
                if declared.iter().any(|(_, place)| *place == "path") {
                    wrong("a parameter that the path does not have");
                }
                let responses = operation["responses"].as_object().unwrap();
                if !responses.keys().any(|status| status.starts_with('2')) {
                    wrong("no good answer");
                }
                if responses.values().any(|response| {
                    response.get("$ref").is_none()
                        && response["description"].as_str().is_none_or(str::is_empty)
                }) {
                    wrong("an answer without a description");
                }
                let asks = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                let inside = path.strip_prefix(super::super::BASE).unwrap();
                if !crate::access::declared(&asks, inside) {
                    wrong("nobody says which role it needs");
                }
            }
        }
        references(&tree, &tree, &mut problems);
        assert!(problems.is_empty(), "{problems:#?}");
    }

    fn references(root: &Value, tree: &Value, problems: &mut Vec<String>) {
        match tree {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref")
                    && root.pointer(reference.trim_start_matches('#')).is_none()
                {
                    problems.push(format!("{reference} leads nowhere"));
                }
                fields
                    .values()
                    .for_each(|value| references(root, value, problems));
            }
            Value::Array(items) => items.iter().for_each(|item| references(root, item, problems)),
            _ => {}
        }
    }
}
