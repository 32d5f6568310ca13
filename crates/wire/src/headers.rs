//! The headers that are kept with an object.

use s3o_proto::v1;
use s3o_types::ContentHeaders;

/// As Commit brings them, and as Locate shows them.
pub fn to_wire(headers: ContentHeaders) -> v1::ContentHeaders {
    let ContentHeaders {
        content_type,
        content_encoding,
        content_disposition,
        content_language,
        cache_control,
        expires,
        website_redirect,
        storage_class,
    } = headers;
    v1::ContentHeaders {
        content_type,
        content_encoding,
        content_disposition,
        content_language,
        cache_control,
        expires,
        website_redirect,
        storage_class,
    }
}

/// Absent: none.
pub fn from_wire(wire: Option<v1::ContentHeaders>) -> ContentHeaders {
    let v1::ContentHeaders {
        content_type,
        content_encoding,
        content_disposition,
        content_language,
        cache_control,
        expires,
        website_redirect,
        storage_class,
    } = wire.unwrap_or_default();
    ContentHeaders {
        content_type,
        content_encoding,
        content_disposition,
        content_language,
        cache_control,
        expires,
        website_redirect,
        storage_class,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let word = |word: &str| Some(word.to_owned());
        let whole = ContentHeaders {
            content_type: word("text/plain"),
            content_encoding: word("gzip"),
            content_disposition: word("inline"),
            content_language: word("de"),
            cache_control: word("no-store"),
            expires: word("0"),
            website_redirect: word("/"),
            storage_class: word("STANDARD"),
        };
        for headers in [whole, ContentHeaders::default()] {
            assert_eq!(from_wire(Some(to_wire(headers.clone()))), headers);
        }
        assert_eq!(from_wire(None), ContentHeaders::default());
    }
}
