//! Looks who answers, again and again, always over a new connection.

use std::time::{Duration, Instant};

use sqlx::Connection;
use sqlx::postgres::PgConnectOptions;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::describe;
use crate::pool::Endpoint;
use crate::primary::{Primary, Seen};
use crate::session::Session;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1500);

/// How long a look may take.
pub const LIMIT: Duration = Duration::from_secs(2);

/// For how long nothing is heard before it is said.
const WORTH_A_LINE: Duration = Duration::from_secs(5);

/// Between two looks that somebody asked for.
const SHORTEST: Duration = Duration::from_millis(200);

impl Endpoint {
    /// Watches who the primary is for as long as this process runs, and has all of its parts go by that.
    ///
    /// # Errors
    /// The URL is not one of Postgres.
    pub fn watched(url: &str) -> sqlx::Result<Self> {
        let endpoint = Self::new(url)?;
        endpoint.primary.publish();
        tokio::spawn(watch(endpoint.clone()));
        Ok(endpoint)
    }

    /// The same for as long as what is returned is kept.
    #[must_use = "it ends when it is dropped"]
    pub fn watch(&self) -> Watch {
        self.primary.publish();
        Watch { task: tokio::spawn(watch(self.clone())), primary: self.primary.clone() }
    }
}

/// Somebody is watching. Dropped, nobody is.
#[derive(Debug)]
pub struct Watch {
    task: JoinHandle<()>,
    primary: Primary,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
        self.primary.withdraw();
    }
}

async fn watch(endpoint: Endpoint) {
    let Endpoint { options, primary } = endpoint;
    let mut since: Option<Away> = None;
    loop {
        let mut seen = look(&options).await;
        if seen == silent() && !matches!(primary.state().seen, Seen::Away(_)) {
            // A busy machine takes longer, once.
            seen = look(&options).await;
        }
        say(&primary, &seen, &mut since);
        primary.observe(seen);
        tokio::time::sleep(SHORTEST).await;
        let _ = timeout(PAUSE - SHORTEST, primary.asked_to_look()).await;
    }
}

/// It has been away.
struct Away {
    since: Instant,
    said: bool,
}

fn silent() -> Seen {
    Seen::Away(format!("nothing heard within {} s", LIMIT.as_secs()))
}

async fn look(options: &PgConnectOptions) -> Seen {
    let looking = async {
        let (connection, answer) = Session::Any.connect(options).await?;
        let _ = connection.close().await;
        Ok::<_, sqlx::Error>(answer)
    };
    match timeout(LIMIT, looking).await {
        Ok(Ok(answer)) => answer.refusal.map_or(Seen::Primary(answer.server), Seen::Refused),
        Ok(Err(error)) => Seen::Away(describe(&error)),
        Err(_) => silent(),
    }
}

/// One line when something is wrong, one when it is right again. Whoever fails meanwhile need not say why. A silence that is over
/// soon was a busy machine's, and is not worth a line.
fn say(primary: &Primary, seen: &Seen, away: &mut Option<Away>) {
    let before = primary.state().seen;
    match seen {
        Seen::Primary(server) => {
            if let Some(Away { since, said: true }) = away.take() {
                tracing::info!(%server, seconds = since.elapsed().as_secs_f64(), "the database is there again");
            } else if let Seen::Primary(before) = before
                && before != *server
            {
                tracing::warn!(%server, %before, "the primary has changed: connecting anew");
            }
        }
        Seen::Refused(reason) if before != *seen => {
            away.get_or_insert_with(Away::now).said = true;
            tracing::warn!(reason, "no primary: nothing is written, and nothing that is read is believed");
        }
        Seen::Away(reason) => {
            let away = away.get_or_insert_with(Away::now);
            if !away.said && (*seen != silent() || away.since.elapsed() >= WORTH_A_LINE) {
                away.said = true;
                tracing::warn!(reason, "the database does not answer; trying again until it does");
            }
        }
        Seen::Refused(_) | Seen::Nothing => {}
    }
}

impl Away {
    fn now() -> Self {
        Self { since: Instant::now(), said: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_goes_by_what_is_not_watched_any_more() {
        let endpoint = Endpoint::new("postgres://nobody@127.0.0.1:1/nothing").expect("a URL");
        let watch = endpoint.watch();
        let other = Endpoint::new("postgres://nobody@127.0.0.1:1/nothing").expect("a URL");
        drop(other.watch());
        assert!(Primary::of_this_process().is_some(), "the first is still watched");
        drop(watch);
        assert!(Primary::of_this_process().is_none());
    }
}
