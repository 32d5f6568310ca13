//! CORS documents: what is taken comes back, and is what the data plane goes by.

use proptest::prelude::*;
use s3o_fuzz::{check, texts};
use s3s::dto::{CORSConfiguration, CORSRule};

use super::{rules, shown};
use crate::ops::fuzz::{read, refused, written};

fn documents() -> BoxedStrategy<String> {
    let origin = "(\\*|https?://(\\*\\.)?[a-z]{1,5}\\.org)";
    let header = "([Xx]-[a-z]{1,5}|\\*|x-\\*-y)";
    let rule = (
        "(<ID>[a-z]{1,4}</ID>)?",
        origin,
        "(GET|PUT|POST|DELETE|HEAD|PATCH|get)",
        prop::option::of(header),
        prop::option::of(prop_oneof![-1..4_i64, any::<i64>()]),
    );
    let rule = rule.prop_map(|(id, origin, method, header, age)| {
        let header = header.map(|header| format!("<AllowedHeader>{header}</AllowedHeader>")).unwrap_or_default();
        let age = age.map(|age| format!("<MaxAgeSeconds>{age}</MaxAgeSeconds>")).unwrap_or_default();
        format!(
            "<CORSRule>{id}<AllowedOrigin>{origin}</AllowedOrigin><AllowedMethod>{method}</AllowedMethod>{header}{age}</CORSRule>"
        )
    });
    let valid = prop::collection::vec(rule, 0..4)
        .prop_map(|rules| format!("<CORSConfiguration>{}</CORSConfiguration>", rules.concat()));
    let tokens = &[
        "<CORSRule>",
        "</CORSRule>",
        "<AllowedOrigin>*</AllowedOrigin>",
        "<ExposeHeader>x</ExposeHeader>",
        "<ExposeHeader/>",
        "*",
        "&#0;",
        "é",
        "<ID/>",
    ];
    texts(valid, tokens)
}

#[test]
fn cors() {
    check(&documents(), |text| {
        let Some(document) = read::<CORSConfiguration>(text.as_bytes()) else { return Ok(()) };
        let taken = rules(&document.cors_rules);
        refused(&taken, &["MalformedXML", "InvalidRequest"])?;
        let Ok(taken) = taken else { return Ok(()) };
        prop_assert!(!taken.is_empty());
        for rule in &taken {
            prop_assert!(rule.problems().is_empty() && !rule.id.contains('\0'));
        }
        let cors_rules: Vec<CORSRule> = taken.iter().map(shown).collect();
        let xml = written(&CORSConfiguration { cors_rules });
        let again = read::<CORSConfiguration>(&xml).map(|document| rules(&document.cors_rules));
        prop_assert_eq!(again.and_then(Result::ok), Some(taken));
        Ok(())
    });
}
