//! The database, made again from the backends alone in a second one, against the one that there is.
//!
//! Invariants: the journal was shipped to its end and closed before, and nobody writes: then nothing may differ.
//! Nothing of the running system is touched: the second database is beside the first one, and a rebuild only reads the
//! backends.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;
use tokio_postgres::{Client, Row};
use uuid::Uuid;

use super::Violation;
use crate::campaign::field::Field;
use crate::rebuild::rebuild;

/// The second database.
const DATABASE: &str = "rebuilt";
/// Differences that are told one by one.
const TOLD: usize = 20;

/// All that there is of every key, the newest first: what matters is the order, not its numbers.
const VERSIONS: &str = "
    SELECT b.name || '/' || v.key, v.version, v.current, v.delete_marker, v.size, v.etag, v.is_null,
           COALESCE(v.tags, '{}')::text
    FROM (SELECT bucket, key, seq, version, true AS current, false AS delete_marker, size, etag, is_null, tags
          FROM objects
          UNION ALL
          SELECT bucket, key, seq, version, false, delete_marker, size, etag, is_null, tags
          FROM object_versions) AS v
    JOIN buckets b ON b.id = v.bucket ORDER BY b.name, v.key, v.seq DESC";

/// Copies of all of them, by what names a blob. Those that are known to be good, or, after a rebuild, may be.
const COPIES: &str = "
    SELECT b.name || '/' || c.key, c.version, c.extent, c.gen, k.name
    FROM copies c JOIN buckets b ON b.id = c.bucket JOIN backends k ON k.id = c.backend
    WHERE c.state = 'verified' OR (c.state = 'uncertain' AND $1)";

/// What came of it.
#[derive(Debug, Default)]
pub struct Rebuilt {
    /// Versions and delete markers that were compared.
    pub versions: usize,
    /// Copies that were looked for.
    pub copies: usize,
    /// What differs.
    pub violations: Vec<Violation>,
}

/// A blob: version, extent, `gen`, and the backend's name.
type Place = (Uuid, i16, i16, String);

/// What a database knows.
#[derive(Debug, Default)]
struct Known {
    /// By bucket and key with a slash between, the newest first.
    versions: BTreeMap<String, Vec<String>>,
    /// With the bucket and key of each.
    copies: BTreeMap<Place, String>,
}

/// Rebuilds and compares.
pub(super) async fn check(field: &Field) -> Result<Rebuilt> {
    let database = &field.cluster.database;
    database.make_anew(DATABASE).await.context("a second database")?;
    let report = again(field).await.context("s3o rebuild")?;
    let live = known(&database.connect().await?, false).await?;
    let made = known(&database.connect_to(DATABASE).await?, true).await?;
    let versions = live.versions.values().map(Vec::len).sum();
    let mut wrong: Vec<String> = complaints(&report).map(|line| format!("it says: {line}")).collect();
    wrong.extend(differences(&live, &made));
    let mut violations: Vec<Violation> =
        wrong.iter().take(TOLD).map(|what| Violation::new("rebuild", what)).collect();
    if wrong.len() > TOLD {
        let more = format!("{} differences more of the rebuilt database", wrong.len() - TOLD);
        violations.push(Violation::new("rebuild", more));
    }
    Ok(Rebuilt { versions, copies: live.copies.len(), violations })
}

/// Runs it with the first control plane's file, but for the database.
async fn again(field: &Field) -> Result<String> {
    let cluster = &field.cluster;
    let config = &cluster.control.first().context("no control plane")?.config;
    let mut file: Value = serde_json::from_slice(&std::fs::read(config)?)?;
    file["instance"] = DATABASE.into();
    file["database"]["url"] = cluster.database.url_for(DATABASE).into();
    let path = cluster.folder().join("rebuild.yaml");
    std::fs::write(&path, serde_json::to_vec_pretty(&file)?)?;
    rebuild(&path).await
}

/// What the report says of the journal, or of objects, that must not be: nothing was lost.
fn complaints(report: &str) -> impl Iterator<Item = &str> {
    let is_bad =
        |line: &&str| ["missing: ", "unreadable: ", "lost: "].iter().any(|word| line.starts_with(word));
    report.lines().filter(is_bad)
}

async fn known(sql: &Client, with_uncertain: bool) -> Result<Known> {
    let mut known = Known::default();
    for row in sql.query(VERSIONS, &[]).await? {
        known.versions.entry(row.get(0)).or_default().push(line(&row));
    }
    for row in sql.query(COPIES, &[&with_uncertain]).await? {
        known.copies.insert((row.get(1), row.get(2), row.get(3), row.get(4)), row.get(0));
    }
    Ok(known)
}

/// A version as it is compared, and told.
fn line(row: &Row) -> String {
    let (version, current, marker): (Uuid, bool, bool) = (row.get(1), row.get(2), row.get(3));
    let (size, etag, null, tags): (i64, &str, bool, &str) = (row.get(4), row.get(5), row.get(6), row.get(7));
    let kind = match (marker, current) {
        (true, _) => "marker",
        (false, true) => "current",
        (false, false) => "noncurrent",
    };
    let null = if null { " null" } else { "" };
    format!("{kind}{null} {version} etag {etag} size {size} tags {tags}")
}

fn differences(live: &Known, made: &Known) -> Vec<String> {
    let names: BTreeSet<&String> = live.versions.keys().chain(made.versions.keys()).collect();
    let keys = names.into_iter().filter_map(|name| {
        let (is, again) = (live.versions.get(name), made.versions.get(name));
        (is != again).then(|| format!("{name} is {is:?}, and rebuilt {again:?}"))
    });
    let lacking = live.copies.iter().filter(|(place, _)| !made.copies.contains_key(*place));
    let copies = lacking.map(|((version, extent, attempt, backend), name)| {
        format!(
            "{name}: the copy of {version}, extent {extent}, attempt {attempt} on {backend} is not rebuilt"
        )
    });
    keys.chain(copies).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(versions: &[(&str, &[&str])], copies: &[i16]) -> Known {
        let owned = |lines: &&[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        let place = |extent: &i16| ((Uuid::nil(), *extent, 0, "b0".to_owned()), "a/k".to_owned());
        Known {
            versions: versions.iter().map(|(name, lines)| ((*name).to_owned(), owned(lines))).collect(),
            copies: copies.iter().map(place).collect(),
        }
    }

    #[test]
    fn every_difference_is_told() {
        let live = known(&[("a/k", &["2", "1"]), ("a/l", &["3"])], &[0, 1]);
        assert!(differences(&live, &known(&[("a/k", &["2", "1"]), ("a/l", &["3"])], &[0, 1, 2])).is_empty());
        let order = known(&[("a/k", &["1", "2"]), ("a/l", &["3"])], &[0, 1]);
        assert_eq!(differences(&live, &order).len(), 1);
        let lacking = known(&[("a/k", &["2", "1"])], &[0]);
        assert_eq!(differences(&live, &lacking).len(), 2);
        assert_eq!(differences(&lacking, &live).len(), 1);
        assert_eq!(complaints("journal: 3 files\nmissing: segment 2\nlost: a/k 1\n").count(), 2);
    }
}
