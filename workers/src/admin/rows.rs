//! `GET /admin/v1/projections/{name}/tables` and `POST /admin/v1/projections/{name}/rows`: what is in a read model.
//!
//! Rows are asked for with a body: what somebody looks for is as personal as what is found, and a URL is in everybody's logs.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use chrono::{DateTime, Utc};
use database::Lent;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use utoipa::{IntoParams, ToSchema};

use super::access::Asker;
use super::names::unknown;
use super::request::{Parameters, page, parse, query};
use super::{Admin, Kind, Problem, now};
use crate::audit::{self, Attribution};
use crate::rows::{self, Place, Refused, Row, Wanted};
use crate::tables::Table;

/// Columns that are named at most, in a filter or of those to show.
const MOST_COLUMNS: usize = 100;

/// Whose tables.
#[derive(Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Of {
    /// Without it: the one that is read.
    #[param(minimum = 1)]
    pub generation: Option<i32>,
}

/// The tables of a read model.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = ReadModelTables)]
pub struct Tables {
    pub observed_at: DateTime<Utc>,
    pub generation: i32,
    /// Of the code that has built it.
    pub version: i32,
    pub tables: Vec<Table>,
}

/// Which rows.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = RowsRequest)]
#[serde(deny_unknown_fields)]
pub struct Looking {
    pub table: String,
    /// Those whose column has this value, written as Postgres writes it; `null`: has none.
    #[serde(default, rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub filter: BTreeMap<String, Option<String>>,
    /// What is shown of a row; if it is empty, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<BTreeMap<String, String>>,
    /// Of a page; at most, and if it is absent, 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100, default = 100)]
    pub limit: Option<i64>,
    /// Without it: the one that is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub generation: Option<i32>,
    #[schema(max_length = 1000, pattern = "^[^\\x00]*$")]
    pub actor: String,
    #[schema(max_length = 1000, pattern = "^[^\\x00]*$")]
    pub reason: String,
}

/// A page of a table.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = RowsPage)]
pub struct Page {
    pub observed_at: DateTime<Utc>,
    pub generation: i32,
    /// In the order in which they are shown.
    pub columns: Vec<String>,
    /// In the order of their key; as they come, where there is none. A page ends at 4 MiB.
    pub rows: Vec<Row>,
    pub more: bool,
    /// `null`: this is the last page; or there are more, and the table has no key to go on by.
    pub next: Option<BTreeMap<String, String>>,
}

/// The tables of a read model, with their columns and about how large they are.
#[utoipa::path(
    get,
    path = "/projections/{name}/tables",
    operation_id = "listTables",
    tag = "rows",
    params(("name" = String, Path, description = "Of a projection."), Of),
    responses((status = 200, description = "All of them.", body = Tables)),
    extensions(("x-problems" = json!([Kind::NotFound])))
)]
pub(super) async fn tables(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    of: Parameters<Of>,
) -> Result<Json<Tables>, Problem> {
    let Of { generation } = query(of)?;
    let name = admin.projection(&name).map_err(Problem::not_found)?.name();
    let observed_at = now(&admin).await?;
    let mut db = Lent::by(&admin.pool).await?;
    let found = there(&mut db, name, generation).await;
    db.give_back();
    let (place, tables) = found?;
    Ok(Json(Tables { observed_at, generation: place.generation, version: place.version, tables }))
}

