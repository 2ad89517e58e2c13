//! JSON encoder shared by all endpoints and replicas.
//!
//! An event is encoded once, in the collector, and the bytes go to all subscribers. Numbers are JSON numbers with the
//! exchange's digits. Functions named `…_fields` write the members of an object without its braces, so that the caller
//! can add members.

use rust_decimal::Decimal;

use super::{
    Candle, CandleUpdate, Channel, CoveredRange, ExchangeId, Gap, GapReason, Instrument, MarketEvent, Source, Symbol,
    Ticker, Timestamp, Topic, Trade,
};

/// Writes an exact decimal as a JSON number, without trailing zeros.
pub fn decimal(out: &mut Vec<u8>, value: Decimal) {
    let value = if value.scale() > 0 && value.mantissa() % 10 == 0 { value.normalize() } else { value };
    let mantissa = value.mantissa();
    let scale = value.scale() as usize;
    if mantissa < 0 {
        out.push(b'-');
    }
    let mut buffer = itoa::Buffer::new();
    let digits = match u64::try_from(mantissa.unsigned_abs()) {
        Ok(small) => buffer.format(small).as_bytes(),
        Err(_) => buffer.format(mantissa.unsigned_abs()).as_bytes(),
    };
    if scale == 0 {
        out.extend_from_slice(digits);
    } else if digits.len() > scale {
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    } else {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + scale - digits.len(), b'0');
        out.extend_from_slice(digits);
    }
}

