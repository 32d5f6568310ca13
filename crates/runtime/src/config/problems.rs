//! Validation that goes on after the first problem.

use std::fmt;

/// A value that can be wrong although it parsed.
pub trait Validate {
    /// Says everything that is wrong with it.
    fn validate(&self, problems: &mut Problems);
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field, as `backends[2].quota_bytes`; empty for the whole document.
    pub path: String,
    /// Line in the file, counted from 1.
    pub line: Option<u64>,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Collects problems under the path of the field that is being looked at.
#[derive(Debug, Default)]
pub struct Problems {
    prefix: String,
    found: Vec<Problem>,
}

impl Problems {
    /// Says that the value being looked at is wrong.
    pub fn push(&mut self, message: impl Into<String>) {
        self.found.push(Problem { path: self.prefix.clone(), line: None, message: message.into() });
    }

    /// Says that its field `name` is wrong.
    pub fn at(&mut self, name: &str, message: impl Into<String>) {
        self.field(name, |problems| problems.push(message));
    }

    /// Looks at the field `name`.
    pub fn field(&mut self, name: &str, look: impl FnOnce(&mut Self)) {
        let before = self.prefix.len();
        if before > 0 {
            self.prefix.push('.');
        }
        self.prefix.push_str(name);
        look(self);
        self.prefix.truncate(before);
    }

    /// Looks at each entry of the list `name`.
    pub fn each<T>(&mut self, name: &str, entries: &[T], mut look: impl FnMut(&mut Self, &T)) {
        for (i, entry) in entries.iter().enumerate() {
            self.field(&format!("{name}[{i}]"), |problems| look(problems, entry));
        }
    }

    /// Whether nothing was wrong so far.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// What was found, in the order in which it was said.
    pub fn into_vec(self) -> Vec<Problem> {
        self.found
    }
}
