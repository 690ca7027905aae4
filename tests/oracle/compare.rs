//! What is in the tables against what must be in them.

use std::collections::BTreeSet;
use std::fmt;

use super::Tables;

/// The first place where the tables are not what they must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub table: &'static str,
    /// The values of the primary key.
    pub key: String,
    /// `None`: the row as a whole is missing or too much.
    pub column: Option<&'static str>,
    pub expected: String,
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, key, column, expected, found } = self;
        write!(f, "{table}, row {key}")?;
        if let Some(column) = column {
            write!(f, ", column {column}")?;
        }
        write!(f, ": expected {expected}, found {found}")
    }
}

/// Tables, rows and columns in alphabetical order.
pub fn first_difference(expected: &Tables, found: &Tables) -> Option<Difference> {
    let tables: BTreeSet<_> = expected.0.keys().chain(found.0.keys()).copied().collect();
    for table in tables {
        let no_rows = Default::default();
        let (wanted, there) = (expected.0.get(table).unwrap_or(&no_rows), found.0.get(table).unwrap_or(&no_rows));
        let keys: BTreeSet<_> = wanted.keys().chain(there.keys()).collect();
        for key in keys {
            let difference = |column, expected: Option<String>, found: Option<String>| {
                let [expected, found] = [expected, found].map(|value| value.unwrap_or_else(|| "nothing".to_owned()));
                Some(Difference { table, key: key.clone(), column, expected, found })
            };
            let (wanted, there) = match (wanted.get(key), there.get(key)) {
                (Some(wanted), Some(there)) => (wanted, there),
                (wanted, there) => {
                    return difference(None, wanted.map(|row| format!("{row:?}")), there.map(|row| format!("{row:?}")));
                }
            };
            let columns: BTreeSet<_> = wanted.keys().chain(there.keys()).copied().collect();
            if let Some(column) = columns.into_iter().find(|column| wanted.get(column) != there.get(column)) {
                return difference(Some(column), wanted.get(column).cloned(), there.get(column).cloned());
            }
        }
    }
    None
}
