//! What the tables of a read model may be: what is refused, and what is named.

use fleet::host::Parts;
use fleet::{Error, Projection, Recorded};
use projections::topics::VOCABULARY;
use projections::topics::vocabulary::VocabularyEvent;
use sqlx::PgConnection;

use crate::harness::Database;

/// Read models that differ in their tables.
macro_rules! shaped {
    ($type:ident, $name:literal, $version:literal, $tables:literal) => {
        struct $type;

        impl Projection for $type {
            const NAME: &'static str = $name;
            const VERSION: u32 = $version;
            const TABLES: &'static str = $tables;
            type Event = VocabularyEvent;
            type Changes = ();

            fn fold(_: &mut (), _: &Recorded<VocabularyEvent>) {}

            async fn write(_: (), _: &mut PgConnection) -> Result<(), Error> {
                Ok(())
            }
        }
    };
}

shaped!(
    Trespasser,
    "trespasser",
    1,
    "create table own (id int primary key); create table public.shared (id int primary key)"
);
shaped!(Wanderer, "wanderer", 1, "create table nowhere.own (id int primary key)");
shaped!(Shaped, "shaped", 1, "create table own (id int primary key, text text)");
shaped!(Reshaped, "shaped", 1, "create table own (id int primary key, text text not null, more int)");
shaped!(Raised, "shaped", 2, "create table own (id int primary key)");
shaped!(
    Ruled,
    "shaped",
    1,
    "create table own (id int primary key, text text default 'none', constraint positive check (id > 0));
     create view shaped as select shaped.id from own as shaped"
);
shaped!(
    Unruled,
    "shaped",
    1,
    "create table own (id int primary key, text text default 'some');
     create view shaped as select shaped.id from own as shaped where id > 1"
);
shaped!(Unlogged, "unlogged", 1, "create unlogged table own (id int primary key)");
shaped!(
    Stale,
    "stale",
    1,
    "create table own (id int primary key); create materialized view all_of_it as select * from own"
);
shaped!(Leaning, "leaning", 1, "create view own as select id from shaped.own");
shaped!(Bound, "bound", 1, "create table own (id int references shaped.own)");
shaped!(Misspelt, "misspelt", 1, "create table own (id int);\ncreate tabel more (id int)");

/// Whoever makes something on the tables of another read model would go on reading a generation of it that is dropped one day.
#[tokio::test]
async fn tables_that_rest_on_those_of_another_read_model_are_refused() {
    let database = Database::empty().await;
    let of = |built: fleet::Builder| built.build().unwrap();
    let migrate = async |program: fleet::Fleet| {
        let parts = Parts::builder(program.catalogue(), &database.pool).start().await.unwrap();
        parts.migrate().await.map_err(|error| format!("{:#}", anyhow::Error::from(error)))
    };
    let begin = || fleet::Fleet::builder().topic(&VOCABULARY);
    migrate(of(begin().projection::<Shaped>())).await.unwrap();
    for (name, program) in [("leaning", begin().projection::<Leaning>()), ("bound", begin().projection::<Bound>())] {
        let refused = migrate(of(program.projection::<Shaped>())).await.unwrap_err();
        let said = format!("the tables of {name} rest on those of shaped, another read model");
        assert!(refused.contains(&said), "{refused}");
    }
    // Of both that are new, too.
    let empty = Database::empty().await;
    let program = of(begin().projection::<Shaped>().projection::<Bound>());
    let parts = Parts::builder(program.catalogue(), &empty.pool).start().await.unwrap();
    let refused = format!("{:#}", anyhow::Error::from(parts.migrate().await.unwrap_err()));
    assert!(refused.contains("the tables of bound rest on those of shaped"), "{refused}");
    let refused = migrate(of(begin().projection::<Misspelt>())).await.unwrap_err();
    assert!(refused.contains("the tables of misspelt, line 2: syntax error at or near \"tabel\""), "{refused}");
}

