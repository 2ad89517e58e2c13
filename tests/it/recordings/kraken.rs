//! Kraken.

use super::*;

#[test]
fn rest_replies_of_kraken_mean_what_ccxt_says() {
    // CCXT takes today's open for that of 24 hours, and computes from it and from the average price.
    check_rest(ExchangeId::Kraken, &["open", "percentage", "quoteVolume"]);
}

#[test]
fn kraken_is_asked_as_ccxt_asks() {
    check_requests(ExchangeId::Kraken, |ours, theirs| {
        // Rows come from after `since`: they go back a whole candle, we a second.
        let seconds = |request: &mut Request| request.1.remove("since").map(|text| text.parse::<i64>().unwrap());
        let (ours, theirs) = (seconds(ours).unwrap(), seconds(theirs));
        assert!(theirs.is_none_or(|theirs| theirs + 3_599 == ours), "{ours}, {theirs:?}");
    });
}
