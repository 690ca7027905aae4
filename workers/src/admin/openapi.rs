//! `GET /admin/v1/openapi.json`: the API described for programs, in OpenAPI 3.1, made of the routes themselves.
//!
//! A handler says what is its own. What is true of all of them is added here: the problems that each may answer.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::schema::{Schema, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder, Server};
use utoipa::{OpenApi as _, ToSchema};

use super::problem::CONTENT_TYPE;
use super::{Kind, PREFIX, Problem, routes};

/// Where a handler names the problems that are its own, and where the description names all that it may answer.
const PROBLEMS: &str = "x-problems";

const BEARER: &str = "bearer";

/// What does not come from the routes.
pub(super) fn about() -> OpenApi {
    #[derive(utoipa::OpenApi)]
    #[openapi(components(schemas(Problem)))]
    struct Components;

    let info = InfoBuilder::new()
        .title("fleet: admin API")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "How late each read model is, what could not be applied, and what is done about it. Lists are read page by \
             page. What is asked for is an operation, which goes on after the answer. Every refusal is a problem \
             (RFC 9457) of one of the kinds of `Kind`.",
        ))
        .build();
    let mut components = Components::openapi();
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    components.components.get_or_insert_default().add_security_scheme(BEARER, bearer);
    // Or nothing, where nobody is asked.
    let security = [SecurityRequirement::new(BEARER, [""; 0]), SecurityRequirement::default()];
    OpenApiBuilder::from(components).security(Some(security)).info(info).servers(Some([Server::new(PREFIX)])).build()
}

/// The description of every route.
pub fn document() -> OpenApi {
    let mut document = routes().into_openapi();
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        operations.into_iter().flatten().for_each(finish);
    }
    document
}

/// The same as text.
///
/// # Panics
/// Never: the description holds only what is JSON.
pub fn text() -> String {
    document().to_pretty_json().expect("a description is JSON") + "\n"
}

fn finish(operation: &mut Operation) {
    let mut kinds = own(operation);
    kinds.extend([
        Kind::Invalid,
        Kind::Unauthenticated,
        Kind::Forbidden,
        Kind::Internal,
        Kind::IdentityUnavailable,
        Kind::Unavailable,
    ]);
    if let Some(body) = &mut operation.request_body {
        kinds.extend([Kind::TooLarge, Kind::WrongContentType]);
        // One that may be left out is still no `null`.
        for content in body.content.values_mut() {
            if let Some(RefOr::T(schema)) = &mut content.schema {
                without_null(schema);
            }
        }
    }
    for parameter in operation.parameters.iter_mut().flatten() {
        if parameter.name == "Idempotency-Key" {
            kinds.push(Kind::KeyReused);
        }
        // Where there is no value there is no parameter: none can be `null`.
        if parameter.parameter_in != ParameterIn::Path
            && let Some(RefOr::T(schema)) = &mut parameter.schema
        {
            without_null(schema);
        }
    }
    let statuses: BTreeSet<_> = kinds.iter().map(|kind| kind.status()).collect();
    for status in statuses {
        let of_status = kinds.iter().filter(|kind| kind.status() == status);
        let said: Vec<_> = of_status.map(|kind| format!("`{}`: {}", kind.urn(), kind.when())).collect();
        let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name()))).build();
        let response = ResponseBuilder::new().description(said.join("\n\n")).content(CONTENT_TYPE, problem).build();
        operation.responses.responses.insert(status.as_str().to_owned(), RefOr::T(response));
    }
    let all = ExtensionsBuilder::new().add(PROBLEMS, json!(kinds)).build();
    operation.extensions.get_or_insert_default().merge(all);
}

/// Those that the handler itself names.
fn own(operation: &Operation) -> Vec<Kind> {
    let named = operation.extensions.iter().filter_map(|extensions| extensions.get(PROBLEMS));
    let named: Vec<_> = named.filter_map(|named| named.as_array()).flatten().collect();
    let is = |kind: &Kind| named.iter().any(|named| *named == kind.urn());
    Kind::ALL.iter().copied().filter(is).collect()
}

fn without_null(schema: &mut Schema) {
    match schema {
        Schema::Object(object) => {
            if let SchemaType::Array(types) = &mut object.schema_type {
                types.retain(|kind| *kind != Type::Null);
                if let [only] = &types[..] {
                    object.schema_type = SchemaType::Type(only.clone());
                }
            }
        }
        Schema::OneOf(one) => one.items.retain(|item| {
            !matches!(item, RefOr::T(Schema::Object(object)) if object.schema_type == SchemaType::Type(Type::Null))
        }),
        _ => {}
    }
}

/// This description.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "showOpenApi",
    tag = "description",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object))
)]
pub(super) async fn show() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(text);
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}