/// Rows of a table of a read model.
///
/// That somebody looked is recorded, with the reason; what was looked for is not. A page that takes more than 5 s is given up.
#[utoipa::path(
    post,
    path = "/projections/{name}/rows",
    operation_id = "listRows",
    tag = "rows",
    params(("name" = String, Path, description = "Of a projection.")),
    request_body = Looking,
    responses((status = 200, description = "A page.", body = Page)),
    extensions(("x-problems" = json!([Kind::NotFound, Kind::Refused])))
)]
pub(super) async fn list(
    State(admin): State<Admin>,
    asker: Asker,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Page>, Problem> {
    let Looking { table, filter, columns, after, limit, generation, actor, reason } = parse(&body)?;
    let by = asker.signs(actor, reason);
    by.require()?;
    let wanted = Wanted { filter, columns, after, limit: page(limit)? };
    let name = admin.projection(&name).map_err(Problem::not_found)?.name();
    let observed_at = now(&admin).await?;
    let mut db = Lent::by(&admin.pool).await?;
    let revealed = reveal(&mut db, name, generation, &table, &wanted, &by).await;
    db.give_back();
    let (generation, rows::Page { columns, rows, more, next }) = revealed?;
    Ok(Json(Page { observed_at, generation, columns, rows, more, next }))
}

/// A page, and the generation of which it is. That somebody looked is recorded also if nothing was seen.
async fn reveal(
    db: &mut PgConnection,
    name: &str,
    generation: Option<i32>,
    table: &str,
    wanted: &Wanted,
    by: &Attribution,
) -> Result<(i32, rows::Page), Problem> {
    let (place, tables) = there(&mut *db, name, generation).await?;
    fits(&tables, table, wanted)?;
    let mut tx = db.begin().await?;
    let looked_for: Vec<_> = wanted.filter.keys().collect();
    let detail = json!({"generation": place.generation, "where": looked_for, "columns": wanted.columns});
    audit::record(&mut tx, by, "rows.reveal", format!("{name}.{table}"), &detail).await?;
    let read = rows::page(&mut tx, name, generation, table, wanted).await;
    tx.commit().await?;
    Ok(read?)
}

async fn there(db: &mut PgConnection, name: &str, generation: Option<i32>) -> Result<(Place, Vec<Table>), Problem> {
    let place = rows::place(&mut *db, name, generation).await?.ok_or_else(|| match generation {
        Some(number) => Problem::not_found(format!("{name} has no generation {number}, or not any more")),
        None => Problem::not_found(format!("projection {name} is not in the database yet: run fleet migrate")),
    })?;
    let tables = rows::tables(db, &place).await?;
    Ok((place, tables))
}

/// Whether what is wanted can be had.
///
/// # Errors
/// There is no table of that name, or it has no such column, or what is to be gone on from is not one of its keys.
fn fits(tables: &[Table], name: &str, wanted: &Wanted) -> Result<(), Problem> {
    let found = tables.iter().find(|table| table.name == name).ok_or_else(|| {
        let names: Vec<_> = tables.iter().map(|table| &*table.name).collect();
        Problem::invalid("table", unknown("table", name, &names))
    })?;
    let columns = wanted.filter.keys().map(|name| ("where", name));
    let columns = columns.chain(wanted.columns.iter().map(|name| ("columns", name)));
    if columns.clone().count() > MOST_COLUMNS {
        return Err(Problem::invalid("columns", format!("at most {MOST_COLUMNS} columns are named")));
    }
    for (field, column) in columns {
        if found.column(column).is_none() {
            let names: Vec<_> = found.columns.iter().map(|column| &*column.name).collect();
            return Err(Problem::invalid(field, unknown("column", column, &names)));
        }
    }
    let key = wanted.after.iter().flat_map(BTreeMap::keys).collect::<BTreeSet<_>>();
    if wanted.after.is_some() && (key.is_empty() || key != found.key.iter().collect()) {
        return Err(Problem::invalid("after", "must be the `next` of a page of this table"));
    }
    Ok(())
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let detail = refused.to_string();
        match refused {
            Refused::Database(error) => error.into(),
            Refused::Value(_) => Self::invalid("where", detail),
            Refused::TooLong | Refused::TooLarge(_) | Refused::Forbidden(_) | Refused::Unsteady => {
                Self::refused(detail)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::Column;

    #[test]
    fn names_are_those_of_the_table_and_a_page_goes_on_from_a_key() {
        let column = |name: &str| Column {
            name: name.to_owned(),
            data_type: "text".to_owned(),
            nullable: false,
            cast: "text".to_owned(),
        };
        let orders = Table {
            name: "orders".to_owned(),
            view: false,
            rows: None,
            bytes: 0,
            key: vec!["id".to_owned()],
            columns: vec![column("id"), column("customer")],
        };
        let refused = |table: &str, wanted: Wanted| {
            let fit = fits(std::slice::from_ref(&orders), table, &wanted);
            fit.err().map(|problem| problem.detail().to_owned()).unwrap_or_default()
        };
        let after = |names: &[&str]| Wanted {
            after: Some(names.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect()),
            ..Wanted::default()
        };
        let filter = [("customr".to_owned(), None)].into();
        assert_eq!(refused("orders", Wanted::default()), "");
        assert!(refused("order", Wanted::default()).contains("did you mean orders?"));
        assert!(refused("orders", Wanted { filter, ..Wanted::default() }).contains("did you mean customer?"));
        let columns = vec!["id\"".to_owned()];
        assert!(refused("orders", Wanted { columns, ..Wanted::default() }).contains("did you mean id?"));
        assert_eq!(refused("orders", after(&["id"])), "");
        for names in [&[][..], &["customer"], &["id", "customer"]] {
            assert!(refused("orders", after(names)).contains("`next`"), "{names:?}");
        }
    }
}
