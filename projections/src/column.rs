//! From rows to columns: how many rows travel in one statement.

/// One value of each row, as the array of one `unnest` argument.
///
/// A statement that joins such arrays with a table wants `.persistent(false)`. A statement that is kept may keep the
/// plan that was good for an empty generation and ten rows, and then reads the whole table for each of the ten
/// thousand; one that is not is planned with the sizes it has.
///
/// ```
/// # use std::collections::BTreeMap;
/// let days = BTreeMap::from([("mon", 2), ("tue", 3)]);
/// assert_eq!(projections::column(&days, |(day, _)| *day), ["mon", "tue"]);
/// ```
pub fn column<R, T>(rows: impl IntoIterator<Item = R>, value: impl FnMut(R) -> T) -> Vec<T> {
    rows.into_iter().map(value).collect()
}
