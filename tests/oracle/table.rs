//! The tables that consumers read, and rows of them.

use std::collections::BTreeMap;

/// A table with the columns that its consumers may rely on; it may have others.
pub struct Table {
    pub schema: &'static str,
    pub name: &'static str,
    pub key: &'static [&'static str],
    pub columns: &'static [&'static str],
}

pub const TABLES: [Table; 9] = [
    Table {
        schema: "vocabulary",
        name: "vocabulary_entries",
        key: &["entry_id"],
        columns: &["entry_id", "spelling", "item_count", "published_count", "created_at"],
    },
    Table {
        schema: "vocabulary",
        name: "vocabulary_items",
        key: &["item_id"],
        columns: &[
            "item_id",
            "entry_id",
            "spelling",
            "disambiguation",
            "status",
            "fields",
            "ai_generations",
            "created_by",
            "created_at",
            "published_at",
            "updated_at",
            "version",
        ],
    },
    Table {
        schema: "learner_progress",
        name: "learning_sessions",
        key: &["session_id"],
        columns: &[
            "session_id",
            "user_id",
            "strategy",
            "item_count",
            "judged",
            "correct",
            "status",
            "started_at",
            "ended_at",
            "duration_seconds",
        ],
    },
    Table {
        schema: "learner_progress",
        name: "item_mastery",
        key: &["user_id", "item_id"],
        columns: &["user_id", "item_id", "attempts", "correct", "total_response_ms", "last_judgment", "last_judged_at"],
    },
    Table {
        schema: "learner_progress",
        name: "daily_progress",
        key: &["user_id", "date"],
        columns: &[
            "user_id",
            "date",
            "sessions_completed",
            "sessions_abandoned",
            "answers",
            "correct",
            "study_seconds",
        ],
    },
    Table {
        schema: "learner_progress",
        name: "user_progress",
        key: &["user_id"],
        columns: &[
            "user_id",
            "sessions_started",
            "sessions_completed",
            "sessions_abandoned",
            "answers",
            "correct",
            "study_seconds",
            "last_studied_at",
        ],
    },
    Table {
        schema: "learner_journeys",
        name: "learner_journeys",
        key: &["session_id"],
        columns: &["session_id", "user_id", "steps", "outcome"],
    },
    Table {
        schema: "user_directory",
        name: "users",
        key: &["user_id"],
        columns: &[
            "user_id",
            "email",
            "first_name",
            "last_name",
            "daily_goal",
            "status",
            "signed_up_at",
            "updated_at",
            "version",
        ],
    },
    Table {
        schema: "learning_time",
        name: "learners",
        key: &["user_id"],
        columns: &["user_id", "first_name", "last_name", "name_version", "sessions_completed", "study_seconds"],
    },
];

impl Table {
    pub fn named(name: &str) -> &'static Self {
        static ALL: [Table; 9] = TABLES;
        ALL.iter().find(|table| table.name == name).unwrap_or_else(|| panic!("there is no table {name}"))
    }
}

/// Columns as canonical JSON.
pub type Row = BTreeMap<&'static str, String>;

/// Rows of all tables: by table, then by primary key.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tables(pub BTreeMap<&'static str, BTreeMap<String, Row>>);

impl Tables {
    /// A row of the fold; the values are in the order of the table's columns.
    pub fn insert<const N: usize>(&mut self, table: &str, values: [String; N]) {
        let table = Table::named(table);
        assert_eq!(table.columns.len(), N, "columns of {}", table.name);
        self.insert_row(table, table.columns.iter().copied().zip(values).collect());
    }

    pub fn insert_row(&mut self, table: &'static Table, row: Row) {
        let key: Vec<&str> = table.key.iter().map(|column| row[column].as_str()).collect();
        let rows = self.0.entry(table.name).or_default();
        let before = rows.insert(key.join(" "), row);
        assert!(before.is_none(), "two rows of {} with one key", table.name);
    }
}
