//! Tables for a terminal, and numbers for people.

use std::fmt;

/// Columns as wide as their widest cell.
pub(super) struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_owned)] }
    }

    pub(super) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..N).map(width).collect();
        for row in &self.rows {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            write!(f, "\n{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// `1.5 GiB`: exact below 1 KiB, one decimal above.
pub(super) fn bytes(count: i128) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let size = count.unsigned_abs();
    let sign = if count < 0 { "-" } else { "" };
    let mut unit = 1_u128 << 10;
    for name in UNITS {
        // In tenths, rounded; the next unit takes over where this one would show 1024.0.
        let tenths = (size * 10 + unit / 2) / unit;
        if size < 1 << 10 {
            break;
        }
        if tenths < 10_240 || name == "EiB" {
            return format!("{sign}{}.{} {name}", tenths / 10, tenths % 10);
        }
        unit <<= 10;
    }
    format!("{sign}{size} B")
}

/// How full, in whole percent; a dash without a limit.
pub(super) fn percent(part: i128, whole: i128) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{}%", part * 100 / whole) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1_048_575, "1.0 MiB"),
            (10 << 30, "10.0 GiB"),
            (-2048, "-2.0 KiB"),
        ];
        for (count, text) in cases {
            assert_eq!(bytes(count), text);
        }
        assert_eq!((percent(1, 3).as_str(), percent(1, 0).as_str()), ("33%", "-"));
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["A", "B"]);
        table.row(["long".to_owned(), "x".to_owned()]);
        assert_eq!(table.to_string(), "\nA     B\nlong  x");
    }
}
