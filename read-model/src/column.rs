//! From rows to columns: how many rows travel in one statement.

/// One value of each row, as the array of one `unnest` argument.
///
/// Plans are kept on the engine's connections, from the first execution on, and may not read whole tables: a statement that
/// joins such arrays with a table reaches its rows by a key (ADR 0012 of the fleet).
///
/// ```
/// # use std::collections::BTreeMap;
/// let days = BTreeMap::from([("mon", 2), ("tue", 3)]);
/// assert_eq!(read_model::column(&days, |(day, _)| *day), ["mon", "tue"]);
/// ```
pub fn column<R, T>(rows: impl IntoIterator<Item = R>, value: impl FnMut(R) -> T) -> Vec<T> {
    rows.into_iter().map(value).collect()
}
