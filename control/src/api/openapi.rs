//! The description of the interface, made from the code.

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, header::CONTENT_TYPE},
    response::IntoResponse,
};
use utoipa::{
    OpenApi,
    openapi::{
        Content, HttpMethod, Object, ObjectBuilder, Ref, RefOr, Required, Response, ResponseBuilder, Type,
        path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem},
        request_body::{RequestBody, RequestBodyBuilder},
        schema::{AdditionalProperties, ArrayBuilder, Schema, SchemaType},
        tag::TagBuilder,
    },
};

use super::{Api, answer, crud, documents, events, kinds::LATER, path::BASE, stream, system};

/// What annotations of handlers say.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Weir",
        description = "Artifacts, deployments, gateways and events. Bodies and answers are JSON or YAML \
            (`application/x-yaml`). Every path also exists below `/{namespace}`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        documents::create,
        documents::update,
        documents::delete,
        crud::sla,
        crud::scale,
        crud::put_scale,
        events::publish,
        events::list,
        stream::stream,
        system::info,
        system::agents,
        system::traffic,
    ),
    components(schemas(answer::ErrorBody, events::EventBody))
)]
struct Described;

/// The whole description.
pub(super) fn document() -> utoipa::openapi::OpenApi {
    let mut document = Described::openapi();
    document.paths.paths = document
        .paths
        .paths
        .into_iter()
        .map(|(path, item)| (format!("{BASE}{}", path.trim_end_matches('/')), item))
        .collect();
    for kind in KINDS {
        kind.describe(&mut document);
    }
    for kind in LATER {
        let list = operation(
            kind,
            &format!("Lists {kind}: always empty, the kind is not supported yet."),
        )
        .parameters(Some(paging()))
        .response("200", answer_of("Nothing", list_of(Schema::from(any()))));
        add(&mut document, &format!("/{kind}"), HttpMethod::Get, list.build());
    }
    document.tags = Some(
        [
            "documents",
            "breeds",
            "blueprints",
            "scales",
            "conditions",
            "gateways",
            "deployments",
            "events",
            "system",
        ]
        .into_iter()
        .map(|name| TagBuilder::new().name(name).build())
        .collect(),
    );
    document
}

/// `GET /openapi.json`
pub(super) async fn serve(State(_): State<Api>) -> impl IntoResponse {
    let json = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, json)], Json(document()))
}

/// A kind of artifacts with paths of its own.
struct Kind {
    plural: &'static str,
    singular: &'static str,
    created: &'static str,
    updated: &'static str,
    deleted: &'static str,
    /// What creating and updating answers.
    written: &'static str,
}

const STORED: Kind = Kind {
    plural: "",
    singular: "",
    created: "201",
    updated: "200",
    deleted: "204",
    written: "Everything that was written, inline breeds first; with `validate_only` the artifact alone",
};

const KINDS: [Kind; 6] = [
    Kind {
        plural: "breeds",
        singular: "breed",
        ..STORED
    },
    Kind {
        plural: "blueprints",
        singular: "blueprint",
        ..STORED
    },
    Kind {
        plural: "scales",
        singular: "scale",
        ..STORED
    },
    Kind {
        plural: "conditions",
        singular: "condition",
        ..STORED
    },
    Kind {
        plural: "gateways",
        singular: "gateway",
        created: "202",
        updated: "202",
        deleted: "202",
        written: "The gateway, with weights and virtual hosts filled in",
    },
    Kind {
        plural: "deployments",
        singular: "deployment",
        created: "202",
        updated: "202",
        deleted: "202",
        written: "`[[inline breeds...], [deployment]]`, for a blueprint reference `[deployment]`; with \
            `validate_only` the deployment that would be",
    },
];

