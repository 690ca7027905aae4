//! Transactions on the connections of a pool, which somebody may give up at any moment.
//!
//! Who gives up while `begin` is under way leaves a connection that has begun without knowing it. What the next one then
//! writes, without a transaction of his own, would never be committed. So `begin` on a pool's connection is called here only,
//! and nobody's statement is needed to find out afterwards (`clippy.toml` says the same).

use std::ops::{Deref, DerefMut};

use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction};

/// Begins a transaction on a connection of the pool. It begins to its end even if nobody waits for it any more, and is
/// rolled back then. Of a server that has fallen silent it keeps the connection until TCP gives up; [`Lent`] does not.
///
/// # Errors
/// The pool has no connection to give, or the server does not begin.
pub async fn begin(pool: &PgPool) -> sqlx::Result<Transaction<'static, Postgres>> {
    let pool = pool.clone();
    #[expect(clippy::disallowed_methods, reason = "in a task of its own, which nobody gives up")]
    let begun = tokio::spawn(async move { pool.begin().await });
    begun.await.unwrap_or_else(|error| Err(sqlx::Error::Protocol(format!("beginning a transaction: {error}"))))
}

/// A connection of a pool that is closed when its user is given up, or panics, and goes back to the pool only if he says
/// that he is through. It costs less than [`begin`], where connections are taken all the time.
#[derive(Debug)]
pub struct Lent(Option<PoolConnection<Postgres>>);

impl Lent {
    /// # Errors
    /// The pool has no connection to give.
    pub async fn by(pool: &PgPool) -> sqlx::Result<Self> {
        Ok(Self(Some(pool.acquire().await?)))
    }

    /// # Errors
    /// The server does not begin.
    pub async fn begin(&mut self) -> sqlx::Result<Transaction<'_, Postgres>> {
        let connection: &mut PgConnection = self;
        connection.begin().await
    }

    /// Through, with whatever result: nothing that was sent is unanswered.
    pub fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.0.as_ref().expect("it is lent until it is dropped")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.0.as_mut().expect("it is lent until it is dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.0 {
            connection.close_on_drop();
        }
    }
}
