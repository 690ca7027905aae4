//! A user of Postgres for each duty, with what its statements need and no more.
//!
//! The tables belong to whoever migrates. The schemas of a read model belong to a role of the projection that nobody logs in as; its
//! workers are members of it, and so may make, rename and drop them, and only those.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use event_store::grants as store;
use read_model::Catalogue;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use workers::tables::quoted;

use super::error::Error;

/// What a user of Postgres does for the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Duty {
    /// An event store: appends, and reads for others.
    Append,
    /// An event store that relays.
    Relay,
    /// An event store that forgets bookkeeping that is old.
    Prune,
    /// `fleet admin`.
    Admin,
    /// The worker of a topic, its replays and its rebuilds.
    Worker(String),
    /// Whoever reads the tables of a projection.
    Reader(String),
}

/// A duty, and who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// What is done.
    pub duty: Duty,
    /// The user of Postgres who does it. It is there already.
    pub user: String,
}

impl FromStr for Granted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (duty, user) = text.split_once('=').ok_or_else(|| format!("{text:?} is not DUTY=USER"))?;
        let (user, of) = (user.trim(), duty.trim().split_once(':'));
        if user.is_empty() || user.len() > 63 || user.contains('\0') {
            return Err(format!("{user:?} is no user of Postgres"));
        }
        let duty = match (duty.trim(), of) {
            ("append", None) => Duty::Append,
            ("relay", None) => Duty::Relay,
            ("prune", None) => Duty::Prune,
            ("admin", None) => Duty::Admin,
            (_, Some(("worker", topic))) => Duty::Worker(topic.to_owned()),
            (_, Some(("reader", projection))) => Duty::Reader(projection.to_owned()),
            (other, _) => {
                let all = "append, relay, prune, admin, worker:TOPIC and reader:PROJECTION";
                return Err(format!("there is no duty {other:?}: there are {all}"));
            }
        };
        Ok(Self { duty, user: user.to_owned() })
    }
}

/// What a process with these duties needs, and what gives it to its user.
pub fn needs(duties: &[Duty]) -> (Vec<store::Grant>, String) {
    let named = duties.iter().map(|duty| match duty {
        Duty::Append => "append=USER".to_owned(),
        Duty::Relay => "relay=USER".to_owned(),
        Duty::Prune => "prune=USER".to_owned(),
        Duty::Admin => "admin=USER".to_owned(),
        Duty::Worker(topic) => format!("worker:{topic}=USER"),
        Duty::Reader(projection) => format!("reader:{projection}=USER"),
    });
    (duties.iter().flat_map(Duty::grants).collect(), named.collect::<Vec<_>>().join(","))
}

impl Duty {
    fn grants(&self) -> Vec<store::Grant> {
        match self {
            Self::Append => store::APPEND.to_vec(),
            Self::Relay => store::RELAY.to_vec(),
            Self::Prune => workers::grants::prune(),
            Self::Admin => workers::grants::admin(),
            Self::Worker(_) => workers::grants::worker(),
            Self::Reader(_) => Vec::new(),
        }
    }

    /// Whether it reads the tables of a projection. An admin, which may read every event, shows people what became of them.
    fn reads(&self, projection: &str) -> bool {
        match self {
            Self::Admin => true,
            Self::Reader(name) => name == projection,
            _ => false,
        }
    }
}