fn decimal_or_null(out: &mut Vec<u8>, value: Option<Decimal>) {
    match value {
        Some(value) => decimal(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

/// Writes an integer.
pub fn integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Writes a JSON string, with escapes.
pub fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..=0x1f => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

fn boolean(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// Writes `"exchange":"binance","symbol":"BTC/USDT"`.
pub fn market_fields(out: &mut Vec<u8>, exchange: ExchangeId, symbol: &Symbol) {
    out.extend_from_slice(b"\"exchange\":\"");
    out.extend_from_slice(exchange.as_str().as_bytes());
    // Symbols contain no characters that need escaping.
    out.extend_from_slice(b"\",\"symbol\":\"");
    out.extend_from_slice(symbol.as_str().as_bytes());
    out.push(b'"');
}

/// Writes all members of a ticker except `age_ms` and `stale`, which depend on the time of the request.
pub fn ticker_fields(out: &mut Vec<u8>, ticker: &Ticker, simulated: bool) {
    market_fields(out, ticker.exchange, &ticker.symbol);
    let values = &ticker.values;
    let members: [(&[u8], Option<Decimal>); 11] = [
        (b",\"last\":", values.last),
        (b",\"bid\":", values.bid),
        (b",\"bid_size\":", values.bid_size),
        (b",\"ask\":", values.ask),
        (b",\"ask_size\":", values.ask_size),
        (b",\"open\":", values.open),
        (b",\"high\":", values.high),
        (b",\"low\":", values.low),
        (b",\"base_volume\":", values.base_volume),
        (b",\"quote_volume\":", values.quote_volume),
        (b",\"change_percent\":", values.change_percent),
    ];
    for (name, value) in members {
        out.extend_from_slice(name);
        decimal_or_null(out, value);
    }
    out.extend_from_slice(b",\"timestamp\":");
    match values.timestamp {
        Some(at) => integer(out, at.millis()),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"received_at\":");
    integer(out, ticker.received_at.millis());
    out.extend_from_slice(match ticker.source {
        Source::Stream => b",\"source\":\"stream\",\"simulated\":",
        Source::Rest => b",\"source\":\"rest\",\"simulated\":",
    });
    boolean(out, simulated);
}

/// Writes all members of a trade except `simulated`.
pub fn trade_fields(out: &mut Vec<u8>, trade: &Trade) {
    market_fields(out, trade.exchange, &trade.symbol);
    out.extend_from_slice(b",\"id\":");
    string(out, &trade.id);
    out.extend_from_slice(b",\"price\":");
    decimal(out, trade.price);
    out.extend_from_slice(b",\"amount\":");
    decimal(out, trade.amount);
    out.extend_from_slice(b",\"side\":\"");
    out.extend_from_slice(trade.side.as_str().as_bytes());
    out.extend_from_slice(b"\",\"timestamp\":");
    integer(out, trade.timestamp.millis());
}

/// Writes the members of a candle except `closed` and `revision`.
fn candle_values(out: &mut Vec<u8>, candle: &Candle) {
    out.extend_from_slice(b"\"timestamp\":");
    integer(out, candle.timestamp.millis());
    let members: [(&[u8], Decimal); 5] = [
        (b",\"open\":", candle.open),
        (b",\"high\":", candle.high),
        (b",\"low\":", candle.low),
        (b",\"close\":", candle.close),
        (b",\"volume\":", candle.volume),
    ];
    for (name, value) in members {
        out.extend_from_slice(name);
        decimal(out, value);
    }
    out.extend_from_slice(b",\"quote_volume\":");
    decimal_or_null(out, candle.quote_volume);
    out.extend_from_slice(b",\"trades\":");
    match candle.trades {
        Some(count) => integer(out, count),
        None => out.extend_from_slice(b"null"),
    }
}

/// Writes the members of a candle, as in candle history responses.
pub fn candle_fields(out: &mut Vec<u8>, candle: &Candle) {
    candle_values(out, candle);
    out.extend_from_slice(if candle.closed {
        b",\"closed\":true,\"revision\":"
    } else {
        b",\"closed\":false,\"revision\":"
    });
    integer(out, candle.revision);
}

/// Writes all members of a candle event except `simulated`: its series, then the candle.
pub fn candle_update_fields(out: &mut Vec<u8>, update: &CandleUpdate) {
    market_fields(out, update.series.exchange, &update.series.symbol);
    out.extend_from_slice(b",\"interval\":\"");
    out.extend_from_slice(update.series.interval.as_str().as_bytes());
    out.extend_from_slice(b"\",");
    candle_fields(out, &update.candle);
}

/// Encodes the `data` member of an event frame: `{…,"simulated":false}`. A gap has no `simulated` member.
#[must_use]
pub fn event_data(event: &MarketEvent, simulated: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.push(b'{');
    match event {
        MarketEvent::Ticker(ticker) => ticker_fields(&mut out, ticker, simulated),
        MarketEvent::Trade(trade) => {
            trade_fields(&mut out, trade);
            out.extend_from_slice(b",\"simulated\":");
            boolean(&mut out, simulated);
        }
        MarketEvent::Candle(update) => {
            candle_update_fields(&mut out, update);
            out.extend_from_slice(b",\"simulated\":");
            boolean(&mut out, simulated);
        }
        MarketEvent::Gap(gap) => gap_fields(&mut out, gap),
    }
    out.push(b'}');
    out
}

/// Encodes an event frame: `data`, already encoded, with its sequence id in the topic.
#[must_use]
pub fn data_frame(topic: &Topic, epoch: &str, seq: u64, data: &[u8]) -> Vec<u8> {
    let kind = match topic.channel() {
        Channel::Ticker => "ticker",
        Channel::Trades => "trade",
        Channel::Candles => "candle",
    };
    let mut out = Vec::with_capacity(data.len() + 160);
    frame_header(&mut out, kind, topic, epoch, seq);
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(data);
    out.push(b'}');
    out
}

/// Encodes a gap frame for the event bus between replicas. The gap has a sequence number of its own.
#[must_use]
pub fn bus_gap_frame(topic: &Topic, epoch: &str, seq: u64, reason: GapReason) -> Vec<u8> {
    let mut out = Vec::with_capacity(160);
    frame_header(&mut out, "gap", topic, epoch, seq);
    out.extend_from_slice(b",\"reason\":\"");
    out.extend_from_slice(reason.as_str().as_bytes());
    out.extend_from_slice(b"\"}");
    out
}

/// Encodes a gap frame for clients, with the range of missed sequence numbers. An unknown number is `null`.
#[must_use]
pub fn client_gap_frame(
    topic: &Topic,
    epoch: Option<&str>,
    from: Option<u64>,
    to: Option<u64>,
    reason: GapReason,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(192);
    out.extend_from_slice(b"{\"type\":\"gap\",\"topic\":");
    string(&mut out, &topic.to_string());
    out.extend_from_slice(b",\"epoch\":");
    text_or_null(&mut out, epoch);
    for (name, number) in [(&b",\"from_seq\":"[..], from), (b",\"to_seq\":", to)] {
        out.extend_from_slice(name);
        number_or_null(&mut out, number);
    }
    out.extend_from_slice(b",\"reason\":\"");
    out.extend_from_slice(reason.as_str().as_bytes());
    out.extend_from_slice(b"\"}");
    out
}

/// Encodes a snapshot frame. `data` holds encoded objects; `position` is the epoch and the sequence number of the last
/// event that they include, if known.
#[must_use]
pub fn snapshot_frame(topic: &Topic, position: Option<(&str, u64)>, data: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(160 + data.iter().map(|object| object.as_ref().len() + 1).sum::<usize>());
    out.extend_from_slice(b"{\"type\":\"snapshot\",\"topic\":");
    string(&mut out, &topic.to_string());
    out.extend_from_slice(b",\"epoch\":");
    text_or_null(&mut out, position.map(|(epoch, _)| epoch));
    out.extend_from_slice(b",\"seq\":");
    number_or_null(&mut out, position.map(|(_, seq)| seq));
    out.extend_from_slice(b",\"data\":[");
    for (index, object) in data.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(object.as_ref());
    }
    out.extend_from_slice(b"]}");
    out
}

fn text_or_null(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => string(out, text),
        None => out.extend_from_slice(b"null"),
    }
}

fn number_or_null(out: &mut Vec<u8>, number: Option<u64>) {
    match number {
        Some(number) => integer(out, number),
        None => out.extend_from_slice(b"null"),
    }
}

fn frame_header(out: &mut Vec<u8>, kind: &str, topic: &Topic, epoch: &str, seq: u64) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"topic\":");
    string(out, &topic.to_string());
    out.extend_from_slice(b",\"epoch\":");
    string(out, epoch);
    out.extend_from_slice(b",\"seq\":");
    integer(out, seq);
}

