//! Rules by which web pages use a bucket.

use s3o_proto::v1;
use s3o_types::CorsRule;

/// As a client sets it, and as the configuration has it.
pub fn to_wire(rule: CorsRule) -> v1::CorsRule {
    let CorsRule { id, allowed_origins, allowed_methods, allowed_headers, expose_headers, max_age_seconds } =
        rule;
    v1::CorsRule { id, allowed_origins, allowed_methods, allowed_headers, expose_headers, max_age_seconds }
}

/// Nothing is checked.
pub fn from_wire(rule: v1::CorsRule) -> CorsRule {
    let v1::CorsRule {
        id,
        allowed_origins,
        allowed_methods,
        allowed_headers,
        expose_headers,
        max_age_seconds,
    } = rule;
    CorsRule { id, allowed_origins, allowed_methods, allowed_headers, expose_headers, max_age_seconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let words = |word: &str| vec![word.to_owned()];
        let whole = CorsRule {
            id: "one".to_owned(),
            allowed_origins: words("*"),
            allowed_methods: words("GET"),
            allowed_headers: words("content-type"),
            expose_headers: words("etag"),
            max_age_seconds: Some(600),
        };
        for rule in [whole, CorsRule::default()] {
            assert_eq!(from_wire(to_wire(rule.clone())), rule);
        }
    }
}
