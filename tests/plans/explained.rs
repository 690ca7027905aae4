//! A plan as Postgres explains it in JSON: what it scans, and how much it read.

use serde_json::Value;

/// Tables that grow with the store or with what people do. The head row does while somebody holds a snapshot.
pub const GROWING: [&str; 13] = [
    "events",
    "idempotency_keys",
    "snapshots",
    "projected_aggregates",
    "processed_event_ids",
    "parked_events",
    "discarded_events",
    "operations",
    "audit_log",
    "event_store_head",
    "unreadable_events",
    "refused_messages",
    "lag_samples",
];

pub struct Explained(Value);

impl Explained {
    pub fn new(mut json: Value) -> Self {
        Self(json[0]["Plan"].take())
    }

    /// Rows that came out of it.
    pub fn returned(&self) -> u64 {
        rows(&self.0, "Actual Rows")
    }

    /// Rows that it read from tables that grow, also those that it threw away.
    pub fn read(&self) -> u64 {
        let read = |scan: &Value| {
            let each = ["Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck"];
            each.iter().map(|name| rows(scan, name)).sum::<u64>() * rows(scan, "Actual Loops")
        };
        self.scans().iter().map(|scan| read(scan)).sum()
    }

    /// Tables that grow and that it goes through whole.
    pub fn whole(&self) -> Vec<&str> {
        let whole = self.scans().into_iter().filter(|scan| scan["Node Type"] == "Seq Scan");
        whole.filter_map(|scan| scan["Relation Name"].as_str()).collect()
    }

    /// Tables that grow and of which it compares each row that it meets with a list of ids, instead of looking for those ids.
    pub fn comparing(&self) -> Vec<&str> {
        let lists = |scan: &&Value| scan["Filter"].as_str().is_some_and(|filter| filter.contains("_id = ANY ($"));
        let comparing = self.scans().into_iter().filter(lists);
        comparing.filter_map(|scan| scan["Relation Name"].as_str()).collect()
    }

    fn scans(&self) -> Vec<&Value> {
        let mut scans = Vec::new();
        let mut nodes = vec![&self.0];
        while let Some(node) = nodes.pop() {
            let is_scan = node["Node Type"].as_str().is_some_and(|kind| kind.ends_with("Scan"));
            if is_scan && node["Relation Name"].as_str().is_some_and(|table| GROWING.contains(&table)) {
                scans.push(node);
            }
            nodes.extend(node["Plans"].as_array().into_iter().flatten());
        }
        scans
    }
}

impl std::fmt::Display for Explained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

fn rows(node: &Value, name: &str) -> u64 {
    node[name].as_f64().unwrap_or_default() as u64
}
