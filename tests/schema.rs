//! `fleet schema`: what SQL is checked against is what the program's own code will meet.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use sqlx::{AssertSqlSafe, Column, Connection, Executor, PgConnection, SqlSafeStr, Statement, TypeInfo};

use crate::harness::process::signal;
use crate::harness::{Database, terraform};

fn schema(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleet"));
    command.arg("schema").args(arguments).env_remove("DATABASE_URL").stderr(Stdio::piped());
    command
}

/// Starts one that stays, and says where its database is.
async fn staying(arguments: &[&str]) -> (Child, String) {
    let mut child = schema(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    let line = tokio::task::spawn_blocking(|| BufReader::new(stdout).lines().next()).await.unwrap();
    let line = line.expect("it says where the database is").unwrap();
    (child, line.strip_prefix("DATABASE_URL=").unwrap().to_owned())
}

async fn succeeded(child: Child) {
    let ended = tokio::task::spawn_blocking(|| child.wait_with_output()).await.unwrap().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test]
async fn every_statement_means_there_what_its_description_says() {
    let (child, url) = staying(&[]).await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let mut described = 0;
    for file in std::fs::read_dir(terraform::root().join(".sqlx")).unwrap() {
        let description: Value = serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap();
        let sql = description["query"].as_str().unwrap().to_owned();
        let statement = connection
            .prepare(AssertSqlSafe(&*sql).into_sql_str())
            .await
            .unwrap_or_else(|error| panic!("{error}: {sql}"));
        let columns = statement
            .columns()
            .iter()
            .map(|column| (column.name().to_owned(), column.type_info().name().to_lowercase()));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let promised = description["describe"]["columns"].as_array().unwrap().iter();
        let kind =
            |name: String| name.strip_suffix("array").map_or_else(|| name.clone(), |element| format!("{element}[]"));
        let promised = promised.map(|column| (text(&column["name"]), kind(text(&column["type_info"]).to_lowercase())));
        assert_eq!(columns.collect::<Vec<_>>(), promised.collect::<Vec<_>>(), "{sql}");
        described += 1;
    }
    assert!(described > 50, "only {described} statements");

    // A throwaway is gone when it is not needed any more.
    signal(&child, "INT");
    succeeded(child).await;
    assert!(PgConnection::connect(&url).await.is_err());
}

#[tokio::test]
async fn a_command_is_given_the_database_and_its_exit_code_is_passed_on() {
    let database = Database::empty().await;
    let check = r#"test "$SQLX_OFFLINE" = false && case $DATABASE_URL in *search_path*) exit 7;; esac"#;
    let ended = output(schema(&["--database-url", &database.url, "--", "sh", "-c", check])).await;
    assert_eq!(ended.status.code(), Some(7), "{}", String::from_utf8_lossy(&ended.stderr));
    let tables = "select count(*) from vocabulary.vocabulary_entries";
    assert_eq!(database.count(tables).await, 0);
}

#[tokio::test]
async fn a_database_that_has_the_tables_already_is_refused() {
    // Those that it has may be older than the SQL.
    let database = Database::new().await;
    let refused = output(schema(&["--database-url", &database.url, "--", "true"])).await;
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("the tables of vocabulary") && said.contains("already exists"), "{said}");
}

#[tokio::test]
async fn tables_that_would_be_refused_later_are_refused_there() {
    let (database, folder) = (Database::empty().await, tempfile::tempdir().unwrap());
    for (name, sql) in [
        ("late_orders", "create table late_orders (id uuid primary key)"),
        ("totals", "create view totals as select count(*) from late_orders.late_orders"),
    ] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("schema.sql"), sql).unwrap();
    }
    let folder = folder.path().to_str().unwrap();
    let refused = output(schema(&["--database-url", &database.url, "--tables", folder, "--", "true"])).await;
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("the tables of totals rest on those of late_orders, another read model"), "{said}");
}

#[tokio::test]
async fn tables_that_the_program_does_not_know_yet_are_taken_from_their_files() {
    let (database, folder) = (Database::empty().await, tempfile::tempdir().unwrap());
    for (name, sql) in [
        ("late_orders", "create table late_orders (id uuid primary key)"),
        ("totals", "create table totals (day date)"),
    ] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("schema.sql"), sql).unwrap();
    }
    let folder = folder.path().to_str().unwrap();
    let (child, url) = staying(&["--database-url", &database.url, "--tables", folder]).await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    connection.execute("insert into late_orders values (gen_random_uuid())").await.unwrap();
    connection.execute("insert into totals values ('2026-03-01')").await.unwrap();
    let ours = "select count(*) from pg_namespace where nspname = 'vocabulary'";
    assert_eq!(database.count(ours).await, 0, "the files take the place of what was built in");
    signal(&child, "TERM");
    succeeded(child).await;
}
