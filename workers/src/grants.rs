//! What workers, admins and those who prune may do in the database: exactly what their statements need.
//!
//! Bookkeeping is shared by all projections, so that a worker of one topic may write that of another. Read models are not: their
//! schemas belong to a role of each projection, which only its workers are members of. See docs/adr/0036.

use event_store::grants::{self as store, Grant};

const BOOKKEEPING: [&str; 15] = [
    "projections",
    "projection_progress",
    "projected_aggregates",
    "processed_event_ids",
    "parked_events",
    "discarded_events",
    "awaited_events",
    "generations",
    "generation_parts",
    "differences",
    "operations",
    "operations_stop",
    "keepers",
    "audit_log",
    "lag_samples",
];

/// Applying, building, and doing what people have asked for. Locking a row is an update for Postgres.
const APPLY: &[Grant] = &[
    ("projections", "update"),
    ("projection_progress", "insert, update, delete"),
    ("projected_aggregates", "insert, update, delete"),
    ("processed_event_ids", "insert, update, delete"),
    ("parked_events", "insert, update, delete"),
    ("discarded_events", "insert"),
    ("awaited_events", "insert, update, delete"),
    ("generations", "insert, update"),
    ("generation_parts", "insert, update, delete"),
    ("differences", "insert"),
    ("operations", "insert, update"),
    ("keepers", "insert, update"),
    ("audit_log", "insert"),
    ("unreadable_events", "insert"),
];

/// Asking for things, deciding about what is parked, pruning by hand, and remembering how late what was.
const ADMINISTER: &[Grant] = &[
    ("lag_samples", "insert, delete"),
    ("projections", "update"),
    ("parked_events", "update"),
    ("operations", "insert, update"),
    ("operations_stop", "update"),
    ("audit_log", "insert"),
];

/// Forgetting bookkeeping that is old. What is old of the audit log goes by a function, which knows how old that is.
const FORGET: &[Grant] = &[("operations", "select, update, delete"), ("discarded_events", "select, update, delete")];

fn read() -> impl Iterator<Item = Grant> {
    BOOKKEEPING.into_iter().map(|table| (table, "select")).chain(store::READ.iter().copied())
}

/// Of a worker, beside its membership in the roles of its projections.
pub fn worker() -> Vec<Grant> {
    read().chain(APPLY.iter().copied()).collect()
}

/// Of an admin.
pub fn admin() -> Vec<Grant> {
    read().chain(ADMINISTER.iter().copied()).chain(prune()).collect()
}

/// Of whoever prunes.
pub fn prune() -> Vec<Grant> {
    let looked_at = ["audit_log", "parked_events", "generations", "projection_progress"].map(|table| (table, "select"));
    store::PRUNE.iter().chain(FORGET).copied().chain(looked_at).collect()
}
