//! Configuration files: YAML with environment variables, and every problem said at once.
//!
//! Invariant: an environment variable's value is data. It is put into the document as a quoted
//! scalar, so that no character of a secret can change the document's shape, and no error message
//! shows it. Messages name file, field and, where it is known, line.

mod expand;
mod problems;
mod units;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use expand::Document;
pub use problems::{Problem, Problems, Validate};
pub use units::{ByteSize, HumanDuration};

/// Why a file gave no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: {source}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It was read, and this is wrong with it.
    #[error("{}", Listing(file, problems))]
    Invalid {
        /// Which.
        file: PathBuf,
        /// Everything that was found, in the order of the fields.
        problems: Vec<Problem>,
    },
}

impl ConfigError {
    /// What is wrong, empty when the file could not be read.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Read { .. } => &[],
            Self::Invalid { problems, .. } => problems,
        }
    }
}

/// One line a problem, as compilers write them.
struct Listing<'a>(&'a Path, &'a [Problem]);

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.1.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}", self.0.display())?;
            if let Some(line) = problem.line {
                write!(f, ":{line}")?;
            }
            write!(f, ": {problem}")?;
        }
        Ok(())
    }
}

/// Reads, expands, parses and validates a file, with the environment of this process.
pub fn load<T: DeserializeOwned + Validate>(file: impl AsRef<Path>) -> Result<T, ConfigError> {
    let file = file.as_ref();
    let text = std::fs::read_to_string(file)
        .map_err(|source| ConfigError::Read { file: file.to_owned(), source })?;
    parse(&text, file, &|name| std::env::var(name).ok())
}

/// The same for a text that `name` stands for in messages, with an environment of the caller's.
pub fn parse<T: DeserializeOwned + Validate>(
    text: &str,
    name: impl AsRef<Path>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<T, ConfigError> {
    let wrong = |problems| Err(ConfigError::Invalid { file: name.as_ref().to_owned(), problems });
    let document = match Document::expand(text, env) {
        Ok(document) => document,
        Err(problems) => return wrong(problems),
    };
    let value: T = match deserialize(&document) {
        Ok(value) => value,
        Err(problem) => return wrong(vec![problem]),
    };
    let mut problems = Problems::default();
    value.validate(&mut problems);
    let mut found = problems.into_vec();
    if found.is_empty() {
        return Ok(value);
    }
    for problem in &mut found {
        problem.line = document.line_of(&problem.path);
    }
    wrong(found)
}

fn deserialize<T: DeserializeOwned>(document: &Document) -> Result<T, Problem> {
    let options = serde_saphyr::options! { with_snippet: false };
    let mut path = String::new();
    let result = serde_saphyr::with_deserializer_from_str_with_options(&document.text, options, |de| {
        let mut track = serde_path_to_error::Track::new();
        let result = T::deserialize(serde_path_to_error::Deserializer::new(de, &mut track));
        if result.is_err() {
            path = track.path().to_string();
        }
        result
    });
    result.map_err(|error| {
        let path = if path == "." { String::new() } else { path };
        let line = error.location().map(|location| location.line());
        let message = error.without_snippet().to_string();
        Problem { line: document.line_of(&path).or(line), path, message: document.redact(message) }
    })
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests;
