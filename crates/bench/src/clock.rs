//! Times as HTTP and as signatures write them.

use http::HeaderValue;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

const HTTP: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
const STAMP: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");

/// An HTTP date, from seconds since 1970.
pub(crate) fn http_date(seconds: u64) -> HeaderValue {
    let at = i64::try_from(seconds).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    let text = at.and_then(|at| at.format(HTTP).ok()).unwrap_or_default();
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Now, as `x-amz-date` has it.
pub(crate) fn amz_now() -> String {
    OffsetDateTime::now_utc().format(STAMP).unwrap_or_default()
}

/// Now, as RFC 3339 has it.
pub(crate) fn now() -> String {
    OffsetDateTime::now_utc().format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        assert_eq!(http_date(1_445_412_480), "Wed, 21 Oct 2015 07:28:00 GMT");
        assert_eq!(amz_now().len(), "20130524T000000Z".len());
    }
}
