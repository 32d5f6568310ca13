//! Which bucket a record means: each history numbers its buckets for itself, and once one was merged into another, the journal
//! has files of both. A number is two buckets' where clients made some before anybody noticed that the database was restored; it is
//! nobody's any more where its bucket was made anew, under another one, before the histories were merged.
//!
//! Invariant: a record is of no other bucket than the one that the header of its own file has under the number.

use std::collections::BTreeMap;

use serde_json::Value;

/// No bucket's: a record that has it names its version, and is applied to nothing.
const NOBODYS: i64 = 0;

#[derive(Debug)]
struct Bucket {
    id: i64,
    name: String,
    created: Option<String>,
    owner: Option<String>,
    is_live: bool,
}

/// Buckets as a header has them.
#[derive(Debug, Default)]
pub(super) struct Buckets(Vec<Bucket>);

impl Buckets {
    pub(super) fn of(header: &str) -> Self {
        let header: Value = serde_json::from_str(header).unwrap_or_default();
        let buckets = header.get("buckets").and_then(Value::as_array);
        Self(buckets.into_iter().flatten().filter_map(bucket).collect())
    }

    /// The records of a file with the numbers that their buckets have here.
    pub(super) fn renumbered(&self, header: &str, records: Vec<String>) -> Vec<String> {
        let others = self.others(&Self::of(header));
        if others.is_empty() {
            return records;
        }
        records.into_iter().map(|record| renumber(record, &others)).collect()
    }

    /// Numbers of a file that are not the same buckets' here, and what the buckets' numbers are that the file means. None where
    /// nobody has said what there is here.
    fn others(&self, file: &Self) -> BTreeMap<i64, i64> {
        if self.0.is_empty() {
            return BTreeMap::new();
        }
        let is_other =
            |theirs: &&Bucket| !self.0.iter().any(|ours| ours.id == theirs.id && ours.name == theirs.name);
        file.0.iter().filter(is_other).map(|theirs| (theirs.id, self.number_of(theirs))).collect()
    }

    /// Of the same bucket, or of the one that its owner has made anew under its name.
    fn number_of(&self, theirs: &Bucket) -> i64 {
        let named = || self.0.iter().filter(move |ours| ours.name == theirs.name);
        let same = named().find(|ours| ours.created.is_some() && ours.created == theirs.created);
        let anew = || named().find(|ours| ours.is_live && ours.owner == theirs.owner);
        same.or_else(anew).map_or(NOBODYS, |ours| ours.id)
    }
}

fn bucket(line: &Value) -> Option<Bucket> {
    let text = |of: &str| line.get(of).and_then(Value::as_str).map(str::to_owned);
    Some(Bucket {
        id: line.get("id")?.as_i64()?,
        name: text("name")?,
        created: text("created"),
        owner: text("owner"),
        is_live: !matches!(line.get("state").and_then(Value::as_str), Some("deleting" | "gone")),
    })
}

fn renumber(record: String, others: &BTreeMap<i64, i64>) -> String {
    let mut line: Value = serde_json::from_str(&record).unwrap_or_default();
    let number = line.get("b").and_then(Value::as_i64);
    let Some(other) = number.and_then(|number| others.get(&number)) else { return record };
    line["b"] = Value::from(*other);
    line.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_is_one_bucket_s_in_one_history() {
        let bucket = |id: i64, name: &str, created: &str, owner: &str, state: &str| json!({"id": id, "name": name, "created": created, "owner": owner, "state": state});
        let header = |buckets: &[Value]| json!({"buckets": buckets}).to_string();
        let lost = header(&[
            bucket(1, "both", "a", "A", "active"),
            bucket(5, "moved", "b", "A", "active"),
            bucket(6, "anew", "c", "A", "versioned"),
            bucket(7, "taken", "d", "A", "active"),
            bucket(8, "nowhere", "e", "A", "active"),
            bucket(10, "raised", "l", "A", "active"),
            bucket(11, "unknown", "m", "A", "active"),
        ]);
        let now = header(&[
            bucket(1, "both", "a", "A", "active"),
            bucket(5, "x", "f", "B", "active"),
            bucket(6, "y", "g", "B", "active"),
            bucket(7, "z", "h", "B", "active"),
            bucket(8, "u", "i", "B", "gone"),
            bucket(15, "moved", "b", "A", "gone"),
            bucket(16, "anew", "j", "A", "active"),
            bucket(17, "taken", "k", "B", "active"),
            bucket(20, "raised", "n", "A", "active"),
        ]);
        let record = |number: i64| json!({"k": "gone", "b": number, "seq": i64::MAX}).to_string();
        let records: Vec<String> = [1, 5, 6, 7, 8, 9, 10, 11].map(record).into();
        let expected: Vec<String> = [1, 15, 16, NOBODYS, NOBODYS, 9, 20, NOBODYS].map(record).into();
        assert_eq!(Buckets::of(&now).renumbered(&lost, records.clone()), expected);
        for unchanged in ["{}", "", now.as_str()] {
            assert_eq!(Buckets::of(&now).renumbered(unchanged, records.clone()), records, "{unchanged}");
        }
        assert_eq!(Buckets::default().renumbered(&lost, records.clone()), records, "nobody knows of any");
    }
}
