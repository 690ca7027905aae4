//! The Postgres of a fleet on one machine.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::account::Account;
use crate::child::Child;
use crate::download::download;
use crate::home::Home;
use crate::installed::Installed;
use crate::{Error, Place, cluster};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// `duplicate_database`
const EXISTS: &str = "42P04";

/// Dropping it lets a server we started stop, without waiting for that.
#[derive(Debug)]
pub struct Postgres {
    url: String,
    choice: String,
    server: Option<Child>,
}

impl Postgres {
    /// `database_url` as it is, if there is one; else a private server with a cluster in `place`, run by the installed
    /// PostgreSQL or by a downloaded one.
    ///
    /// # Errors
    /// No server could be found or started. The text says what to do; a server's own last words are in it.
    pub async fn resolve(database_url: Option<&str>, place: Place<'_>) -> Result<Self, Error> {
        if let Some(url) = database_url {
            return Ok(Self {
                url: url.to_owned(),
                choice: format!("Postgres at {} (DATABASE_URL)", without_password(url)),
                server: None,
            });
        }
        let home = Home::open(place, Account::for_servers()?)?;
        let major = cluster::version(&home);
        let (installed, origin) = match Installed::find(major) {
            Some(installed) => (installed, "installed"),
            None => (download(&home, major).await?, "downloaded"),
        };
        let (server, url) = cluster::start(&installed, &home).await?;
        let choice = format!(
            "Postgres {} ({origin} in {}), {}",
            installed.version,
            installed.bin.display(),
            home.describe("cluster", "postgres"),
        );
        home.handed_over();
        Ok(Self { url, choice, server: Some(server) })
    }

    /// The database `fleet`, or whatever was given.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What was taken, as a sentence without its full stop and without a password.
    #[must_use]
    pub fn choice(&self) -> &str {
        &self.choice
    }

    /// Creates a database and returns its URL. `name` consists of letters, digits and underscores. A `template` is
    /// copied whole; nobody may be connected to it meanwhile.
    ///
    /// # Errors
    /// The server refused, for instance because the database exists.
    pub async fn create_database(&self, name: &str, template: Option<&str>) -> Result<String, Error> {
        create(&self.url, name, template).await?;
        Ok(with_database(&self.url, name))
    }

    /// Waits for the end of one that we started, which nobody asked for; for ever, if it was given.
    pub async fn died(&self) -> Error {
        match &self.server {
            Some(child) => child.died().await,
            None => std::future::pending().await,
        }
    }

    /// Stops a server that we started, and waits for it; one that was given goes on.
    ///
    /// # Errors
    /// It is still there after a minute.
    pub async fn stop(self) -> Result<(), Error> {
        match self.server {
            Some(server) => server.stop().await,
            None => Ok(()),
        }
    }
}

/// Creates the database of `url` if it is missing, over the one that every cluster has.
pub(crate) async fn ensure_database(url: &str) -> Result<(), Error> {
    let created = create(&with_database(url, "postgres"), "fleet", None).await;
    match created {
        Err(Error::Database { cause: sqlx::Error::Database(refusal), .. })
            if refusal.code().as_deref() == Some(EXISTS) =>
        {
            Ok(())
        }
        other => other,
    }
}

async fn create(url: &str, name: &str, template: Option<&str>) -> Result<(), Error> {
    let failed =
        |cause| Error::Database { server: without_password(url), doing: format!("create the database {name}"), cause };
    // Names cannot be bound in a CREATE DATABASE.
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let mut statement = format!("CREATE DATABASE {}", quoted(name));
    if let Some(template) = template {
        statement += &format!(" TEMPLATE {}", quoted(template));
    }
    let mut connection = tokio::time::timeout(CONNECT_LIMIT, PgConnection::connect(url))
        .await
        .map_err(|elapsed| failed(sqlx::Error::Io(elapsed.into())))?
        .map_err(failed)?;
    connection.execute(AssertSqlSafe(statement)).await.map_err(failed)?;
    connection.close().await.map_err(failed)
}

/// The same server and parameters, another database.
fn with_database(url: &str, database: &str) -> String {
    let (address, parameters) = url.split_at(url.find('?').unwrap_or(url.len()));
    let authority = address.find("://").map_or(0, |at| at + 3);
    let end = address[authority..].find('/').map_or(address.len(), |at| authority + at);
    format!("{}/{database}{parameters}", &address[..end])
}

/// Host, port and database: what may be shown of a URL.
fn without_password(url: &str) -> String {
    let address = url.split('?').next().unwrap_or_default();
    let address = address.split_once("://").map_or(address, |(_, rest)| rest);
    address.rsplit_once('@').map_or(address, |(_, rest)| rest).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "postgres://fleet:secret@127.0.0.1:5432/fleet?sslmode=disable";

    #[test]
    fn another_database_keeps_server_and_parameters() {
        let other = with_database(URL, "test_1");
        assert_eq!(other, "postgres://fleet:secret@127.0.0.1:5432/test_1?sslmode=disable");
        assert_eq!(with_database("postgres://localhost", "test_1"), "postgres://localhost/test_1");
    }

    #[test]
    fn what_is_shown_of_a_url_has_no_password() {
        assert_eq!(without_password(URL), "127.0.0.1:5432/fleet");
        assert_eq!(without_password("postgres:///fleet?host=/run&password=secret"), "/fleet");
    }
}
