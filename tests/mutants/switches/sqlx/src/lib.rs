//! sqlx, with every statement that `query!` has checked open to change at run time: `MUTANT_SQL=file` names a file with
//! two statements, the one to be found and the one to be sent instead. `MUTANT_REACHED=file` has each statement that is
//! sent noted there, by its text as JSON would have it.

pub use real::*;

use std::collections::HashSet;
use std::io::Write;
use std::sync::{LazyLock, Mutex};

use real::error::BoxDynError;
use real::query::{Query, QueryScalar};
use real::{Database, IntoArguments};

/// Between the two statements of a file.
const INSTEAD: &str = "\n--- instead ---\n";

static MUTANT: LazyLock<Option<(&str, &str)>> = LazyLock::new(|| {
    let path = std::env::var_os("MUTANT_SQL")?;
    let text: &'static str = std::fs::read_to_string(path).expect("the file of the runner").leak();
    text.split_once(INSTEAD)
});

static REACHED: LazyLock<Option<Mutex<(std::fs::File, HashSet<&str>)>>> = LazyLock::new(|| {
    let path = std::env::var_os("MUTANT_REACHED")?;
    let file = std::fs::File::options().create(true).append(true).open(path).expect("the file of the runner");
    Some(Mutex::new((file, HashSet::new())))
});

fn switched(sql: &'static str) -> &'static str {
    if let Some(reached) = &*REACHED {
        let (file, known) = &mut *reached.lock().expect("nobody panics with it");
        if known.insert(sql) {
            writeln!(file, "{sql:?}").expect("the file of the runner can be written");
        }
    }
    match *MUTANT {
        Some((wanted, instead)) if wanted == sql => instead,
        _ => sql,
    }
}

#[doc(hidden)]
pub fn __query_with_result<'q, DB, A>(sql: &'static str, arguments: Result<A, BoxDynError>) -> Query<'q, DB, A>
where
    DB: Database,
    A: IntoArguments<DB>,
{
    real::__query_with_result(switched(sql), arguments)
}

#[doc(hidden)]
pub fn __query_scalar_with_result<'q, DB, O, A>(
    sql: &'static str,
    arguments: Result<A, BoxDynError>,
) -> QueryScalar<'q, DB, O, A>
where
    DB: Database,
    A: IntoArguments<DB>,
    (O,): for<'r> real::FromRow<'r, DB::Row>,
{
    real::__query_scalar_with_result(switched(sql), arguments)
}