/// Writes the members of a gap.
pub fn gap_fields(out: &mut Vec<u8>, gap: &Gap) {
    out.extend_from_slice(b"\"exchange\":\"");
    out.extend_from_slice(gap.exchange.as_str().as_bytes());
    out.extend_from_slice(b"\",\"start\":");
    integer(out, gap.missed.start().millis());
    out.extend_from_slice(b",\"end\":");
    integer(out, gap.missed.end().millis());
    out.extend_from_slice(b",\"reason\":\"");
    out.extend_from_slice(gap.reason.as_str().as_bytes());
    out.push(b'"');
}

/// Writes an instrument as a JSON object.
pub fn instrument(out: &mut Vec<u8>, instrument: &Instrument) {
    out.push(b'{');
    market_fields(out, instrument.exchange, &instrument.symbol);
    for (name, text) in [
        (&b",\"native\":"[..], instrument.native.as_str()),
        (b",\"kind\":", instrument.kind().as_str()),
        (b",\"base\":", instrument.symbol.base()),
        (b",\"quote\":", instrument.symbol.quote()),
    ] {
        out.extend_from_slice(name);
        string(out, text);
    }
    out.extend_from_slice(b",\"settle\":");
    text_or_null(out, instrument.symbol.settle());
    for (name, value) in [
        (&b",\"price_step\":"[..], instrument.price_step),
        (b",\"amount_step\":", instrument.amount_step),
        (b",\"min_notional\":", instrument.min_notional),
        (b",\"contract_size\":", instrument.contract.map(|contract| contract.size)),
    ] {
        out.extend_from_slice(name);
        decimal_or_null(out, value);
    }
    out.extend_from_slice(b",\"expiry\":");
    match instrument.contract.and_then(|contract| contract.expiry) {
        Some(expiry) => integer(out, expiry.millis()),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"active\":");
    boolean(out, instrument.is_trading());
    out.extend_from_slice(b",\"status\":\"");
    out.extend_from_slice(instrument.status.as_str().as_bytes());
    out.push(b'"');
    out.push(b'}');
}

