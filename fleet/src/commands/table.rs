//! Rows under a heading, for people.

use anyhow::Result;

use super::out;

/// Its heading is written with the first row: where there is nothing to show, there is no table.
pub struct Table<const N: usize> {
    columns: [Column; N],
    empty: bool,
}

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
    pub const fn new(columns: [Column; N]) -> Self {
        Self { columns, empty: true }
    }

    pub const fn is_empty(&self) -> bool {
        self.empty
    }

    /// # Errors
    /// Those of [`out::line`].
    pub fn row(&mut self, cells: &[String; N]) -> Result<()> {
        if self.empty {
            out::line(self.line(&self.columns.map(|column| column.name.to_owned())))?;
            self.empty = false;
        }
        out::line(self.line(cells))
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
        let table = Table::new([words("NAME", 6), numbers("SIZE", 5), words("WHY", 0)]);
        let cells = |cells: [&str; 3]| cells.map(str::to_owned);
        assert_eq!(table.line(&cells(["a", "10", "because of this"])), "a          10  because of this");
        assert_eq!(table.line(&cells(["a long name", "-", ""])), "a long name      -");
    }
}
