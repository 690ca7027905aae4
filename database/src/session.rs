//! What a session is set to, and who it is with.

use std::fmt;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::types::chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection};

/// Settings of every session: times in UTC, no statement that hangs for ever, the tables where `fleet migrate` puts them
/// whatever the role's `search_path` is, and a server that notices when we are gone and ends what we had asked for.
const EVERY: [(&str, &str); 9] = [
    ("TimeZone", "UTC"),
    ("search_path", "public"),
    ("statement_timeout", "60s"),
    ("lock_timeout", "30s"),
    ("idle_in_transaction_session_timeout", "60s"),
    ("client_connection_check_interval", "2s"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
];

/// Settings of sessions that read and administer: each statement is planned with what it binds, for the tables as they are. A
/// plan that was kept from when they were empty would go through them whole. Somebody may wait for the answer, and wants to know
/// that it waits for a lock.
const ANY: [(&str, &str); 3] = [("plan_cache_mode", "force_custom_plan"), ("jit", "off"), ("lock_timeout", "5s")];

/// Settings of sessions that send the same few statements for ever: plans from the rows in hand to the tables by index. See
/// docs/adr/0012.
const BY_KEY: [(&str, &str); 5] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// Reads and administers.
    Any,
    /// Sends the same few statements for ever, as appliers and the event store do.
    ByKey,
    /// The event store's writer, of which an attempt takes at most so long. What it does, it does under the head row's lock,
    /// so that the server must give up before it does, or all appends wait for an attempt that nobody waits for.
    Writing(Duration),
}

/// Who answers. Two servers of one history differ in when they were started, to the microsecond.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    started_at: DateTime<Utc>,
    port: String,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server on port {} that was started at {}", self.port, self.started_at)
    }
}

#[cfg(test)]
impl Server {
    pub(crate) fn of_test(started_at: DateTime<Utc>) -> Self {
        Self { started_at, port: "5432".to_owned() }
    }
}

/// What a new session says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub server: Server,
    /// Why it must not be believed, if so.
    pub refusal: Option<&'static str>,
}

impl Session {
    /// What it is set to; of two values of one setting the later counts.
    fn settings(self) -> Vec<(&'static str, String)> {
        let owned = |settings: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
            settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
        };
        let mut settings = owned(&EVERY);
        settings.extend(owned(if self == Self::Any { &ANY } else { &BY_KEY }));
        if let Self::Writing(attempt) = self {
            let part = |share: f64| format!("{}ms", attempt.mul_f64(share).as_millis());
            // Who waits for a lock says so, and is not taken for one who asks for too much.
            settings.extend([
                ("statement_timeout", part(0.6)),
                ("lock_timeout", part(0.5)),
                ("idle_in_transaction_session_timeout", part(0.3)),
            ]);
        }
        settings
    }

    /// Sets the session, and asks who answers, in one statement. A setting that this server does not have is left out.
    pub async fn begin(self, connection: &mut PgConnection) -> sqlx::Result<Answer> {
        let (names, values): (Vec<_>, Vec<_>) = self.settings().into_iter().unzip();
        let (started_at, port, standby, read_only): (_, _, bool, bool) = sqlx::query_as(
            "with settings as materialized (
                 select set_config(name, value, false)
                 from unnest($1::text[], $2::text[]) as setting (name, value)
                 where current_setting(name, true) is not null
                 -- It is known from 14 on, and on systems other than Linux from 15 on.
                 and (name <> 'client_connection_check_interval'
                      or current_setting('server_version_num')::int >= 150000)
             )
             select pg_postmaster_start_time(), current_setting('port'), pg_is_in_recovery(),
                    current_setting('transaction_read_only')::bool
             from (select count(*) from settings) as set",
        )
        .bind(names)
        .bind(values)
        .persistent(false)
        .fetch_one(connection)
        .await?;
        let refusal = match (standby, read_only) {
            (true, _) => Some("this Postgres is a standby: use the primary"),
            (_, true) => Some("this Postgres is read-only: use the primary"),
            (false, false) => None,
        };
        Ok(Answer { server: Server { started_at, port }, refusal })
    }

    /// A connection of its own, set and not yet believed.
    pub async fn connect(self, options: &PgConnectOptions) -> sqlx::Result<(PgConnection, Answer)> {
        let mut connection = PgConnection::connect_with(options).await?;
        let answer = self.begin(&mut connection).await?;
        Ok((connection, answer))
    }
}