/// Writes a range of the coverage ledger as a JSON object.
pub fn covered_range(out: &mut Vec<u8>, covered: &CoveredRange) {
    out.push(b'{');
    range_fields(out, covered.range.start(), covered.range.end());
    out.extend_from_slice(b",\"state\":\"");
    out.extend_from_slice(covered.state.as_str().as_bytes());
    out.extend_from_slice(b"\"}");
}

/// Writes `"start":…,"end":…`, in milliseconds.
pub fn range_fields(out: &mut Vec<u8>, start: Timestamp, end: Timestamp) {
    out.extend_from_slice(b"\"start\":");
    integer(out, start.millis());
    out.extend_from_slice(b",\"end\":");
    integer(out, end.millis());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Interval, Series, TickerPatch, parse_decimal};
    use proptest::prelude::*;

    fn encoded(value: Decimal) -> String {
        let mut out = Vec::new();
        decimal(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn ticker_has_documented_members_in_order() {
        let ticker = Ticker {
            exchange: ExchangeId::BINANCE,
            symbol: "BTC/USDT".parse().unwrap(),
            values: TickerPatch {
                last: Some(Decimal::new(6_701_234, 2)),
                bid: Some(Decimal::new(1, 8)),
                ..Default::default()
            },
            received_at: Timestamp::from_millis(17),
            source: Source::Rest,
        };
        let data = event_data(&MarketEvent::Ticker(ticker), true);
        assert_eq!(
            String::from_utf8(data).unwrap(),
            "{\"exchange\":\"binance\",\"symbol\":\"BTC/USDT\",\"last\":67012.34,\"bid\":0.00000001,\"bid_size\":null,\
             \"ask\":null,\"ask_size\":null,\"open\":null,\"high\":null,\"low\":null,\"base_volume\":null,\"quote_volume\":null,\
             \"change_percent\":null,\"timestamp\":null,\"received_at\":17,\"source\":\"rest\",\"simulated\":true}"
        );
    }

    #[test]
    fn candle_event_has_documented_members_in_order() {
        let one = Decimal::ONE;
        let candle = Candle {
            timestamp: Timestamp::from_millis(60_000),
            open: one,
            high: one,
            low: one,
            close: one,
            volume: Decimal::ZERO,
            quote_volume: None,
            trades: Some(412),
            closed: true,
            revision: 1,
        };
        let series =
            Series { exchange: ExchangeId::KRAKEN, symbol: "ETH/EUR".parse().unwrap(), interval: Interval::M1 };
        let data = event_data(&MarketEvent::Candle(CandleUpdate { series, candle }), false);
        assert_eq!(
            String::from_utf8(data).unwrap(),
            "{\"exchange\":\"kraken\",\"symbol\":\"ETH/EUR\",\"interval\":\"1m\",\"timestamp\":60000,\"open\":1,\"high\":1,\"low\":1,\
             \"close\":1,\"volume\":0,\"quote_volume\":null,\"trades\":412,\"closed\":true,\"revision\":1,\"simulated\":false}"
        );
    }

    proptest! {
        #[test]
        fn encodes_decimals_exactly(mantissa in any::<i64>(), scale in 0u32..20) {
            let value = Decimal::new(mantissa, scale);
            let text = encoded(value);
            prop_assert_eq!(&text, &value.normalize().to_string());
            prop_assert_eq!(parse_decimal(&text).unwrap(), value);
            prop_assert!(serde_json::from_str::<serde_json::Number>(&text).is_ok());
        }

        #[test]
        fn encodes_large_decimals_exactly(
            hi in any::<u32>(),
            mid in any::<u32>(),
            lo in any::<u32>(),
            negative in any::<bool>(),
            scale in 0u32..=28,
        ) {
            let value = Decimal::from_parts(lo, mid, hi, negative, scale);
            prop_assert_eq!(encoded(value), value.normalize().to_string());
        }

        #[test]
        fn encodes_any_string_as_valid_json(text in "\\PC{0,20}[\"\\\\\n\u{0}]?") {
            let mut out = Vec::new();
            string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
