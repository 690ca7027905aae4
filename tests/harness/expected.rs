//! The rows that the read models must have after the sample history.

use std::io::{BufRead, BufReader};
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, PgPool};

/// Schema and table.
pub const TABLES: [(&str, &str); 9] = [
    ("vocabulary", "vocabulary_entries"),
    ("vocabulary", "vocabulary_items"),
    ("learner_progress", "learning_sessions"),
    ("learner_progress", "item_mastery"),
    ("learner_progress", "daily_progress"),
    ("learner_progress", "user_progress"),
    ("learner_journeys", "learner_journeys"),
    ("user_directory", "users"),
    ("learning_time", "learners"),
];

/// Fails unless all nine tables equal the expected rows, column by column; names the first row that differs.
pub async fn assert_sample(pool: &PgPool) {
    for (schema, table) in TABLES {
        let expected = expected(table);
        let columns: Vec<String> = expected[0].keys().cloned().collect();
        let mut wanted: Vec<String> = expected.into_iter().map(|row| Value::Object(row).to_string()).collect();
        let mut found: Vec<String> = rows(pool, schema, table)
            .await
            .into_iter()
            .map(|row| {
                let only = |name: &String| (name.clone(), row[name].clone());
                Value::Object(columns.iter().map(only).collect()).to_string()
            })
            .collect();
        wanted.sort_unstable();
        found.sort_unstable();
        for (wanted, found) in wanted.iter().zip(&found) {
            assert_eq!(found, wanted, "{schema}.{table}");
        }
        assert_eq!(found.len(), wanted.len(), "rows of {schema}.{table}");
    }
}

/// All rows of a table, as Postgres prints them.
pub async fn rows(pool: &PgPool, schema: &str, table: &str) -> Vec<Map<String, Value>> {
    let sql = format!("select to_jsonb(t) from {schema}.{table} as t");
    let rows: Vec<Value> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(pool).await.unwrap();
    rows.into_iter().map(|row| row.as_object().unwrap().clone()).collect()
}

fn expected(table: &str) -> Vec<Map<String, Value>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/expected/{table}.ndjson.gz"));
    let lines = BufReader::new(GzDecoder::new(std::fs::File::open(file).unwrap())).lines();
    lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}
