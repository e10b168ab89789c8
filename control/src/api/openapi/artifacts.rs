//! Paths of the kinds of artifacts, which are the same for all of them, and figures.

use utoipa::openapi::{
    HttpMethod, OpenApi, Required, ResponseBuilder, Type,
    path::{Operation, Parameter, ParameterIn},
    schema::Schema,
};
use weir_artifact::Kind;

use super::parts::{
    add, answer_of, any, error, list_of, listed, name, operation, paging, parameter, query, text,
};

/// What differs between kinds.
struct Differing {
    created: &'static str,
    updated: &'static str,
    deleted: &'static str,
    /// What creating and updating answers.
    written: &'static str,
}

impl Differing {
    const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Gateway => Self {
                created: "202",
                updated: "202",
                deleted: "202",
                written: "The gateway, with weights and virtual hosts filled in",
            },
            Kind::Deployment => Self {
                created: "202",
                updated: "202",
                deleted: "202",
                written: "`[[inline breeds...], [deployment]]`, for a blueprint reference `[deployment]`; with \
                    `validate_only` the deployment that would be",
            },
            Kind::Workflow => Self {
                created: "202",
                updated: "202",
                deleted: "202",
                written: "Everything that was written, an inline breed first; with `validate_only` the workflow alone",
            },
            _ => Self {
                created: "201",
                updated: "200",
                deleted: "204",
                written: "Everything that was written, inline breeds first; with `validate_only` the artifact alone",
            },
        }
    }
}

/// Adds the paths of every kind.
pub(super) fn describe(document: &mut OpenApi) {
    for kind in Kind::ALL {
        collection(document, kind);
        one(document, kind);
        revisions(document, kind);
    }
    workflow_status(document);
    compose(document);
    figures(document);
}

fn checked() -> Parameter {
    query("validate_only", Type::Boolean, "Check, but change nothing")
}

fn shown(kind: Kind) -> Vec<Parameter> {
    let mut shown = vec![
        query(
            "expand_references",
            Type::Boolean,
            "Replace references by what they refer to",
        ),
        query(
            "only_references",
            Type::Boolean,
            "Replace what has a name by a reference",
        ),
    ];
    if kind == Kind::Deployment {
        shown.push(query(
            "as_blueprint",
            Type::Boolean,
            "As the blueprint that would make it",
        ));
    }
    shown
}

fn conditions() -> [Parameter; 2] {
    let header =
        |name: &str, text: &str| parameter(name, Type::String, ParameterIn::Header, Required::False, text);
    [
        header(
            "If-Match",
            "Only if this version (an `ETag`) is there, or `*`: any",
        ),
        header("If-None-Match", "Only if this version is not there, or `*`: none"),
    ]
}

fn body(kind: Kind) -> &'static str {
    match kind {
        Kind::Deployment => "A blueprint, the name of one, or a printed deployment",
        _ => "The artifact",
    }
}

fn collection(document: &mut OpenApi, kind: Kind) {
    let (plural, differing) = (kind.plural(), Differing::of(kind));
    let path = format!("/{plural}");
    let list = operation(plural, &format!("Lists {plural}, in order of names."))
        .parameters(Some(paging()))
        .parameters(Some(shown(kind)))
        .response("200", listed(&format!("A page of {plural}")));
    add(document, &path, HttpMethod::Get, list.build());
    let summary = match kind {
        Kind::Deployment => "Creates a deployment, or merges into the one of its name.".to_owned(),
        _ => format!("Creates a {kind}, or replaces the one of its name."),
    };
    let create = operation(plural, &summary)
        .parameter(checked())
        .parameters(Some(conditions()))
        .request_body(Some(text(body(kind), Required::True)))
        .response(
            differing.created,
            answer_of(differing.written, Schema::from(any())),
        )
        .response("412", error("Another version is there"));
    add(document, &path, HttpMethod::Post, create.build());
}

fn one(document: &mut OpenApi, kind: Kind) {
    let (plural, differing) = (kind.plural(), Differing::of(kind));
    let path = format!("/{plural}/{{name}}");
    let read = operation(plural, &format!("Reads a {kind}."))
        .parameter(name())
        .parameters(Some(shown(kind)))
        .response(
            "200",
            answer_of(
                &format!("The {kind}; `ETag` names its version"),
                Schema::from(any()),
            ),
        )
        .response("404", error("Not there"));
    add(document, &path, HttpMethod::Get, read.build());
    let summary = match kind {
        Kind::Deployment => "Merges a blueprint into a deployment, or creates it.".to_owned(),
        _ => format!("Creates or replaces a {kind}. The body's name must be the path's."),
    };
    let mut update = operation(plural, &summary)
        .parameter(name())
        .parameter(checked())
        .parameters(Some(conditions()))
        .request_body(Some(text(body(kind), Required::True)))
        .response(
            differing.updated,
            answer_of(differing.written, Schema::from(any())),
        )
        .response("405", error("The name leads below an artifact"))
        .response("412", error("Another version is there"));
    if kind == Kind::Deployment {
        update = update
            .parameter(query(
                "delete",
                Type::Boolean,
                "As `DELETE`, for clients that cannot send a body with it",
            ))
            .response("404", error("With `delete`: not there"));
    }
    add(document, &path, HttpMethod::Put, update.build());
    let delete = match kind {
        Kind::Deployment => operation(plural, "Takes services away. An empty body takes none away.")
            .request_body(Some(text(
                "A blueprint or printed deployment that names the services",
                Required::False,
            )))
            .response("202", answer_of("The deployment", Schema::from(any())))
            .response("404", error("Not there")),
        _ => operation(
            plural,
            &format!("Deletes a {kind}. One that is not there is deleted already."),
        )
        .response(
            differing.deleted,
            match differing.deleted {
                "204" => ResponseBuilder::new().description("Deleted").build(),
                _ => answer_of("Deleted: null", Schema::from(any())),
            },
        ),
    };
    let delete = delete
        .parameter(name())
        .parameter(checked())
        .parameters(Some(conditions()))
        .response("405", error("The name leads below an artifact"))
        .response("412", error("Another version is there"));
    add(document, &path, HttpMethod::Delete, delete.build());
}

