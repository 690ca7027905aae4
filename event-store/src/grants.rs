//! What each duty of an event store may do in the database: exactly what its statements need.

/// A table, and the privileges on it as a `grant` names them.
pub type Grant = (&'static str, &'static str);

/// Appending, and reading for others.
pub const APPEND: &[Grant] = &[
    ("events", "select, insert"),
    ("event_store_head", "select, update"),
    ("idempotency_keys", "select, insert"),
    ("snapshots", "select, insert, update"),
    ("unreadable_events", "select, insert"),
];

/// Publishing what was appended.
pub const RELAY: &[Grant] = &[
    ("events", "select"),
    ("event_store_head", "select"),
    ("relay_cursors", "select, insert, update"),
    ("refused_messages", "select, insert, delete"),
    ("unreadable_events", "select, insert"),
];

/// Forgetting keys that are old. Whoever takes turns with others locks what goes, which is an update for Postgres.
pub const PRUNE: &[Grant] = &[("idempotency_keys", "select, update, delete")];

/// Looking at the store, as workers do and people.
pub const READ: &[Grant] = &[
    ("events", "select"),
    ("event_store_head", "select"),
    ("idempotency_keys", "select"),
    ("snapshots", "select"),
    ("relay_cursors", "select"),
    ("refused_messages", "select"),
    ("unreadable_events", "select"),
];
