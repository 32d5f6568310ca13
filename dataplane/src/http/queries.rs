//! Parameters of a query as S3 takes them, where `s3s` would answer 400.

use http::Request;
use s3s::dto::{Timestamp, TimestampFormat};

use crate::access::parameters;

/// What the client wants to be told as `Expires`, which is no date. In the request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResponseExpires(pub String);

/// A query as it is to be served.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settled {
    pub query: String,
    pub expires: Option<ResponseExpires>,
}

/// `None`: it is served as it is.
pub(super) fn settled<B>(request: &Request<B>) -> Option<Settled> {
    let query = request.uri().query()?;
    let (mut kept, mut expires, mut changed) = (Vec::new(), None, false);
    for pair in query.split('&') {
        let (name, value) = parameters(Some(pair)).next()?;
        if name == "fetch-owner" && value.to_ascii_lowercase() != value {
            kept.push(pair.to_ascii_lowercase());
            changed = true;
        } else if name == "response-expires" && !is_date(&value) {
            expires = Some(ResponseExpires(value.into_owned()));
            changed = true;
        } else {
            kept.push(pair.to_owned());
        }
    }
    changed.then(|| Settled { query: kept.join("&"), expires })
}

fn is_date(text: &str) -> bool {
    Timestamp::parse(TimestampFormat::HttpDate, text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Option<Settled> {
        settled(&Request::builder().uri(format!("/b?{query}")).body(()).expect("a request"))
    }

    #[test]
    fn texts_that_are_no_dates_are_kept_beside() {
        let expires = |text: &str| Some(ResponseExpires(text.to_owned()));
        let found = of("response-expires=0&versionId=a");
        assert_eq!(found, Some(Settled { query: "versionId=a".to_owned(), expires: expires("0") }));
        let found = of("response-expires=next%20year");
        assert_eq!(found, Some(Settled { query: String::new(), expires: expires("next year") }));
        assert_eq!(of("response-expires=Wed%2C%2021%20Oct%202015%2007%3A28%3A00%20GMT"), None, "a date");
    }

    #[test]
    fn words_are_written_small() {
        let found = of("list-type=2&fetch-owner=TRUE&prefix=A");
        let query = "list-type=2&fetch-owner=true&prefix=A".to_owned();
        assert_eq!(found, Some(Settled { query, expires: None }));
        for fine in ["list-type=2&fetch-owner=true", "prefix=TRUE", ""] {
            assert_eq!(of(fine), None, "{fine}");
        }
    }
}
