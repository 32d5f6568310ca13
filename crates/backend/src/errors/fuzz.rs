//! The body of an error answer.

use proptest::prelude::*;
use s3o_fuzz::{check, texts};

use super::{element, from_status};
use crate::error::{BackendErrorKind, Certainty};

#[test]
fn error_documents() {
    let codes =
        prop_oneof!["[A-Z][A-Za-z]{2,12}", Just("NoSuchKey".to_owned()), Just("NoSuchBucket".to_owned())];
    let valid = (codes, "[ -~é]{0,40}").prop_map(|(code, message)| {
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>")
    });
    let tokens = &[
        "<Error>",
        "<Code>",
        "</Code>",
        "</",
        "<Message>",
        "<!--",
        "<![CDATA[",
        "&lt;",
        "NoSuchBucket",
        "\0",
    ];
    check(&(100..600_u16, texts(valid, tokens)), |(status, text)| {
        let code = element(&text, "Code");
        let message = element(&text, "Message").unwrap_or_default();
        prop_assert!(code.is_none_or(|code| !code.contains("</") && text.contains(code)));
        let error = from_status(status, code, message);
        prop_assert_eq!(error.status, Some(status));
        prop_assert!(error.message.len() <= 2 * text.len() + "no error code: ".len());
        // A blob is gone only where its backend says so; a bucket that is gone says nothing of it.
        if error.kind == BackendErrorKind::NotFound {
            prop_assert!(status == 404 && code != Some("NoSuchBucket"));
        }
        if error.certainty == Certainty::Cut {
            prop_assert!((300..500).contains(&status));
        }
        Ok(())
    });
}
