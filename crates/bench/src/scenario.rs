//! What is done to a target, by name: `put-4k`, `get-64m`, `mixed-4k`, `head`, …
//!
//! On the command line a scenario is a name or a glob, with its concurrency if that is not the default:
//! `put-4k@32,get-*@1,head`.

use anyhow::{Result, bail};

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A new key each time.
    Put,
    /// Keys that are there, in turn.
    Get,
    /// 70 % GET, 30 % PUT.
    Mixed,
    /// PUT to 64 keys.
    Overwrite,
    Head,
    /// Pages of 1,000 from many places.
    List,
    /// Objects, one by one.
    Delete,
    /// 1,000 objects a request.
    DeleteObjects,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Bytes of an object.
    pub(crate) size: usize,
}

/// A scenario at one concurrency: a row of the table for each target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) scenario: Scenario,
    pub(crate) concurrency: usize,
}

const SIZES: [(&str, usize); 4] = [("4k", 4096), ("64k", 65_536), ("1m", 1 << 20), ("64m", 64 << 20)];

impl Scenario {
    /// Bodies so large that an interval sees few of them end.
    pub(crate) const fn counts_bytes(&self) -> bool {
        self.size >= 1 << 20 && matches!(self.kind, Kind::Put | Kind::Get)
    }

    /// Whether an open loop makes sense: with bodies of 64 MiB there are too few requests for percentiles,
    /// and what deletes needs its objects made first.
    pub(crate) const fn has_schedule(&self) -> bool {
        self.size <= 1 << 20 && !matches!(self.kind, Kind::Delete | Kind::DeleteObjects)
    }

    /// Where nobody says otherwise.
    fn concurrencies(&self) -> &'static [usize] {
        match self.kind {
            Kind::DeleteObjects => &[1],
            Kind::List => &[1, 8],
            _ if self.size > 1 << 20 => &[1, 8, 32],
            _ => &[1, 32, 256],
        }
    }
}

/// Every scenario.
pub(crate) fn all() -> Vec<Scenario> {
    let scenario = |name: &str, kind, size| Scenario { name: name.to_owned(), kind, size };
    let sized = |kind: Kind, prefix: &str, count: usize| -> Vec<Scenario> {
        SIZES
            .iter()
            .take(count)
            .map(|(text, size)| scenario(&format!("{prefix}-{text}"), kind, *size))
            .collect()
    };
    let mut all = sized(Kind::Put, "put", 4);
    all.extend(sized(Kind::Get, "get", 4));
    all.extend(sized(Kind::Mixed, "mixed", 2));
    all.push(scenario("overwrite", Kind::Overwrite, 4096));
    all.push(scenario("head", Kind::Head, 4096));
    all.push(scenario("list-1000", Kind::List, 4096));
    all.push(scenario("delete", Kind::Delete, 4096));
    all.push(scenario("delete-objects", Kind::DeleteObjects, 4096));
    all
}

/// The rows that `selection` names, in its order, none twice. `concurrency` stands for every scenario
/// that has no `@` of its own.
pub(crate) fn select(selection: &[String], concurrency: &[usize]) -> Result<Vec<Work>> {
    let mut chosen: Vec<Work> = Vec::new();
    for text in selection {
        let (pattern, own) = match text.split_once('@') {
            None => (text.as_str(), None),
            Some((pattern, number)) => match number.parse::<usize>() {
                Ok(number) if number > 0 => (pattern, Some(number)),
                _ => bail!("{text}: `{number}` is no number of connections"),
            },
        };
        let matching: Vec<Scenario> = all().into_iter().filter(|s| matches(pattern, &s.name)).collect();
        if matching.is_empty() {
            let names: Vec<String> = all().into_iter().map(|scenario| scenario.name).collect();
            bail!("no scenario is called `{pattern}`; there are {}", names.join(", "));
        }
        for scenario in matching {
            let concurrencies = match own {
                Some(number) => vec![number],
                None if concurrency.is_empty() => scenario.concurrencies().to_vec(),
                None => concurrency.to_vec(),
            };
            let works =
                concurrencies.into_iter().map(|concurrency| Work { scenario: scenario.clone(), concurrency });
            let new: Vec<Work> = works.filter(|work| !chosen.contains(work)).collect();
            chosen.extend(new);
        }
    }
    Ok(chosen)
}

/// A glob with `*` only.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            (0..=name.len()).any(|at| name.is_char_boundary(at) && matches(rest, &name[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(selection: &[&str], concurrency: &[usize]) -> Vec<String> {
        let selection: Vec<String> = selection.iter().map(|text| (*text).to_owned()).collect();
        let works = select(&selection, concurrency).expect("known names");
        works.iter().map(|work| format!("{}@{}", work.scenario.name, work.concurrency)).collect()
    }

    #[test]
    fn names_globs_and_concurrencies() {
        assert_eq!(names(&["put-4k"], &[]), ["put-4k@1", "put-4k@32", "put-4k@256"]);
        assert_eq!(names(&["get-64m@8", "head@1", "head"], &[1, 2]), ["get-64m@8", "head@1", "head@2"]);
        assert_eq!(names(&["*-64k@2"], &[]), ["put-64k@2", "get-64k@2", "mixed-64k@2"]);
        assert_eq!(names(&["*@1"], &[]).len(), all().len());
        assert!(matches("a*c*", "abcd") && !matches("a*c", "abcd") && matches("*", ""));
    }

    #[test]
    fn unknown_names_are_errors() {
        assert!(select(&["put-5k".to_owned()], &[]).is_err());
        assert!(select(&["head@0".to_owned()], &[]).is_err());
    }
}
