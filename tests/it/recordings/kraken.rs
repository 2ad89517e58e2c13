//! Recordings of Kraken.

use super::*;

#[test]
fn kraken_rest_replies_match_ccxt() {
    // CCXT uses today's open as the 24 h open, derives the change from it, and the quote volume from the average price.
    check_rest(ExchangeId::KRAKEN, &["open", "percentage", "quoteVolume"]);
}

#[test]
fn kraken_requests_match_ccxt() {
    check_requests(ExchangeId::KRAKEN, |actual, expected| {
        // `since` is exclusive: CCXT subtracts a whole candle, we subtract one second.
        let seconds = |request: &mut Request| request.1.remove("since").map(|text| text.parse::<i64>().unwrap());
        let (actual, expected) = (seconds(actual).unwrap(), seconds(expected));
        assert!(expected.is_none_or(|expected| expected + 3_599 == actual), "{actual}, {expected:?}");
    });
}
