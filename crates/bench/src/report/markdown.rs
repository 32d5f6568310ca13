//! Tables that are aligned for people and are Markdown as they stand.

/// The first row is the head. Text columns to the left, of which there are `text`; figures to the right.
pub(crate) fn align(rows: &[Vec<String>], text: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0).max(3)).collect();
    let mut out = String::new();
    for (index, row) in rows.iter().enumerate() {
        out.push('|');
        for (column, width) in widths.iter().enumerate() {
            let cell = row.get(column).map_or("", String::as_str);
            let gap = " ".repeat(width - cell.chars().count());
            let (before, after) = if column < text { ("", gap.as_str()) } else { (gap.as_str(), "") };
            out.extend([" ", before, cell, after, " |"]);
        }
        out.push('\n');
        if index == 0 {
            out.push('|');
            for (column, width) in widths.iter().enumerate() {
                let dashes = "-".repeat(*width);
                out.extend(if column < text { ["-", &dashes, "-|"] } else { ["-", &dashes, ":|"] });
            }
            out.push('\n');
        }
    }
    out
}
