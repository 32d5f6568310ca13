//! What a file may say, and what is said about it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    name: String,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    size: Option<ByteSize>,
    #[serde(default)]
    wait: HumanDuration,
    #[serde(default)]
    items: Vec<Item>,
    #[serde(default)]
    words: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    id: u32,
    #[serde(default)]
    on: bool,
}

impl Validate for Sample {
    fn validate(&self, problems: &mut Problems) {
        if self.name.is_empty() {
            problems.at("name", "must not be empty");
        }
        problems.each("items", &self.items, |problems, item| {
            if item.id == 0 {
                problems.at("id", "must not be 0");
            }
        });
    }
}

fn env(name: &str) -> Option<String> {
    match name {
        "SECRET" => Some("a: b #\"'{}\n*&!${PORT}\\".to_owned()),
        "PORT" => Some("9000".to_owned()),
        "EMPTY" => Some(String::new()),
        "WORD" => Some("verysecret".to_owned()),
        _ => None,
    }
}

fn read(text: &str) -> Result<Sample, ConfigError> {
    parse(text, "sample.yaml", &env)
}

#[test]
fn variables_are_values_whatever_they_contain() {
    let sample = read(
        "name: ${SECRET}\nport: ${PORT}\nsize: \"${SIZE:-10GiB}\"\nwait: ${EMPTY:-15m}\n\
         items: [{id: \"${PORT}\", on: \"${ON:-true}\"}]\nwords:\n  ${PORT}: a$$b-$PORT-${-}\n  block: |\n    x ${PORT}\n  last: 'it''s ${PORT}'\n",
    )
    .unwrap();
    assert_eq!(sample.name, env("SECRET").unwrap());
    assert_eq!((sample.port, sample.size), (9000, Some(ByteSize(10 << 30))));
    assert_eq!(sample.wait.get(), Duration::from_secs(900));
    assert_eq!((sample.items[0].id, sample.items[0].on), (9000, true));
    assert_eq!(sample.words["${PORT}"], "a$b-$PORT-${-}");
    assert_eq!(sample.words["block"], "x 9000\n");
    assert_eq!(sample.words["last"], "it's 9000");
}

#[test]
fn an_empty_plain_value_is_absent() {
    assert_eq!(read("name: a\nsize: ${EMPTY}\n").unwrap().size, None);
    assert_eq!(read("name: \"${EMPTY:-}x\"\n").unwrap().name, "x");
}

#[test]
fn every_missing_variable_is_named_with_its_field_and_line() {
    let error = read("name: ${ONE}\nwords:\n  # ${COMMENT}\n  a: b\n  c: ${TWO}\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "sample.yaml:1: name: the environment variable ONE is not set\n\
         sample.yaml:5: words.c: the environment variable TWO is not set"
    );
}

#[test]
fn every_invalid_value_is_named_with_its_field_and_line() {
    let error = read("name: \"\"\nitems:\n  - id: 1\n  - on: true\n    id: 0\n  - id: 0\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "sample.yaml:1: name: must not be empty\n\
         sample.yaml:5: items[1].id: must not be 0\n\
         sample.yaml:6: items[2].id: must not be 0"
    );
}

#[test]
fn wrong_types_and_unknown_fields_are_named() {
    for (text, path, line) in [
        ("name: a\nitems:\n  - id: 1\n  - id: many\n", "items[1].id", 4),
        ("name: a\nitems:\n  - id: 1\n    colour: red\n", "items[0].colour", 4),
        ("name: a\nwait: 15\n", "wait", 2),
        ("name: a\nport: 70000\n", "port", 2),
    ] {
        let error = read(text).unwrap_err();
        let problem = &error.problems()[0];
        assert_eq!((problem.path.as_str(), problem.line), (path, Some(line)), "{error}");
    }
    let error = read("name: [a\n").unwrap_err();
    assert!(error.problems()[0].line.is_some(), "{error}");
    let error = read("port: ${WORD}\nname: a\n").unwrap_err().to_string();
    assert!(!error.contains("verysecret"), "{error}");
    let error = read("port: ${SECRET}\nname: a\n").unwrap_err().to_string();
    assert!(!error.contains("a: b"), "as Rust writes it between quotes: {error}");
}

#[test]
fn a_comment_behind_a_block_s_indicator_is_none() {
    let sample =
        read("name: a\nwords:\n  block: |- # neither > nor |\n    x ${PORT}\n  c|d: >2\n\n     y $$\n")
            .unwrap();
    assert_eq!((&*sample.words["block"], &*sample.words["c|d"]), ("x 9000", "\n y $\n"));
}

#[test]
fn sizes_and_durations_print_as_they_parse() {
    for text in ["0", "1", "10GiB", "3KiB", "1000", "5PiB"] {
        assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
    }
    assert_eq!("2GB".parse(), Ok(ByteSize(2_000_000_000)));
    for text in ["0", "500ms", "90s", "15m", "1h", "7d"] {
        assert_eq!(text.parse::<HumanDuration>().unwrap().to_string(), text);
    }
    for text in ["", "x", "10Gib", "-1", "99999999999PiB"] {
        assert!(text.parse::<ByteSize>().is_err(), "{text}");
    }
    for text in ["", "15", "1 fortnight", "-1s"] {
        assert!(text.parse::<HumanDuration>().is_err(), "{text}");
    }
}
