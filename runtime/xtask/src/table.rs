//! A table for people: aligned columns that are also valid Markdown.

/// Rows under named columns; the first column is left-aligned, numbers to the right.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[&str]) -> Self {
        Self { rows: vec![columns.iter().map(|name| (*name).to_owned()).collect()] }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table as Markdown text, with a line end after each row.
    pub(crate) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            text.push('|');
            for (column, width) in widths.iter().enumerate() {
                let cell = row.get(column).map_or("", String::as_str);
                let numeric = column > 0 && cell.len() < 12 && cell.starts_with(|c: char| c.is_ascii_digit());
                let padded =
                    if numeric { format!(" {cell:>width$} |") } else { format!(" {cell:<width$} |") };
                text.push_str(&padded);
            }
            text.push('\n');
            if index == 0 {
                text.push('|');
                widths.iter().for_each(|width| text.push_str(&format!("{}|", "-".repeat(width + 2))));
                text.push('\n');
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["who", "n"]);
        table.row(["a".into(), "1".into()]);
        table.row(["longer".into(), "20".into()]);
        assert_eq!(table.render(), "| who    | n  |\n|--------|----|\n| a      |  1 |\n| longer | 20 |\n");
    }
}
