//! What the headers of a reply say about limits.

use std::time::Duration;

use chrono::DateTime;
use reqwest::header::{AGE, DATE, HeaderMap, RETRY_AFTER};

use crate::model::Timestamp;

/// How long `Retry-After` says to stay away: seconds, or an HTTP date.
/// <https://www.rfc-editor.org/rfc/rfc9110#field.retry-after>
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(secs) = text.parse::<u32>() {
        return Some(Duration::from_secs(secs.into()));
    }
    // An HTTP date is written as in RFC 2822.
    let at = DateTime::parse_from_rfc2822(text).ok()?;
    Some(Timestamp::from_millis(at.timestamp_millis()).since(now))
}

/// What time it was where the answer was made.
/// <https://www.rfc-editor.org/rfc/rfc9110#field.date>
pub(super) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let at = DateTime::parse_from_rfc2822(headers.get(DATE)?.to_str().ok()?).ok()?;
    Some(Timestamp::from_millis(at.timestamp_millis()))
}

/// How long ago a cache on the way got the answer; zero where it says nothing.
/// <https://www.rfc-editor.org/rfc/rfc9111#field.age>
pub(super) fn age(headers: &HeaderMap) -> Duration {
    let text = headers.get(AGE).and_then(|value| value.to_str().ok());
    Duration::from_secs(text.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
}

/// The number in the header `name`.
pub(super) fn number(headers: &HeaderMap, name: &str) -> Option<u32> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_ways_of_retry_after() {
        let now = Timestamp::parse("1994-11-06T08:49:07Z").unwrap();
        let read = |text: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            retry_after(&headers, now)
        };
        assert_eq!(read("120"), Some(Duration::from_mins(2)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO), "it is over");
        for text in ["", "soon", "-1", "1.5", "99999999999999"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
