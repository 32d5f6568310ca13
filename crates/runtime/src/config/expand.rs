//! `${NAME}` and `${NAME:-default}` in scalar values, and where each field stands in the file.
//!
//! Invariant: only values are expanded, never keys or comments, and what is put in is a quoted
//! scalar: the expanded document has the shape of the file.

use std::collections::HashMap;
use std::ops::Range;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle};

use super::Problem;

/// A document with its environment in place.
#[derive(Debug)]
pub(super) struct Document {
    /// The YAML to be parsed.
    pub(super) text: String,
    lines: HashMap<String, u64>,
    secrets: Vec<String>,
}

/// What stands in messages for a value of the environment.
const REDACTED: &str = "${…}";

/// Where the walk over the document is.
enum Frame {
    Sequence { next: usize },
    Mapping { key: Option<String> },
}

#[derive(Default)]
struct Walk {
    frames: Vec<Frame>,
    paths: Vec<String>,
}

impl Walk {
    /// Whether the next node is a mapping's key.
    fn at_key(&self) -> bool {
        matches!(self.frames.last(), Some(Frame::Mapping { key: None }))
    }

    /// The path of the value that begins here; the walk is behind it afterwards.
    fn value_path(&mut self) -> String {
        let base = self.paths.last().cloned().unwrap_or_default();
        match self.frames.last_mut() {
            None => base,
            Some(Frame::Sequence { next }) => {
                *next += 1;
                format!("{base}[{}]", *next - 1)
            }
            Some(Frame::Mapping { key }) => {
                let key = key.take().unwrap_or_default();
                if base.is_empty() { key } else { format!("{base}.{key}") }
            }
        }
    }

    fn open(&mut self, frame: Frame) -> String {
        // A mapping or sequence as a key has no path of its own; ours have string keys only.
        let path = if self.at_key() { String::new() } else { self.value_path() };
        self.frames.push(frame);
        self.paths.push(path.clone());
        path
    }

    fn close(&mut self) {
        self.frames.pop();
        self.paths.pop();
    }
}

impl Document {
    /// Puts the environment in. Every variable that is missing is a problem of its own.
    pub(super) fn expand(source: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Vec<Problem>> {
        let mut out = Self { text: String::new(), lines: HashMap::new(), secrets: Vec::new() };
        let (mut walk, mut copied, mut problems) = (Walk::default(), 0, Vec::new());
        for event in Parser::new_from_str(source) {
            // A syntax error is reported by the deserializer, which says more.
            let Ok((event, span)) = event else { break };
            let line = span.start.line() as u64;
            match event {
                Event::SequenceStart(..) => {
                    let path = walk.open(Frame::Sequence { next: 0 });
                    out.lines.entry(path).or_insert(line);
                }
                Event::MappingStart(..) => {
                    let path = walk.open(Frame::Mapping { key: None });
                    out.lines.entry(path).or_insert(line);
                }
                Event::SequenceEnd | Event::MappingEnd => walk.close(),
                Event::Alias(_) if !walk.at_key() => _ = walk.value_path(),
                Event::Scalar(text, style, ..) => {
                    if walk.at_key() {
                        if let Some(Frame::Mapping { key }) = walk.frames.last_mut() {
                            *key = Some(text.into_owned());
                        }
                        continue;
                    }
                    let path = walk.value_path();
                    out.lines.insert(path.clone(), line);
                    let Some(range) = span.byte_range().filter(|_| text.contains('$')) else { continue };
                    let mut missing = Vec::new();
                    let expanded = out.substitute(&text, env, &mut missing);
                    problems.extend(missing.into_iter().map(|message| Problem {
                        path: path.clone(),
                        line: Some(line),
                        message,
                    }));
                    if expanded != text {
                        let (start, end) = replaced(source, range, style);
                        out.text.push_str(&source[copied..start]);
                        out.text.push_str(&quoted(&expanded, style));
                        copied = end;
                    }
                }
                _ => {}
            }
        }
        out.text.push_str(&source[copied..]);
        if problems.is_empty() { Ok(out) } else { Err(problems) }
    }

    /// Line of a field, or of the nearest one around it.
    pub(super) fn line_of(&self, path: &str) -> Option<u64> {
        let mut path = path;
        while !path.is_empty() {
            if let Some(line) = self.lines.get(path) {
                return Some(*line);
            }
            path = &path[..path.rfind(['.', '[']).unwrap_or(0)];
        }
        None
    }

    /// Takes values of the environment out of a message.
    pub(super) fn redact(&self, message: String) -> String {
        // Messages show values as they are, or as Rust writes them between quotes.
        self.secrets.iter().fold(message, |text, secret| {
            text.replace(secret.as_str(), REDACTED).replace(&secret.escape_debug().to_string(), REDACTED)
        })
    }

    fn substitute(
        &mut self,
        text: &str,
        env: &dyn Fn(&str) -> Option<String>,
        missing: &mut Vec<String>,
    ) -> String {
        let (mut out, mut rest) = (String::new(), text);
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("$$") {
                out.push('$');
                rest = after;
            } else if let Some((name, default, after)) = reference(rest) {
                match env(name).filter(|value| default.is_none() || !value.is_empty()) {
                    Some(value) => {
                        if value.len() >= 4 {
                            self.secrets.push(value.clone());
                        }
                        out.push_str(&value);
                    }
                    None => match default {
                        Some(default) => out.push_str(default),
                        None => missing.push(format!("the environment variable {name} is not set")),
                    },
                }
                rest = after;
            } else {
                out.push('$');
                rest = &rest[1..];
            }
        }
        out + rest
    }
}

/// Splits `${NAME}…` or `${NAME:-default}…` into name, default and what follows.
fn reference(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let (body, after) = text.strip_prefix("${")?.split_once('}')?;
    let (name, default) = match body.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (body, None),
    };
    let word = |c: char| c == '_' || c.is_ascii_alphanumeric();
    let good = name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic()) && name.chars().all(word);
    good.then_some((name, default, after))
}

/// What of the file a scalar takes up: a block scalar with its `|` or `>`, without the blanks behind.
fn replaced(source: &str, range: Range<usize>, style: ScalarStyle) -> (usize, usize) {
    let end = range.start + source[range.clone()].trim_end().len();
    let start = match style {
        ScalarStyle::Literal | ScalarStyle::Folded => indicator(&source[..range.start]),
        _ => None,
    };
    (start.unwrap_or(range.start), end)
}

/// Where the `|` or `>` is that the text before a block scalar ends with: behind it come digits and signs at most, and a
/// comment, which may have others in it (YAML 1.2, 8.1.1).
fn indicator(before: &str) -> Option<usize> {
    let before = before.trim_end();
    let line = before.rfind('\n').map_or(0, |end| end + 1);
    let is_header = |behind: &str| {
        let rest = behind.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-'));
        rest.trim().is_empty() || (rest.starts_with([' ', '\t']) && rest.trim_start().starts_with('#'))
    };
    let mut places = before[line..].match_indices(['|', '>']).map(|(at, _)| line + at);
    places.find(|at| is_header(&before[at + 1..]))
}

/// The value as a scalar that means itself. A plain one that came out empty is null, as it would be
/// if nothing stood there.
fn quoted(value: &str, style: ScalarStyle) -> String {
    if value.is_empty() && matches!(style, ScalarStyle::Plain) {
        return "null".to_owned();
    }
    // JSON's strings are YAML's double-quoted scalars.
    serde_json::Value::from(value).to_string()
}
