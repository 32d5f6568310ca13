//! The policy of a form: what its fields must be (S3 API reference, "POST policy").
//!
//! Invariant: nothing is stored that a condition does not allow, and no field goes by without a condition.

use std::collections::BTreeMap;
use std::fmt;

use s3s::{S3Error, S3Result, s3_error};
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Iso8601;

/// Fields that need no condition.
const FREE: [&str; 3] = ["policy", "x-amz-signature", "file"];
/// And those that begin so.
const IGNORED: &str = "x-ignore-";

/// As it was signed.
#[derive(Debug)]
pub(super) struct Policy {
    expiration: OffsetDateTime,
    conditions: Vec<Condition>,
}

#[derive(Debug, PartialEq, Eq)]
enum Condition {
    Equals { field: String, value: String },
    StartsWith { field: String, prefix: String },
    Length { least: u64, most: u64 },
}

#[derive(Deserialize)]
struct Document {
    expiration: String,
    conditions: Vec<Value>,
}

impl Policy {
    /// Reads the decoded document.
    pub(super) fn parse(json: &[u8]) -> S3Result<Self> {
        let document: Document = serde_json::from_slice(json).map_err(|_| invalid("Invalid JSON."))?;
        let expiration = OffsetDateTime::parse(&document.expiration, &Iso8601::PARSING)
            .map_err(|_| invalid("Invalid 'expiration' value"))?;
        let conditions = document.conditions.iter().map(conditions).collect::<S3Result<Vec<_>>>()?;
        Ok(Self { expiration, conditions: conditions.into_iter().flatten().collect() })
    }

    /// Whether it allows the fields of a form, `bucket` among them, at `now`. Their names are in lower case, and
    /// the key's variables replaced.
    pub(super) fn check(&self, fields: &BTreeMap<String, String>, now: OffsetDateTime) -> S3Result<()> {
        if now >= self.expiration {
            return Err(denied("Policy expired."));
        }
        for condition in &self.conditions {
            let holds = match condition {
                Condition::Equals { field, value } => fields.get(field) == Some(value),
                Condition::StartsWith { field, prefix } => starts(field, fields.get(field), prefix),
                Condition::Length { .. } => true,
            };
            if !holds {
                return Err(denied(&format!("Policy Condition failed: {condition}")));
            }
        }
        let named = |field: &str| self.conditions.iter().any(|condition| condition.field() == Some(field));
        let free = |field: &str| FREE.contains(&field) || field.starts_with(IGNORED) || field == "bucket";
        match fields.keys().find(|field| !free(field) && !named(field)) {
            Some(field) => Err(denied(&format!("Extra input fields: {field}"))),
            None => Ok(()),
        }
    }

    /// Whether it allows a file of `size` bytes.
    pub(super) fn check_size(&self, size: u64) -> S3Result<()> {
        for condition in &self.conditions {
            let Condition::Length { least, most } = condition else { continue };
            if size > *most {
                return Err(s3_error!(
                    EntityTooLarge,
                    "Your proposed upload exceeds the maximum allowed size"
                ));
            }
            if size < *least {
                return Err(s3_error!(
                    EntityTooSmall,
                    "Your proposed upload is smaller than the minimum allowed size"
                ));
            }
        }
        Ok(())
    }
}

/// A content type may be a list, each of which must begin so.
fn starts(field: &str, value: Option<&String>, prefix: &str) -> bool {
    // A field that is not there is empty.
    let value = value.map(String::as_str).unwrap_or_default();
    if field == "content-type" {
        return value.split(',').all(|one| one.trim_start().starts_with(prefix));
    }
    value.starts_with(prefix)
}

impl Condition {
    fn field(&self) -> Option<&str> {
        match self {
            Self::Equals { field, .. } | Self::StartsWith { field, .. } => Some(field),
            Self::Length { .. } => None,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equals { field, value } => write!(f, "[\"eq\", \"${field}\", \"{value}\"]"),
            Self::StartsWith { field, prefix } => write!(f, "[\"starts-with\", \"${field}\", \"{prefix}\"]"),
            Self::Length { least, most } => write!(f, "[\"content-length-range\", {least}, {most}]"),
        }
    }
}

fn conditions(value: &Value) -> S3Result<Vec<Condition>> {
    let bad = || invalid(&format!("Invalid Condition: {value}"));
    match value {
        Value::Object(pairs) => pairs
            .iter()
            .map(|(field, value)| {
                let value = text(value).ok_or_else(bad)?;
                Ok(Condition::Equals { field: field.to_ascii_lowercase(), value })
            })
            .collect(),
        Value::Array(items) => Ok(vec![listed(items).ok_or_else(bad)?]),
        _ => Err(bad()),
    }
}