impl Kind {
    fn describe(&self, document: &mut utoipa::openapi::OpenApi) {
        let Self { plural, singular, .. } = self;
        let all = format!("/{plural}");
        let one = format!("/{plural}/{{name}}");
        let deployments = *plural == "deployments";
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
        if deployments {
            shown.push(query(
                "as_blueprint",
                Type::Boolean,
                "As the blueprint that would make it",
            ));
        }
        let checked = [query("validate_only", Type::Boolean, "Check, but change nothing")];
        let body = if deployments {
            "A blueprint, the name of one, or a printed deployment"
        } else {
            "The artifact"
        };

        let list = operation(plural, &format!("Lists {plural}, in order of names."))
            .parameters(Some(paging()))
            .parameters(Some(shown.clone()))
            .response("200", listed(&format!("A page of {plural}")));
        add(document, &all, HttpMethod::Get, list.build());

        let create = operation(
            plural,
            &format!("Creates a {singular}, or replaces the one of its name."),
        )
        .parameters(Some(checked.clone()))
        .request_body(Some(text(body, Required::True)))
        .response(self.created, answer_of(self.written, Schema::from(any())))
        .response("400", error("Wrong; nothing was changed"))
        .response("413", error("The body is too large"));
        add(document, &all, HttpMethod::Post, create.build());

        let read = operation(plural, &format!("Reads a {singular}."))
            .parameter(name())
            .parameters(Some(shown))
            .response("200", answer_of(&format!("The {singular}"), Schema::from(any())))
            .response("404", error("Not there"));
        add(document, &one, HttpMethod::Get, read.build());

        let summary = if deployments {
            "Merges a blueprint into a deployment, or creates it.".to_owned()
        } else {
            format!("Creates or replaces a {singular}. The body's name must be the path's.")
        };
        let update = operation(plural, &summary)
            .parameter(name())
            .parameters(Some(checked.clone()))
            .request_body(Some(text(body, Required::True)))
            .response(self.updated, answer_of(self.written, Schema::from(any())))
            .response("400", error("Wrong; nothing was changed"))
            .response("413", error("The body is too large"));
        add(document, &one, HttpMethod::Put, update.build());

        let delete = if deployments {
            operation(plural, "Takes services away. An empty body takes none away.")
                .request_body(Some(text(
                    "A blueprint or printed deployment that names the services",
                    Required::False,
                )))
                .response("202", answer_of("The deployment", Schema::from(any())))
                .response("404", error("Not there"))
        } else {
            operation(
                plural,
                &format!("Deletes a {singular}. One that is not there is deleted already."),
            )
            .response(
                self.deleted,
                ResponseBuilder::new().description("Deleted").build(),
            )
        };
        let delete = delete
            .parameter(name())
            .parameters(Some(checked))
            .response("400", error("Wrong; nothing was changed"));
        add(document, &one, HttpMethod::Delete, delete.build());
    }
}

fn operation(tag: &str, summary: &str) -> OperationBuilder {
    OperationBuilder::new().tag(tag).summary(Some(summary))
}

fn add(document: &mut utoipa::openapi::OpenApi, path: &str, method: HttpMethod, operation: Operation) {
    let item = PathItem::new(method, operation);
    let path = format!("{BASE}{path}");
    match document.paths.paths.get_mut(&path) {
        Some(known) => known.merge_operations(item),
        None => drop(document.paths.paths.insert(path, item)),
    }
}

fn name() -> Parameter {
    let text = "Rest of the path: names of gateways have slashes, raw or as %2F";
    parameter("name", Type::String, ParameterIn::Path, Required::True, text)
}

fn query(name: &str, kind: Type, text: &str) -> Parameter {
    parameter(name, kind, ParameterIn::Query, Required::False, text)
}

fn parameter(name: &str, kind: Type, place: ParameterIn, required: Required, text: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(text))
        .schema(Some(Schema::from(ObjectBuilder::new().schema_type(kind).build())))
        .build()
}

fn paging() -> [Parameter; 2] {
    [
        query("page", Type::Integer, "From 1"),
        query("per_page", Type::Integer, "1 to 30, default 30"),
    ]
}

/// Anything: the forms of artifacts are described in words.
fn any() -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::AnyValue)
        .additional_properties(None::<AdditionalProperties<Schema>>)
        .build()
}

fn list_of(items: Schema) -> Schema {
    Schema::from(ArrayBuilder::new().items(RefOr::T(items)).build())
}

fn text(description: &str, required: Required) -> RequestBody {
    let content = Content::new(Some(RefOr::T(Schema::from(any()))));
    RequestBodyBuilder::new()
        .description(Some(description))
        .required(Some(required))
        .content("application/x-yaml", content.clone())
        .content("application/json", content)
        .build()
}

fn answer_of(description: &str, schema: Schema) -> Response {
    ResponseBuilder::new()
        .description(description)
        .content("application/json", Content::new(Some(RefOr::T(schema))))
        .build()
}

fn listed(description: &str) -> Response {
    let mut response = answer_of(description, list_of(Schema::from(any())));
    for (name, text) in [
        ("X-Total-Count", "Artifacts on all pages"),
        ("Link", "`first`, `prev`, `next`, `last`"),
    ] {
        let header = utoipa::openapi::header::HeaderBuilder::new()
            .description(Some(text))
            .build();
        response.headers.insert(name.to_owned(), header.into());
    }
    response
}

fn error(description: &str) -> Response {
    ResponseBuilder::new()
        .description(description)
        .content(
            "application/json",
            Content::new(Some(RefOr::<Schema>::Ref(Ref::from_schema_name("Error")))),
        )
        .build()
}
