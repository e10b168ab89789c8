//! Tables without borders.

use comfy_table::{Attribute, Cell, Color, presets};

/// Rows under column names.
#[derive(Debug)]
pub(crate) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    right: Vec<&'static str>,
}

impl Table {
    /// Without rows.
    pub(crate) fn new(header: &[&'static str]) -> Self {
        Self {
            header: header.to_vec(),
            rows: Vec::new(),
            right: Vec::new(),
        }
    }

    /// Aligns these columns to the right.
    #[must_use]
    pub(crate) fn right(mut self, columns: &[&'static str]) -> Self {
        self.right = columns.to_vec();
        self
    }

    /// Adds a row; empty cells are shown as `-`.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Whether it has no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As text, a line end at each line.
    pub(crate) fn render(&self, color: bool) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        if color {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table.set_header(self.header.iter().map(|name| {
            let cell = Cell::new(name);
            if color {
                cell.add_attribute(Attribute::Bold).fg(Color::Cyan)
            } else {
                cell
            }
        }));
        for row in &self.rows {
            table.add_row(row.iter().map(|cell| {
                // Names come from outside: a control character must not reach the terminal.
                let cell: String = cell
                    .chars()
                    .map(|char| if char.is_control() { ' ' } else { char })
                    .collect();
                if cell.is_empty() { "-".to_owned() } else { cell }
            }));
        }
        let last = self.header.len().saturating_sub(1);
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, if index == last { 0 } else { 2 }));
            if self
                .header
                .get(index)
                .is_some_and(|name| self.right.contains(name))
            {
                column.set_cell_alignment(comfy_table::CellAlignment::Right);
            }
        }
        let mut text = String::new();
        for line in table.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_are_aligned_and_empty_cells_visible() {
        let mut table = Table::new(&["NAME", "RATE"]).right(&["RATE"]);
        table.row(vec!["a".to_owned(), "1.0".to_owned()]);
        table.row(vec!["longer\u{1b}[31m".to_owned(), String::new()]);
        assert_eq!(
            table.render(false),
            "NAME         RATE\na             1.0\nlonger [31m     -\n"
        );
    }
}