fn listed(items: &[Value]) -> Option<Condition> {
    let [operator, second, third] = items else { return None };
    let field = || Some(second.as_str()?.strip_prefix('$')?.to_ascii_lowercase());
    Some(match operator.as_str()?.to_ascii_lowercase().as_str() {
        "eq" => Condition::Equals { field: field()?, value: text(third)? },
        "starts-with" => Condition::StartsWith { field: field()?, prefix: text(third)? },
        "content-length-range" => Condition::Length { least: number(second)?, most: number(third)? },
        _ => return None,
    })
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// S3 takes numbers in quotes too.
fn number(value: &Value) -> Option<u64> {
    text(value)?.parse().ok()
}

fn invalid(why: &str) -> S3Error {
    s3_error!(InvalidPolicyDocument, "Invalid Policy: {why}")
}

fn denied(why: &str) -> S3Error {
    s3_error!(AccessDenied, "Invalid according to Policy: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(conditions: &str) -> Policy {
        let text = format!("{{\"expiration\": \"2030-01-01T12:00:00.000Z\", \"conditions\": {conditions}}}");
        Policy::parse(text.as_bytes()).expect("good")
    }

    fn fields(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn at(year: i32) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH.replace_year(year).expect("a year")
    }

    fn refusal(policy: &Policy, pairs: &[(&str, &str)]) -> String {
        let refused = policy.check(&fields(pairs), at(2029));
        refused.err().and_then(|error| error.message().map(str::to_owned)).unwrap_or_default()
    }

    #[test]
    fn conditions_of_all_kinds() {
        let policy = policy(
            r#"[{"bucket": "b"}, ["starts-with", "$key", "user/"], ["eq", "$acl", "private"],
                ["starts-with", "$Content-Type", "image/"], {"success_action_status": 201},
                ["content-length-range", 2, "4"]]"#,
        );
        let all = |key, acl, kind| {
            [
                ("bucket", "b"),
                ("key", key),
                ("acl", acl),
                ("content-type", kind),
                ("success_action_status", "201"),
            ]
        };
        assert_eq!(refusal(&policy, &all("user/x", "private", "image/png,image/gif")), "");
        let wrong = refusal(&policy, &all("other/x", "private", "image/png"));
        assert_eq!(
            wrong,
            "Invalid according to Policy: Policy Condition failed: [\"starts-with\", \"$key\", \"user/\"]"
        );
        let wrong = refusal(&policy, &all("user/x", "public-read", "image/png"));
        assert!(wrong.ends_with("[\"eq\", \"$acl\", \"private\"]"), "{wrong}");
        assert!(refusal(&policy, &all("user/x", "private", "image/png,text/html")).contains("content-type"));
        assert!(refusal(&policy, &all("user/x", "private", "image/png")[1..]).contains("bucket"));
        let code = |size| policy.check_size(size).err().map(|error| error.code().as_str().to_owned());
        assert_eq!([2, 4].map(code), [None, None]);
        assert_eq!(
            (code(1).as_deref(), code(5).as_deref()),
            (Some("EntityTooSmall"), Some("EntityTooLarge"))
        );
    }

    #[test]
    fn no_field_without_a_condition() {
        let policy = policy(r#"[{"key": "k"}]"#);
        let free =
            [("bucket", "b"), ("key", "k"), ("policy", "x"), ("x-amz-signature", "x"), ("x-ignore-me", "x")];
        assert_eq!(refusal(&policy, &free), "");
        let extra = refusal(&policy, &[("key", "k"), ("x-amz-meta-a", "1")]);
        assert_eq!(extra, "Invalid according to Policy: Extra input fields: x-amz-meta-a");
    }

    #[test]
    fn it_ends() {
        let error = policy("[]").check(&BTreeMap::new(), at(2031)).expect_err("over");
        assert_eq!(error.message(), Some("Invalid according to Policy: Policy expired."));
        assert_eq!(error.code().as_str(), "AccessDenied");
    }

    #[test]
    fn what_makes_no_sense_is_no_policy() {
        let parse =
            |text: &str| Policy::parse(text.as_bytes()).map_err(|error| error.code().as_str().to_owned());
        for bad in [
            "",
            "[]",
            r#"{"conditions": []}"#,
            r#"{"expiration": "tomorrow", "conditions": []}"#,
            r#"{"expiration": "2030-01-01T00:00:00Z", "conditions": ["x"]}"#,
            r#"{"expiration": "2030-01-01T00:00:00Z", "conditions": [["like", "$key", "x"]]}"#,
            r#"{"expiration": "2030-01-01T00:00:00Z", "conditions": [["eq", "key", "x"]]}"#,
            r#"{"expiration": "2030-01-01T00:00:00Z", "conditions": [["content-length-range", 1, -2]]}"#,
            r#"{"expiration": "2030-01-01T00:00:00Z", "conditions": [{"key": []}]}"#,
        ] {
            assert_eq!(parse(bad).expect_err(bad), "InvalidPolicyDocument");
        }
    }
}
