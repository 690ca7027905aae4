//! From rows to columns: how many rows travel in one statement.

/// One value of each row, as the array of one `unnest` argument.
///
/// A statement that joins such arrays with a table must be planned with the sizes they have: the runtime's connections
/// have `plan_cache_mode = force_custom_plan`, because a plan kept from an empty generation and ten rows would later read
/// the whole table for each of ten thousand.
///
/// ```
/// # use std::collections::BTreeMap;
/// let days = BTreeMap::from([("mon", 2), ("tue", 3)]);
/// assert_eq!(projections::column(&days, |(day, _)| *day), ["mon", "tue"]);
/// ```
pub fn column<R, T>(rows: impl IntoIterator<Item = R>, value: impl FnMut(R) -> T) -> Vec<T> {
    rows.into_iter().map(value).collect()
}
