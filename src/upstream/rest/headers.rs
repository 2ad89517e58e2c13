//! Reads rate-limit and time headers of a response.

use std::time::Duration;

use chrono::DateTime;
use reqwest::header::{AGE, DATE, HeaderMap, RETRY_AFTER};

use crate::model::Timestamp;
use crate::upstream::MAX_BAN;

/// `Retry-After` as a duration: seconds, or an HTTP date.
/// <https://www.rfc-editor.org/rfc/rfc9110#field.retry-after>
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(secs) = text.parse::<u32>() {
        return Some(Duration::from_secs(secs.into()).min(MAX_BAN));
    }
    // An HTTP date has the format of RFC 2822.
    let at = DateTime::parse_from_rfc2822(text).ok()?;
    Some(Timestamp::from_millis(at.timestamp_millis()).since(now).min(MAX_BAN))
}

/// Time until the window of a limit ends. The header `name` holds that moment in Unix milliseconds. The two clocks may
/// differ: a moment in the past is ignored, and the result is at most `window` plus a minute.
pub(super) fn window_reset(headers: &HeaderMap, name: &str, now: Timestamp, window: Duration) -> Option<Duration> {
    let at = headers.get(name)?.to_str().ok()?.trim().parse().ok().map(Timestamp::from_millis)?;
    Some(at.since(now).min(window + Duration::from_mins(1))).filter(|wait| !wait.is_zero())
}

/// `Date`: when the server made the response.
/// <https://www.rfc-editor.org/rfc/rfc9110#field.date>
pub(super) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let at = DateTime::parse_from_rfc2822(headers.get(DATE)?.to_str().ok()?).ok()?;
    Some(Timestamp::from_millis(at.timestamp_millis()))
}

/// `Age`: how long an intermediate cache has held the response; zero without the header.
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
    fn window_reset_is_bounded_and_past_or_invalid_values_are_ignored() {
        let (now, window) = (Timestamp::from_millis(1_700_000_000_000), Duration::from_secs(5));
        let read = |text: &str| {
            let headers = HeaderMap::from_iter([("x-reset".parse().unwrap(), text.parse().unwrap())]);
            window_reset(&headers, "x-reset", now, window)
        };
        assert_eq!(read("1700000003500"), Some(Duration::from_millis(3_500)));
        assert_eq!(read("1800000000000"), Some(Duration::from_secs(65)), "our clock is behind");
        for text in ["1699999999999", "1700000000000", "", "soon", "99999999999999999999"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn retry_after_reads_seconds_and_http_dates() {
        let now = Timestamp::parse("1994-11-06T08:49:07Z").unwrap();
        let read = |text: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            retry_after(&headers, now)
        };
        assert_eq!(read("120"), Some(Duration::from_mins(2)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO), "it is in the past");
        for text in ["", "soon", "-1", "1.5", "99999999999999"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
