//! Which web pages may use a bucket from a browser (Fetch standard, "CORS protocol"; Amazon S3 User Guide, "Using
//! cross-origin resource sharing").

use serde::{Deserialize, Serialize};

/// The methods that a rule may name (S3 API reference, `CORSRule`).
pub const CORS_METHODS: [&str; 5] = ["GET", "PUT", "POST", "DELETE", "HEAD"];

/// A rule of a bucket. The first one that matches a request counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CorsRule {
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Origins, each with one `*` at most, which stands for any characters.
    pub allowed_origins: Vec<String>,
    /// Of [`CORS_METHODS`].
    pub allowed_methods: Vec<String>,
    /// Headers that a request may have, each with one `*` at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_headers: Vec<String>,
    /// Headers of the answer that a page may read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expose_headers: Vec<String>,
    /// How long a browser may remember the answer to a preflight, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_seconds: Option<u32>,
}

impl CorsRule {
    /// Whether it is about a request of this origin and method with these headers.
    pub fn matches<'a>(
        &self,
        origin: &str,
        method: &str,
        mut headers: impl Iterator<Item = &'a str>,
    ) -> bool {
        let has = |header: &str| {
            let header = header.to_ascii_lowercase();
            self.allowed_headers.iter().any(|allowed| fits(&allowed.to_ascii_lowercase(), &header))
        };
        self.allows_origin(origin).is_some()
            && self.allowed_methods.iter().any(|allowed| allowed == method)
            && headers.all(has)
    }

    /// What `Access-Control-Allow-Origin` says: the origin, or `*` where the rule is for all.
    pub fn allows_origin<'a>(&self, origin: &'a str) -> Option<&'a str> {
        let allowed = self.allowed_origins.iter().find(|allowed| fits(allowed, origin))?;
        Some(if allowed == "*" { "*" } else { origin })
    }

    /// Everything that is wrong with it: the field and what was expected.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        if self.allowed_origins.is_empty() {
            wrong.push(("allowed_origins", "must name one at least".to_owned()));
        }
        if self.allowed_methods.is_empty() {
            wrong.push(("allowed_methods", "must name one at least".to_owned()));
        }
        for method in self.allowed_methods.iter().filter(|method| !CORS_METHODS.contains(&method.as_str())) {
            let expected = CORS_METHODS.join(", ");
            wrong.push(("allowed_methods", format!("`{method}` is none of {expected}")));
        }
        for (field, values) in
            [("allowed_origins", &self.allowed_origins), ("allowed_headers", &self.allowed_headers)]
        {
            for value in values.iter().filter(|value| value.matches('*').count() > 1) {
                wrong.push((field, format!("`{value}` has more than one `*`")));
            }
        }
        let all = [
            ("allowed_origins", &self.allowed_origins),
            ("allowed_headers", &self.allowed_headers),
            ("expose_headers", &self.expose_headers),
        ];
        for (field, values) in all {
            for value in
                values.iter().filter(|value| value.is_empty() || !value.bytes().all(|b| b.is_ascii_graphic()))
            {
                wrong.push((field, format!("{value:?} must have visible ASCII characters only")));
            }
        }
        wrong
    }
}

/// Whether a pattern with one `*` at most fits the whole text.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => {
            text.len() >= before.len() + after.len() && text.starts_with(before) && text.ends_with(after)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn rule() -> CorsRule {
        CorsRule {
            allowed_origins: words(&["https://app.example.com", "https://*.example.org"]),
            allowed_methods: words(&["GET", "PUT"]),
            allowed_headers: words(&["content-type", "X-Amz-*"]),
            ..CorsRule::default()
        }
    }

    #[test]
    fn origin_method_and_headers_must_fit() {
        let matches = |origin: &str, method: &str, headers: &[&str]| {
            rule().matches(origin, method, headers.iter().copied())
        };
        assert!(matches("https://app.example.com", "GET", &[]));
        assert!(matches("https://a.b.example.org", "PUT", &["Content-Type", "x-amz-date"]));
        assert!(!matches("https://example.org", "GET", &[]), "the dot is part of it");
        assert!(!matches("http://app.example.com", "GET", &[]));
        assert!(!matches("https://app.example.com", "DELETE", &[]));
        assert!(!matches("https://app.example.com", "GET", &["authorization"]));
        assert!(!fits("ab*ba", "aba"), "the two ends do not overlap");
    }

    #[test]
    fn any_origin_is_said_as_such() {
        let any = CorsRule { allowed_origins: words(&["*"]), ..rule() };
        assert_eq!(any.allows_origin("https://x"), Some("*"));
        assert_eq!(rule().allows_origin("https://x.example.org"), Some("https://x.example.org"));
        assert_eq!(rule().allows_origin("https://x"), None);
    }

    #[test]
    fn mistakes_are_named() {
        assert!(rule().problems().is_empty());
        let wrong = CorsRule {
            allowed_origins: words(&["https://*.*.org", "a b"]),
            allowed_methods: words(&["PATCH"]),
            ..CorsRule::default()
        };
        let fields: Vec<&str> = wrong.problems().iter().map(|(field, _)| *field).collect();
        assert_eq!(fields, ["allowed_methods", "allowed_origins", "allowed_origins"]);
        assert_eq!(CorsRule::default().problems().len(), 2);
    }
}
