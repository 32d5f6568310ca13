//! Sizes and durations, and whole documents.

use proptest::prelude::*;
use s3o_fuzz::{check, texts};
use serde::Deserialize;

use super::{ByteSize, HumanDuration, Problems, Validate, parse};

#[test]
fn sizes() {
    let valid =
        prop_oneof![any::<u64>().prop_map(|n| ByteSize(n).to_string()), "[0-9_]{1,12} ?([KMGTP]i?)?B?"];
    check(
        &texts(valid, &["KiB", "PB", "_", "+", "-", ".5", "1e3", " ", "\u{a0}", "٣", "18446744073709551616"]),
        |text| {
            if let Ok(size) = text.parse::<ByteSize>() {
                prop_assert_eq!(size.to_string().parse(), Ok(size));
            }
            Ok(())
        },
    );
}

#[test]
fn durations() {
    let valid = "[0-9_]{1,12} ?(ms|s|m|h|d)";
    check(
        &texts(valid, &["ms", "d", "0", "_", "+", "-", ".5", " ", "٣", "18446744073709551615", "w"]),
        |text| {
            if let Ok(duration) = text.parse::<HumanDuration>() {
                prop_assert_eq!(duration.to_string().parse(), Ok(duration));
                prop_assert!(duration.micros() >= 0);
            }
            Ok(())
        },
    );
}

/// What a configuration is made of.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    name: String,
    size: Option<ByteSize>,
    #[serde(default)]
    wait: HumanDuration,
    #[serde(default)]
    nested: Vec<Sample>,
}

impl Validate for Sample {
    fn validate(&self, _: &mut Problems) {}
}

impl Sample {
    /// Bytes of all its names and numbers, as they are written.
    fn text(&self) -> usize {
        let Self { name, size, wait, nested } = self;
        let size = size.map_or(0, |size| size.to_string().len());
        name.len() + size + wait.to_string().len() + nested.iter().map(Self::text).sum::<usize>()
    }
}

#[test]
fn documents() {
    let secret = "s3cr3t: [\"&x";
    let value = prop_oneof![
        "[a-z]{1,8}",
        Just("${SECRET}".to_owned()),
        "\"[ a-z$]{0,8}\"",
        Just("'${SECRET}'".to_owned())
    ];
    let valid = (value.clone(), "[0-9]{1,4}(KiB|MB)?", "[0-9]{1,3}(ms|s|d)", value).prop_map(
        |(name, size, wait, inner)| {
            format!("name: {name}\nsize: {size}\nwait: {wait}\nnested:\n  - name: {inner}\n    size: 1\n")
        },
    );
    let tokens = &[
        "${",
        "}",
        "${SECRET}",
        "${NONE}",
        "${SECRET:-x}",
        "$$",
        "name: ",
        "nested:\n",
        "  - ",
        "&a ",
        "*a",
        "<<: *a",
        "!!int ",
        "#",
        "---\n",
        "? ",
        ": ",
        "[",
        "{",
        "|\n",
        ">-\n",
        "\t",
        "\"",
        "'",
        "\r\n",
        "\u{feff}",
        "~",
    ];
    check(&texts(valid, tokens), |text| {
        let env = |name: &str| (name == "SECRET").then(|| secret.to_owned());
        match parse::<Sample>(&text, "sample.yaml", &env) {
            // An alias repeats a value, and a document of this size has few of them.
            Ok(sample) => prop_assert!(sample.text() <= (text.len() + secret.len()) * 64, "it grew"),
            Err(error) => {
                prop_assert!(!error.to_string().contains("s3cr3t"), "a message shows a secret: {error}");
                prop_assert!(!error.problems().is_empty(), "refused without a reason");
            }
        }
        Ok(())
    });
}
