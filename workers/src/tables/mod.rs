//! The tables of a read model, as Postgres knows them.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

/// A table of a read model, or a view.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = ReadModelTable)]
pub struct Table {
    pub name: String,
    pub view: bool,
    /// About, of when Postgres last went through it; `null`: it has not yet.
    pub rows: Option<i64>,
    /// About, without its indexes.
    pub bytes: i64,
    /// The columns of its primary key, by which rows are told apart and put in order. A table may have none.
    pub key: Vec<String>,
    pub columns: Vec<Column>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = ReadModelColumn)]
pub struct Column {
    pub name: String,
    /// As Postgres writes it: `uuid`, `character varying(20)`.
    #[serde(rename = "type")]
    pub data_type: String,
    pub nullable: bool,
    /// What a text is cast to, to be compared with it.
    #[serde(skip)]
    pub cast: String,
}

impl Table {
    /// A column by its name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// Those of a schema, by name.
pub async fn list(db: &mut PgConnection, schema: &str) -> sqlx::Result<Vec<Table>> {
    let rows = sqlx::query_file!("src/tables/list.sql", schema).fetch_all(db).await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let columns = row.names.into_iter().zip(row.types).zip(row.casts).zip(row.nullable);
            let columns =
                columns.map(|(((name, data_type), cast), nullable)| Column { name, data_type, nullable, cast });
            let (name, view, rows, bytes, key) = (row.name, row.view, row.rows, row.bytes, row.key);
            Table { name, view, rows, bytes, key, columns: columns.collect() }
        })
        .collect())
}

/// A name as it stands in a statement.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_where_it_ends() {
        assert_eq!(quoted("orders"), "\"orders\"");
        assert_eq!(quoted("a\"; drop table b; --"), "\"a\"\"; drop table b; --\"");
    }
}
