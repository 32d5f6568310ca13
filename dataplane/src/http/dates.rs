//! Dates of conditions in the three forms that HTTP has (RFC 9110, 5.6.7), where `s3s` reads the first one. What is no date is
//! ignored (13.1.3 and 13.1.4).

use s3s::dto::{Timestamp, TimestampFormat};

/// The date in the form that `s3s` reads.
pub(super) fn understood(value: &str) -> Option<String> {
    let parts: Vec<&str> = value.split([',', ' ', '-']).filter(|part| !part.is_empty()).collect();
    let ([weekday, day, month, year, time, "GMT"] | [weekday, month, day, time, year]) = *parts.as_slice()
    else {
        return None;
    };
    // Two digits are a year from 1970 to 2069.
    let century = match year.len() {
        2 if year < "70" => "20",
        2 => "19",
        _ => "",
    };
    let date = format!("{}, {day:0>2} {month} {century}{year} {time} GMT", weekday.get(..3)?);
    Timestamp::parse(TimestampFormat::HttpDate, &date).ok().map(|_| date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_http_writes_them() {
        let usual = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        for date in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(understood(date).as_deref(), usual, "{date}");
        }
        let later = understood("Saturday, 28-Nov-26 08:49:37 GMT");
        assert_eq!(later.as_deref(), Some("Sat, 28 Nov 2026 08:49:37 GMT"));
        for other in
            ["garbage", "", "0", "Sun, 06 Nov 1994 25:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 CET", "é, - "]
        {
            assert_eq!(understood(other), None, "{other}");
        }
    }
}