fn number() -> Parameter {
    parameter(
        "revision",
        Type::Integer,
        ParameterIn::Path,
        Required::True,
        "Number of the revision",
    )
}

fn revisions(document: &mut OpenApi, kind: Kind) {
    let plural = kind.plural();
    let path = format!("/{plural}/{{name}}/revisions");
    let list = operation(plural, &format!("Lists the versions of a {kind}, newest first."))
        .parameter(name())
        .parameters(Some(paging()))
        .response("200", listed("`{revision, timestamp, current, digest}` of each"))
        .response("404", error("There never was one"));
    add(document, &path, HttpMethod::Get, list.build());
    let path = format!("{path}/{{revision}}");
    let read = operation(plural, &format!("Reads a {kind} as it was."))
        .parameter(name())
        .parameter(number())
        .response(
            "200",
            answer_of("The artifact; of a deployment its blueprint", Schema::from(any())),
        )
        .response("404", error("No such version, or not kept any more"));
    add(document, &path, HttpMethod::Get, read.build());
    let path = format!("{path}/rollback");
    let written = match kind {
        Kind::Gateway | Kind::Deployment | Kind::Workflow => "202",
        _ => "200",
    };
    let back = operation(plural, &format!("Makes a {kind} what it was, as a new version."))
        .parameter(name())
        .parameter(number())
        .parameter(checked())
        .parameters(Some(conditions()))
        .response(written, answer_of("As for `PUT`", Schema::from(any())))
        .response("404", error("No such version, or not kept any more"))
        .response("405", error("The name leads below an artifact"))
        .response("412", error("Another version is there"));
    add(document, &path, HttpMethod::Post, back.build());
}

fn workflow_status(document: &mut OpenApi) {
    let path = "/workflows/{name}/status";
    let read = operation("workflows", "Reads what is wanted of a workflow.")
        .parameter(name())
        .response("200", answer_of("A word such as `running`", Schema::from(any())))
        .response("404", error("Not there"));
    add(document, path, HttpMethod::Get, read.build());
    let put = operation("workflows", "Sets what is wanted of a workflow.")
        .parameter(name())
        .parameter(checked())
        .request_body(Some(text(
            "`starting`, `running`, `stopping`, `suspended`, `suspending` or `restarting`",
            Required::True,
        )))
        .response(
            "202",
            answer_of("`[{name, kind, status, message}]`", list_of(Schema::from(any()))),
        )
        .response("404", error("Not there"))
        .response("405", error("The name leads below an artifact"));
    add(document, path, HttpMethod::Put, put.build());
}

fn compose(document: &mut OpenApi) {
    let asked = parameter(
        "name",
        Type::String,
        ParameterIn::Query,
        Required::True,
        "Name of the blueprint",
    );
    let yaml = ResponseBuilder::new()
        .description("The blueprint as YAML, with comments about what was left out")
        .content(
            "text/plain",
            utoipa::openapi::Content::new(Some(utoipa::openapi::RefOr::T(Schema::from(any())))),
        );
    let import = operation("blueprints", "Makes a blueprint of a Compose file.")
        .parameter(asked)
        .parameter(checked())
        .request_body(Some(text("The Compose file", Required::True)))
        .response("201", yaml.build());
    add(document, "/docker-compose", HttpMethod::Post, import.build());
}

/// `/metrics` and `/health`.
fn figures(document: &mut OpenApi) {
    for path in [
        "/metrics/gateways/{gateway}/{metric}",
        "/metrics/gateways/{gateway}/routes/{route}/{metric}",
        "/metrics/gateways/{gateway}/routes/{route}/instances/{instance}/{metric}",
        "/metrics/deployments/{deployment}/clusters/{cluster}/ports/{port}/{metric}",
        "/metrics/deployments/{deployment}/clusters/{cluster}/services/{service}/ports/{port}/{metric}",
        "/metrics/deployments/{deployment}/clusters/{cluster}/services/{service}/instances/{instance}/ports/{port}/{metric}",
    ] {
        let about = "Reads the newest value of a metric: `rate`, `responseTime`, `responseTime95`, `errorRate`, or \
            what clients publish.";
        add(document, path, HttpMethod::Get, figure(path, about));
    }
    for path in [
        "/health/gateways/{gateway}",
        "/health/gateways/{gateway}/routes/{route}",
        "/health/deployments/{deployment}",
        "/health/deployments/{deployment}/clusters/{cluster}",
        "/health/deployments/{deployment}/clusters/{cluster}/services/{service}",
        "/health/deployments/{deployment}/clusters/{cluster}/services/{service}/instances/{instance}",
    ] {
        add(
            document,
            path,
            HttpMethod::Get,
            figure(path, "Reads the health: 1 or 0."),
        );
    }
}

fn figure(path: &str, about: &str) -> Operation {
    let names = path
        .split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let named = names.map(|name| {
        let about = "One segment: slashes in it are `%2F`";
        parameter(name, Type::String, ParameterIn::Path, Required::True, about)
    });
    let window = query("window", Type::String, "How far to look back, such as `30s`");
    operation("figures", about)
        .parameters(Some(named))
        .parameter(window)
        .response("200", answer_of("A number", Schema::from(any())))
        .response("404", error("Nothing is known within the window"))
        .build()
}
