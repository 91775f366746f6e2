//! Columns for people, laid out as docker lays them out.

/// Spaces between columns.
const GAP: usize = 3;

/// Columns are at least this wide, their gap included.
const NARROWEST: usize = 10;

/// Rows of cells as text: every column but the last is as wide as its widest cell.
pub(super) fn lay_out(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        (widest + GAP).max(NARROWEST)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            line.push_str(cell);
            if at + 1 < row.len() {
                let wide = widths.get(at).copied().unwrap_or(0);
                let used = cell.chars().count();
                line.extend(std::iter::repeat_n(' ', wide.saturating_sub(used)));
            }
        }
        text.push_str(&line);
        text.push('\n');
    }
    text
}
