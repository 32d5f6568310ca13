//! Listings in S3's order, read from the folders as they are.
//!
//! Invariant: keys come in ascending byte order. A folder's name with a slash behind it sorts among
//! its neighbours as all keys beneath it do, so the walk needs no sort beyond one folder. What lies
//! before the start or outside the prefix is not entered.

use std::io;
use std::path::Path;

/// What is asked for.
#[derive(Debug, Default)]
pub(super) struct Query {
    pub(super) prefix: String,
    pub(super) delimiter: Option<String>,
    pub(super) after: After,
    pub(super) max: usize,
}

/// Where a listing begins.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) enum After {
    /// At the first key.
    #[default]
    Start,
    /// Behind a key.
    Key(String),
    /// Behind everything that begins with this.
    Prefix(String),
}

impl After {
    /// As a continuation token.
    pub(super) fn token(&self) -> String {
        match self {
            Self::Start => String::new(),
            Self::Key(key) => hex::encode(format!("k{key}")),
            Self::Prefix(prefix) => hex::encode(format!("p{prefix}")),
        }
    }

    /// From a token; `None` when it is none of ours.
    pub(super) fn parse(token: &str) -> Option<Self> {
        let text = String::from_utf8(hex::decode(token).ok()?).ok()?;
        let (kind, rest) = text.split_at_checked(1)?;
        match kind {
            "k" => Some(Self::Key(rest.to_owned())),
            "p" => Some(Self::Prefix(rest.to_owned())),
            _ => None,
        }
    }

    /// Whether a key lies before the start.
    fn covers(&self, key: &str) -> bool {
        match self {
            Self::Start => false,
            Self::Key(after) => key <= after.as_str(),
            Self::Prefix(after) => key <= after.as_str() || key.starts_with(after.as_str()),
        }
    }

    /// Whether all keys that begin with `folder` lie before the start.
    fn covers_all(&self, folder: &str) -> bool {
        match self {
            Self::Start => false,
            Self::Key(after) => folder <= after.as_str() && !after.starts_with(folder),
            Self::Prefix(after) => {
                folder.starts_with(after.as_str()) || (folder <= after.as_str() && !after.starts_with(folder))
            }
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) keys: Vec<String>,
    pub(super) prefixes: Vec<String>,
    /// Where the next page begins, when there is more.
    pub(super) next: Option<After>,
    last: After,
}

impl Page {
    fn len(&self) -> usize {
        self.keys.len() + self.prefixes.len()
    }
}

/// Lists a bucket's folder.
pub(super) fn list(bucket: &Path, query: &Query) -> io::Result<Page> {
    let mut page = Page::default();
    if query.max > 0 {
        walk(bucket, "", query, &mut page)?;
    }
    Ok(page)
}

/// Walks one folder. `false`: the page is full.
fn walk(folder: &Path, base: &str, query: &Query, page: &mut Page) -> io::Result<bool> {
    for name in sorted_names(folder)? {
        let key = format!("{base}{name}");
        if key.ends_with('/') {
            let inside = key.starts_with(&query.prefix) || query.prefix.starts_with(&key);
            let done = matches!(&page.last, After::Prefix(last) if key.starts_with(last.as_str()));
            if inside
                && !done
                && !query.after.covers_all(&key)
                && !walk(&folder.join(&name), &key, query, page)?
            {
                return Ok(false);
            }
        } else if key.starts_with(&query.prefix) && !query.after.covers(&key) && !add(key, query, page) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Adds a key or what it is grouped under. `false`: there was no room.
fn add(key: String, query: &Query, page: &mut Page) -> bool {
    let rest = &key[query.prefix.len()..];
    let delimiter = query.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());
    let group =
        delimiter.and_then(|d| rest.find(d).map(|at| key[..query.prefix.len() + at + d.len()].to_owned()));
    if group.is_some() && group.as_ref() == page.prefixes.last() {
        return true;
    }
    if page.len() == query.max {
        page.next = Some(page.last.clone());
        return false;
    }
    if let Some(group) = group {
        page.last = After::Prefix(group.clone());
        page.prefixes.push(group);
    } else {
        page.last = After::Key(key.clone());
        page.keys.push(key);
    }
    true
}

/// The names in a folder, folders with a slash behind them, in S3's order.
fn sorted_names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        // Deleted while we walked.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        // Not UTF-8: no key of ours.
        let Ok(mut name) = entry.file_name().into_string() else { continue };
        if entry.file_type()?.is_dir() {
            name.push('/');
        }
        names.push(name);
    }
    names.sort_unstable();
    Ok(names)
}
