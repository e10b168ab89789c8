//! Pieces of the description.

use utoipa::openapi::{
    Content, HttpMethod, Object, ObjectBuilder, Ref, RefOr, Required, Response, ResponseBuilder, Type,
    path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem},
    request_body::{RequestBody, RequestBodyBuilder},
    schema::{AdditionalProperties, ArrayBuilder, Schema, SchemaType},
};

use super::super::path::BASE;

pub(super) fn operation(tag: &str, summary: &str) -> OperationBuilder {
    OperationBuilder::new().tag(tag).summary(Some(summary))
}

pub(super) fn add(
    document: &mut utoipa::openapi::OpenApi,
    path: &str,
    method: HttpMethod,
    operation: Operation,
) {
    let item = PathItem::new(method, operation);
    let path = format!("{BASE}{path}");
    match document.paths.paths.get_mut(&path) {
        Some(known) => known.merge_operations(item),
        None => drop(document.paths.paths.insert(path, item)),
    }
}

pub(super) fn name() -> Parameter {
    let text = "Rest of the path: names of gateways have slashes, raw or as %2F";
    parameter("name", Type::String, ParameterIn::Path, Required::True, text)
}

pub(super) fn query(name: &str, kind: Type, text: &str) -> Parameter {
    parameter(name, kind, ParameterIn::Query, Required::False, text)
}

pub(super) fn parameter(
    name: &str,
    kind: Type,
    place: ParameterIn,
    required: Required,
    text: &str,
) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(text))
        .schema(Some(Schema::from(ObjectBuilder::new().schema_type(kind).build())))
        .build()
}

pub(super) fn paging() -> [Parameter; 2] {
    [
        query("page", Type::Integer, "From 1"),
        query("per_page", Type::Integer, "1 to 30, default 30"),
    ]
}

/// Anything: the forms of artifacts are described in words.
pub(super) fn any() -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::AnyValue)
        .additional_properties(None::<AdditionalProperties<Schema>>)
        .build()
}

pub(super) fn list_of(items: Schema) -> Schema {
    Schema::from(ArrayBuilder::new().items(RefOr::T(items)).build())
}

pub(super) fn text(description: &str, required: Required) -> RequestBody {
    let content = Content::new(Some(RefOr::T(Schema::from(any()))));
    RequestBodyBuilder::new()
        .description(Some(description))
        .required(Some(required))
        .content("application/x-yaml", content.clone())
        .content("application/json", content)
        .build()
}

pub(super) fn answer_of(description: &str, schema: Schema) -> Response {
    ResponseBuilder::new()
        .description(description)
        .content("application/json", Content::new(Some(RefOr::T(schema))))
        .build()
}

pub(super) fn listed(description: &str) -> Response {
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

pub(super) fn error(description: &str) -> Response {
    ResponseBuilder::new()
        .description(description)
        .content(
            "application/json",
            Content::new(Some(RefOr::<Schema>::Ref(Ref::from_schema_name("Error")))),
        )
        .build()
}
