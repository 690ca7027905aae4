//! How long bookkeeping is kept: the settings of whoever prunes it.

use anyhow::{Context, Result};
use clap::Args;
use workers::retention::Retention;

/// Days for which bookkeeping is kept; 0: for ever.
#[derive(Debug, Clone, Copy, Args)]
pub struct Keep {
    /// Days for which an idempotency key of an append is remembered: 31 at least; 0: for ever.
    #[arg(long, env = "FLEET_KEEP_IDEMPOTENCY_KEYS", value_name = "DAYS", default_value_t = Retention::default().idempotency_keys)]
    keep_idempotency_keys: u32,
    /// Days for which an operation that is over is kept; 0: for ever.
    #[arg(long, env = "FLEET_KEEP_OPERATIONS", value_name = "DAYS", default_value_t = Retention::default().operations)]
    keep_operations: u32,
    /// Days for which the contents of a discarded event are kept; 0: for ever.
    #[arg(long, env = "FLEET_KEEP_DISCARDED_EVENTS", value_name = "DAYS", default_value_t = Retention::default().discarded_events)]
    keep_discarded_events: u32,
    /// Days for which the audit log is kept, at least as long as what it explains; 0: for ever.
    #[arg(long, env = "FLEET_KEEP_AUDIT_LOG", value_name = "DAYS", default_value_t = Retention::default().audit_log)]
    keep_audit_log: u32,
}

impl Keep {
    /// # Errors
    /// Something would be forgotten too early.
    pub fn retention(self) -> Result<Retention> {
        let retention = Retention {
            idempotency_keys: self.keep_idempotency_keys,
            operations: self.keep_operations,
            discarded_events: self.keep_discarded_events,
            audit_log: self.keep_audit_log,
        };
        retention
            .check()
            .map_err(|invalid| anyhow::anyhow!("{}: {}", invalid.field, invalid.problem))
            .context("FLEET_KEEP")?;
        Ok(retention)
    }
}
