//! Rows under a heading, for people.

use std::borrow::Cow;

use anyhow::Result;

use super::out;

/// Its heading is written with the first row: where there is nothing to show, there is no table.
pub struct Table<const N: usize> {
    columns: [Column; N],
    empty: bool,
    /// Characters of a line, of a terminal that is too narrow for it: then each row is a few lines.
    narrow: Option<usize>,
}

/// Characters that the last column, which may be of any length, needs for a row to be readable.
const LAST: usize = 16;

/// Characters of a cell that are shown at most.
const LONGEST: usize = 200;

/// A column, and the characters that it has at least.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    name: &'static str,
    width: usize,
    numbers: bool,
}

/// A column of words.
pub const fn words(name: &'static str, width: usize) -> Column {
    Column { name, width, numbers: false }
}

/// A column of numbers, which end below each other.
pub const fn numbers(name: &'static str, width: usize) -> Column {
    Column { name, width, numbers: true }
}

/// Rows whose columns are known only now, as wide as what is in them; or as records, where they do not fit the terminal.
///
/// # Errors
/// Those of [`out::line`].
pub fn show(names: &[&str], rows: &[Vec<String>]) -> Result<()> {
    shown(names, rows, out::columns()).iter().try_for_each(out::line)
}

/// A cell that a person can read, with how much of it there is; `--json` has all of it.
fn cut(cell: &str) -> Cow<'_, str> {
    match cell.char_indices().nth(LONGEST) {
        None => Cow::Borrowed(cell),
        Some((end, _)) => Cow::Owned(format!("{}… ({} bytes)", &cell[..end], cell.len())),
    }
}

fn shown(names: &[&str], rows: &[Vec<String>], terminal: Option<usize>) -> Vec<String> {
    let rows: Vec<Vec<_>> = rows.iter().map(|row| row.iter().map(|cell| cut(cell)).collect()).collect();
    let long = |text: &str| text.chars().count();
    let width = |(at, name): (usize, &&str)| rows.iter().map(|row| long(&row[at])).chain([long(name)]).max();
    let widths: Vec<_> = names.iter().enumerate().filter_map(width).collect();
    if terminal.is_some_and(|terminal| widths.iter().map(|width| width + 2).sum::<usize>() > terminal + 2) {
        let widest = names.iter().map(|name| long(name)).max().unwrap_or_default();
        let record = |row: &Vec<Cow<'_, str>>| {
            names.iter().zip(row).map(|(name, cell)| format!("{name:<widest$}  {cell}")).collect()
        };
        return rows.iter().map(record).collect::<Vec<Vec<_>>>().join(&String::new());
    }
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let rows = rows.iter().map(|row| line(row.iter().map(AsRef::as_ref).collect()));
    [line(names.to_vec())].into_iter().chain(rows).collect()
}

impl<const N: usize> Table<N> {
    pub fn new(columns: [Column; N]) -> Self {
        Self::within(columns, out::columns())
    }

    fn within(columns: [Column; N], terminal: Option<usize>) -> Self {
        let least: usize = columns.iter().map(|column| if column.width == 0 { LAST } else { column.width }).sum();
        let narrow = terminal.filter(|terminal| *terminal < least + 2 * (N - 1));
        Self { columns, empty: true, narrow }
    }

    pub const fn is_empty(&self) -> bool {
        self.empty
    }

    /// # Errors
    /// Those of [`out::line`].
    pub fn row(&mut self, cells: &[String; N]) -> Result<()> {
        if self.narrow.is_some() {
            let separated = if std::mem::take(&mut self.empty) { "" } else { "\n" };
            return out::line(format!("{separated}{}", self.record(cells)));
        }
        if self.empty {
            out::line(self.line(&self.columns.map(|column| column.name.to_owned())))?;
            self.empty = false;
        }
        out::line(self.line(cells))
    }

    /// A line for each column that says something.
    fn record(&self, cells: &[String; N]) -> String {
        let widest = self.columns.iter().map(|column| column.name.len()).max().unwrap_or_default();
        let said = self.columns.iter().zip(cells).filter(|(_, cell)| !cell.is_empty() && *cell != "-");
        said.map(|(column, cell)| format!("{:<widest$}  {cell}", column.name)).collect::<Vec<_>>().join("\n")
    }

    fn line(&self, cells: &[String; N]) -> String {
        let padded = self.columns.iter().zip(cells).map(|(Column { width, numbers, .. }, cell)| {
            if *numbers { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }
}

/// What is not known, or not there.
pub fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_as_wide_as_what_is_in_them_and_records_where_that_does_not_fit() {
        let rows = [["1", "somebody"], ["12", ""]].map(|row| row.map(str::to_owned).to_vec());
        let lines = ["id  name", "1   somebody", "12"];
        assert_eq!(shown(&["id", "name"], &rows, None), lines);
        assert_eq!(shown(&["id", "name"], &rows, Some(12)), lines);
        let records = ["id    1", "name  somebody", "", "id    12", "name  "];
        assert_eq!(shown(&["id", "name"], &rows, Some(11)), records);
    }

    #[test]
    fn a_cell_that_is_too_long_to_be_read_is_cut_and_says_so() {
        let rows = [vec!["1".to_owned(), "ä".repeat(300_000)]];
        for terminal in [None, Some(80)] {
            let lines = shown(&["id", "text"], &rows, terminal).join("\n");
            assert!(lines.ends_with("ä… (600000 bytes)") && lines.len() < 1000, "{lines}");
        }
    }

    #[test]
    fn numbers_end_below_each_other_and_nothing_is_cut_off() {
        let columns = [words("NAME", 6), numbers("SIZE", 5), words("WHY", 0)];
        let table = Table::within(columns, Some(31));
        assert_eq!(table.narrow, None);
        let cells = |cells: [&str; 3]| cells.map(str::to_owned);
        assert_eq!(table.line(&cells(["a", "10", "because of this"])), "a          10  because of this");
        assert_eq!(table.line(&cells(["a long name", "-", ""])), "a long name      -");
        let table = Table::within(columns, Some(30));
        assert_eq!(table.narrow, Some(30));
        assert_eq!(table.record(&cells(["a long name", "-", "of this"])), "NAME  a long name\nWHY   of this");
    }
}
