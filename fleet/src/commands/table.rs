//! Rows under a heading, for people.

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