/// Rows that Postgres does not keep, or that nobody writes.
#[tokio::test]
async fn tables_that_lose_rows_are_refused() {
    let database = Database::empty().await;
    let begin = || fleet::Fleet::builder().topic(&VOCABULARY);
    for (program, said) in [
        (
            begin().projection::<Unlogged>(),
            "among the tables of unlogged is the unlogged table own, which Postgres empties",
        ),
        (begin().projection::<Stale>(), "among the tables of stale is the materialized view all_of_it, which nobody"),
    ] {
        let program = program.build().unwrap();
        let parts = Parts::builder(program.catalogue(), &database.pool).start().await.unwrap();
        let refused = format!("{:#}", anyhow::Error::from(parts.migrate().await.unwrap_err()));
        assert!(refused.contains(said), "{refused}");
    }
}

/// What `fleet dev` warns of: an author has changed the tables, and not the version.
#[tokio::test]
async fn tables_that_were_changed_without_the_version_are_named() {
    let database = Database::empty().await;
    let pool = &database.pool;
    let program = |built: fleet::Builder| built.build().unwrap();
    let shaped = program(fleet::Fleet::builder().topic(&VOCABULARY).projection::<Shaped>());
    let reshaped = program(fleet::Fleet::builder().topic(&VOCABULARY).projection::<Reshaped>());
    let raised = program(fleet::Fleet::builder().topic(&VOCABULARY).projection::<Raised>());
    let differs = async |program: &fleet::Fleet| {
        workers::generations::shape::differs(pool, program.catalogue().projection("shaped").unwrap()).await.unwrap()
    };
    Parts::builder(shaped.catalogue(), pool).start().await.unwrap().migrate().await.unwrap();
    assert_eq!(differs(&shaped).await, "");
    assert_eq!(differs(&reshaped).await, "own.more, own.text");
    assert_eq!(differs(&raised).await, "", "it is built anew");
    sqlx::raw_sql(
        "alter table shaped.own alter text set default 'none', add constraint positive check (id > 0);
         create view shaped.shaped as select shaped.id from shaped.own as shaped",
    )
    .execute(pool)
    .await
    .unwrap();
    let ruled = program(fleet::Fleet::builder().topic(&VOCABULARY).projection::<Ruled>());
    let unruled = program(fleet::Fleet::builder().topic(&VOCABULARY).projection::<Unruled>());
    assert_eq!(differs(&ruled).await, "");
    assert_eq!(differs(&unruled).await, "own.positive, own.text, shaped");
    let left: i64 = sqlx::query_scalar("select count(*) from pg_namespace where nspname like 'shaped%'")
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(left, 1, "what was made to compare it with is gone");
}

#[tokio::test]
async fn a_table_in_a_schema_that_is_not_there_is_to_be_made_without_naming_one() {
    let database = Database::empty().await;
    let program = fleet::Fleet::builder().topic(&VOCABULARY).projection::<Wanderer>().build().unwrap();
    let parts = Parts::builder(program.catalogue(), &database.pool).start().await.unwrap();
    let refused = format!("{:#}", anyhow::Error::from(parts.migrate().await.unwrap_err()));
    let said = "the tables of wanderer are to be made without naming a schema, because each generation has its own: \
                schema \"nowhere\" does not exist";
    assert!(refused.contains(said), "{refused}");
}

#[tokio::test]
async fn tables_outside_of_the_schema_of_their_generation_are_refused_and_named() {
    let database = Database::empty().await;
    let program = fleet::Fleet::builder().topic(&VOCABULARY).projection::<Trespasser>().build().unwrap();
    let parts = Parts::builder(program.catalogue(), &database.pool).start().await.unwrap();
    let refused = format!("{:#}", anyhow::Error::from(parts.migrate().await.unwrap_err()));
    assert!(refused.contains("trespasser") && refused.contains("public.shared"), "{refused}");
    assert!(!refused.contains("trespasser.own"), "{refused}");
    let mut db = database.pool.acquire().await.unwrap();
    let by_the_kit = read_model::testing::Generation::<Trespasser>::create(&mut db).await.err().unwrap().to_string();
    assert!(by_the_kit.contains("public.shared"), "{by_the_kit}");
    let left: Option<String> =
        sqlx::query_scalar("select to_regclass('public.shared')::text").fetch_one(&mut *db).await.unwrap();
    assert_eq!(left, None);
}