/// The duties of this catalogue.
///
/// # Errors
/// One is of a topic or a projection that the program does not have.
pub(super) fn check(catalogue: &Catalogue, granted: &[Granted]) -> Result<(), Error> {
    for Granted { duty, .. } in granted {
        match duty {
            Duty::Worker(topic) if catalogue.topic(topic).is_none() => {
                return Err(Error::Grant(format!("there is no topic {topic:?}")));
            }
            Duty::Reader(projection) if catalogue.projection(projection).is_none() => {
                return Err(Error::Grant(format!("there is no projection {projection:?}")));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Before anything is done, that all of the users are there.
///
/// # Errors
/// One is not.
pub(super) async fn exist(db: &mut PgConnection, granted: &[Granted]) -> Result<(), Error> {
    let users: Vec<_> = granted.iter().map(|granted| granted.user.as_str()).collect();
    let missing = sqlx::query_scalar::<_, String>(
        "select wanted from unnest($1::text[]) as wanted where not exists (select from pg_roles where rolname = wanted) limit 1",
    );
    match missing.bind(&users).fetch_optional(db).await? {
        None => Ok(()),
        Some(user) => Err(Error::Grant(format!(
            "there is no user {user:?} in this Postgres, and nothing was done: make it first"
        ))),
    }
}

/// Gives each user what its duties need. Done again, it gives what has come since; what somebody had who is not named any more, it
/// leaves to whoever administers the server.
pub(super) async fn grant(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    granted: &[Granted],
) -> Result<Vec<String>, Error> {
    let mut by_user: BTreeMap<&str, Vec<&Duty>> = BTreeMap::new();
    for Granted { duty, user } in granted {
        by_user.entry(user).or_default().push(duty);
    }
    // What is granted again is granted already.
    sqlx::raw_sql("set local client_min_messages to warning").execute(&mut *db).await?;
    let mut done = Vec::new();
    for user in by_user.keys() {
        done.extend(fit(db, user).await?);
    }
    let (database, hash): (String, String) = sqlx::query_as(
        "select quote_ident(current_database()), left(encode(sha256(current_database()::bytea), 'hex'), 8)",
    )
    .fetch_one(&mut *db)
    .await?;
    let mut statements = vec!["revoke create on schema public from public".to_owned()];
    for (user, duties) in &by_user {
        let user = quoted(user);
        statements.push(format!("grant usage on schema public, fleet_bookkeeping to {user}"));
        if duties.iter().any(|duty| !matches!(duty, Duty::Reader(_))) {
            statements.push(format!("grant select on fleet_bookkeeping.migrations to {user}"));
        }
        let grants: BTreeSet<_> = duties.iter().flat_map(|duty| duty.grants()).collect();
        statements.extend(grants.into_iter().map(|(table, what)| format!("grant {what} on public.{table} to {user}")));
        if duties.iter().any(|duty| matches!(duty, Duty::Prune | Duty::Admin)) {
            statements.push(format!("grant execute on function public.prune_audit_log to {user}"));
        }
        if duties.contains(&&Duty::Admin) {
            // Whose snapshot is old, who blocks whom.
            done.extend(attempt(db, &format!("grant pg_read_all_stats to {user}")).await?);
        }
        if duties.iter().any(|duty| matches!(duty, Duty::Worker(_))) {
            statements.push(format!("grant create on database {database} to {user}"));
        }
    }
    for projection in catalogue.projections() {
        let owner = role_of(projection.name(), &hash);
        let (role, schemas) = (quoted(&owner), schemas(db, projection.name()).await?);
        statements.extend(owned(db, projection.name(), &owner, &database).await?);
        for Granted { duty, user } in granted {
            let user = quoted(user);
            match duty {
                Duty::Worker(topic) if projection.topics().iter().any(|of| of.name == topic) => {
                    statements.push(format!("grant {role} to {user}"));
                }
                _ if !duty.reads(projection.name()) => {}
                // Of every generation that comes, and of those that are there.
                _ => {
                    statements
                        .push(format!("alter default privileges for role {role} grant usage on schemas to {user}"));
                    statements
                        .push(format!("alter default privileges for role {role} grant select on tables to {user}"));
                    for schema in &schemas {
                        statements.push(format!("grant usage on schema {schema} to {user}"));
                        statements.push(format!("grant select on all tables in schema {schema} to {user}"));
                    }
                }
            }
        }
    }
    for statement in statements {
        sqlx::raw_sql(AssertSqlSafe(statement.clone()))
            .execute(&mut *db)
            .await
            .map_err(|error| Error::Grant(format!("{statement}: {}", database::describe(&error))))?;
    }
    let duties = |duties: &[&Duty]| duties.iter().map(|duty| named(duty)).collect::<Vec<_>>().join(", ");
    done.extend(by_user.iter().map(|(user, of)| format!("user {user} may {}", duties(of))));
    Ok(done)
}

/// Does what the owner of a database may not do on every server; if not, what a person has to do.
async fn attempt(db: &mut PgConnection, statement: &str) -> Result<Option<String>, Error> {
    let mut tx = db.begin().await?;
    match sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut *tx).await {
        Ok(_) => {
            tx.commit().await?;
            Ok(None)
        }
        Err(error) if database::is_transient(&error) => Err(error.into()),
        Err(error) => {
            tx.rollback().await?;
            let why = database::describe(&error);
            Ok(Some(format!("NOT done, have whoever administers the server do it: {statement} ({why})")))
        }
    }
}

fn named(duty: &Duty) -> String {
    match duty {
        Duty::Append => "append".to_owned(),
        Duty::Relay => "relay".to_owned(),
        Duty::Prune => "prune".to_owned(),
        Duty::Admin => "administer".to_owned(),
        Duty::Worker(topic) => format!("work on {topic}"),
        Duty::Reader(projection) => format!("read {projection}"),
    }
}

/// Whether a duty can be given to a user: it is there, and has not more than could be given already. What Cloud SQL gives to each
/// user that it makes is taken back.
async fn fit(db: &mut PgConnection, user: &str) -> Result<Option<String>, Error> {
    let found: Option<(bool, bool)> = sqlx::query_as(
        "select rolsuper or rolname = current_user,
                exists (select from pg_auth_members as membership join pg_roles as cloud on cloud.oid = membership.roleid
                        where membership.member = pg_roles.oid and cloud.rolname = 'cloudsqlsuperuser')
         from pg_roles where rolname = $1",
    )
    .bind(user)
    .fetch_optional(&mut *db)
    .await?;
    match found {
        None => Err(Error::Grant(format!("the user {user:?} was dropped meanwhile"))),
        Some((true, _)) => {
            Err(Error::Grant(format!("{user:?} may do everything here already, as a superuser or as the owner")))
        }
        Some((false, true)) => attempt(db, &format!("revoke cloudsqlsuperuser from {}", quoted(user))).await,
        Some((false, false)) => Ok(None),
    }
}

/// Those of a projection's generations, quoted.
async fn schemas(db: &mut PgConnection, projection: &str) -> Result<Vec<String>, Error> {
    let schemas = sqlx::query_scalar(
        "select quote_ident(nspname) from generations join pg_namespace on nspname = schema_name
         where projection = $1 and retired_at is null",
    );
    Ok(schemas.bind(projection).fetch_all(db).await?)
}

/// What makes a role the owner of a projection's schemas, and of what is in them.
async fn owned(db: &mut PgConnection, projection: &str, name: &str, database: &str) -> Result<Vec<String>, Error> {
    let there = sqlx::query_scalar::<_, bool>("select exists (select from pg_roles where rolname = $1)");
    let (role, mut statements) = (quoted(name), Vec::new());
    if !there.bind(name).fetch_one(&mut *db).await? {
        statements.push(format!("create role {role} nologin"));
    }
    // Only who is of a role can give something to it.
    statements.push(format!("grant {role} to current_user"));
    statements.push(format!("grant create on database {database} to {role}"));
    let others: Vec<String> = sqlx::query_scalar(
        "with schemas as (
             select space.oid, space.nspname, space.nspowner
             from generations join pg_namespace as space on space.nspname = generations.schema_name
             where projection = $1 and retired_at is null
         )
         select format('alter schema %I owner to %I', nspname, $2)
         from schemas join pg_roles as owner on owner.oid = nspowner where owner.rolname <> $2
         union all
         select format('alter %s %I.%I owner to %I',
                       case relkind when 'v' then 'view' when 'm' then 'materialized view' else 'table' end,
                       nspname, relname, $2)
         from schemas join pg_class on relnamespace = schemas.oid join pg_roles as owner on owner.oid = relowner
         where relkind in ('r', 'p', 'v', 'm') and owner.rolname <> $2
         union all
         select format('alter routine %s owner to %I', pg_proc.oid::regprocedure, $2)
         from schemas join pg_proc on pronamespace = schemas.oid join pg_roles as owner on owner.oid = proowner
         where owner.rolname <> $2
         union all
         select format('alter type %I.%I owner to %I', nspname, typname, $2)
         from schemas join pg_type on typnamespace = schemas.oid join pg_roles as owner on owner.oid = typowner
         where typtype in ('e', 'd') and owner.rolname <> $2",
    )
    .bind(projection)
    .bind(name)
    .fetch_all(db)
    .await?;
    statements.extend(others);
    Ok(statements)
}

/// Roles are of a whole server, and another database of it may have a projection of the same name.
fn role_of(projection: &str, hash: &str) -> String {
    let name: String = projection.chars().take(48).collect();
    format!("fleet_{name}_{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duty_is_read_as_it_is_written_and_no_other() {
        let of = |text: &str| text.parse::<Granted>();
        assert_eq!(of("append=store"), Ok(Granted { duty: Duty::Append, user: "store".to_owned() }));
        let worker = Granted { duty: Duty::Worker("order-events".to_owned()), user: "w@p.iam".to_owned() };
        assert_eq!(of(" worker:order-events = w@p.iam "), Ok(worker));
        for (text, reason) in [
            ("append", "not DUTY=USER"),
            ("append=", "no user"),
            ("worker=x", "no duty"),
            ("owner=x", "no duty"),
            ("admin:x=y", "no duty"),
        ] {
            assert!(of(text).is_err_and(|error| error.contains(reason)), "{text}");
        }
    }
}
