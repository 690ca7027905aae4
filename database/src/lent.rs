//! Connections of a pool for work that somebody may give up at any moment.
//!
//! Whoever gives up while `begin` is under way leaves a connection that has begun without knowing it. What the next user
//! then writes, without a transaction of his own, would never be committed. And a server that has fallen silent answers
//! neither the `begin` nor the pool that asks whether the connection is still good. So a transaction is begun on a [`Lent`]
//! connection, which does not go back unless its user says so (`clippy.toml` bans the other way).

use std::ops::{Deref, DerefMut};

use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction};

/// A connection of a pool that is closed when its user is given up, fails or panics, and goes back to the pool only if he
/// says that he is through.
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
