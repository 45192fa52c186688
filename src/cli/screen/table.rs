//! Rows under headings, each column as wide as its longest cell.

use super::super::escape;
use super::Paint;

/// What stands between two columns.
const GAP: &str = "  ";

pub(super) fn words(columns: &[&str], rows: &[Vec<String>], paint: Paint) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| escape::first_line(cell)).collect()).collect();
    let width = |at: usize, heading: &str| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
        cells.chain([heading.chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = columns.iter().enumerate().map(|(at, heading)| width(at, heading)).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
    };
    let headings: Vec<String> = columns.iter().map(|heading| (*heading).to_owned()).collect();
    let first = paint.frame(&line(&headings));
    std::iter::once(first).chain(rows.iter().map(|row| line(row))).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_column_is_as_wide_as_its_longest_cell() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [row(["os_opendata", "7", "failed"]), row(["b", "", ""]), row(["c\u{1b}", "0", "two\nlines"])];
        let wanted = "loader       exit code  reason\n\
                      os_opendata  7          failed\n\
                      b\n\
                      c\\x1b        0          two …";
        assert_eq!(words(&["loader", "exit code", "reason"], &rows, Paint::off()), wanted);
    }
}
