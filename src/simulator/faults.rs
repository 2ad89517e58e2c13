//! Scripted faults of the simulated exchanges.
//!
//! A script has one JSON object per line: `{"exchange":"binance","after_ms":1500,"fault":"drop","for_ms":0}`. Times are
//! those of the simulator's clock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::model::{ExchangeId, Interval, TimeRange, Timestamp};

/// Maximum number of scheduled faults.
pub const MAX_FAULTS: usize = 10_000;

/// One fault of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The affected exchange.
    #[serde(deserialize_with = "exchange")]
    pub exchange: ExchangeId,
    /// Start, in milliseconds after the simulator is created or the fault is injected.
    #[serde(default)]
    pub after_ms: u64,
    /// Kind of fault.
    pub fault: FaultKind,
    /// Duration in milliseconds. 0: the fault happens once, as described for its kind.
    #[serde(default)]
    pub for_ms: u64,
}

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum FaultKind {
    /// Aborts all streams without a close frame; new ones get HTTP 503 while it lasts. REST works.
    #[serde(rename = "drop")]
    Drop,
    /// Outage: aborts all streams and closes every connection without a response. Once: the streams and one request.
    #[serde(rename = "dark")]
    Dark,
    /// Streams stay open but send nothing: no data, no acknowledgement, no ping or heartbeat. Once: the streams open at
    /// that time, permanently.
    #[serde(rename = "silent")]
    Silent,
    /// Invalid JSON is sent before each data frame, and REST bodies end in the middle. Once: one frame or body.
    #[serde(rename = "malformed")]
    Malformed,
    /// Streams send acknowledgements and pings but no data and no heartbeat. Once: the streams open at that time,
    /// permanently.
    #[serde(rename = "pings_only")]
    PingsOnly,
    /// A frame with a number of 30 digits or `7.9e27` is sent before each data frame. REST bodies of candles and of
    /// tickers contain such a number. Once: one frame or body.
    #[serde(rename = "absurd_numbers")]
    AbsurdNumbers,
    /// REST pages of candles have `null` instead of one row. Once: one page.
    #[serde(rename = "bad_row")]
    BadRow,
    /// A candle row is sent where a ticker is expected: before each ticker frame, and instead of a ticker in REST.
    /// Once: one frame or body.
    #[serde(rename = "wrong_event")]
    WrongEvent,
    /// On each tick, one ticker frame is repeated to reach 20,000 frames per second. Once: one tick.
    #[serde(rename = "burst")]
    Burst,
    /// REST responses and replies to requests on a stream are delayed by four seconds. Once: one of them.
    #[serde(rename = "slow")]
    Slow,
    /// REST responds with 429 and `Retry-After`. Once: one request.
    #[serde(rename = "http_429")]
    Http429,
    /// REST responds with 418 and `Retry-After`. Once: one request.
    #[serde(rename = "http_418")]
    Http418,
    /// REST responds with 500. Once: one request.
    #[serde(rename = "http_500")]
    Http500,
    /// REST responds with 403 and the HTML page of a firewall, as documented in
    /// <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/http-return-codes>. Once: one request.
    #[serde(rename = "firewall_403")]
    Firewall403,
    /// REST responds with the HTML page of a proxy instead of JSON, alternately with status 502 and 200. Once: one
    /// request, with 200.
    #[serde(rename = "html_error")]
    HtmlError,
    /// REST sends half of the body and closes the connection; `Content-Length` is that of the whole body. Once: one
    /// request.
    #[serde(rename = "truncated_body")]
    TruncatedBody,
    /// REST sends half of the body immediately and the rest 30 seconds later. Once: one request.
    #[serde(rename = "slow_body")]
    SlowBody,
    /// REST responds with 451, as observed in <https://github.com/eprbell/dali-rp2/pull/237>. Once: one request.
    #[serde(rename = "region_451")]
    Region451,
    /// REST responds with 404 and the HTML page of a proxy instead of the exchange's error format. Once: one request.
    #[serde(rename = "not_found_404")]
    NotFound404,
    /// An exchange replies to a subscribe request with `{"Error":"Exceeded msg rate"}` and ignores it, as observed in
    /// <https://github.com/bitrich-info/xchange-stream/issues/502>. Once: one request.
    #[serde(rename = "msg_rate")]
    MsgRate,
    /// Exchanges with such a reply respond to a subscribe request that the subscription already exists, and subscribe.
    /// Once: one request.
    #[serde(rename = "already_subscribed")]
    AlreadySubscribed,
    /// Streams omit candles, including the closing update; REST has them. On exchanges without a candle stream, trade
    /// messages are lost. Once: until the minute closes.
    #[serde(rename = "skip_candle")]
    SkipCandle,
    /// Each closing minute gets one more trade 1.5 s after its end: on the trade stream, in REST and in
    /// [`Market::candles`](super::Market::candles), not in the candle stream. Once: the next minute that closes.
    #[serde(rename = "late_trade")]
    LateTrade,
    /// The frames that close candles are delayed by 0.2 to 10 seconds, and later candle frames are queued behind them.
    /// Once: one minute.
    #[serde(rename = "late_close")]
    LateClose,
    /// Streams send no frame for a candle without trades, not even when it closes; REST has it. Only for
    /// exchanges that publish such candles.
    #[serde(rename = "no_close")]
    NoClose,
    /// REST candles are 50 seconds behind the streams: the newest are missing, and the last one is incomplete.
    #[serde(rename = "rest_lag")]
    RestLag,
    /// All times of a data frame are in microseconds instead of milliseconds. Once: one frame.
    #[serde(rename = "microseconds")]
    Microseconds,
    /// Each closing minute is corrected three minutes later without notice: in REST and in
    /// [`Market::candles`](super::Market::candles), on no stream. Once: the next minute that closes.
    #[serde(rename = "correct_candle")]
    CorrectCandle,
    /// REST pages of candles are truncated to half of their rows. Once: one page.
    #[serde(rename = "short_page")]
    ShortPage,
    /// REST pages of candles have no rows, as during maintenance. Once: one page.
    #[serde(rename = "empty_page")]
    EmptyPage,
    /// REST pages of candles lack the first and the last row. Once: one page.
    #[serde(rename = "edge_rows")]
    EdgeRows,
    /// REST pages of candles lack the middle row, on exchanges with a row for each interval. Once: one page.
    #[serde(rename = "missing_row")]
    MissingRow,
    /// Rows of REST pages of candles open 14.789 s off the grid, as observed on an exchange. Once: one page.
    #[serde(rename = "off_grid")]
    OffGrid,
    /// Each row of a REST page of candles is repeated, the first time without its volume. Once: one page.
    #[serde(rename = "repeated_row")]
    RepeatedRow,
    /// The two halves of REST pages of candles are swapped. Once: one page.
    #[serde(rename = "unordered_page")]
    UnorderedPage,
    /// REST pages of candles have the rows of another day, as if the requested start were ignored. Once: one page.
    #[serde(rename = "other_page")]
    OtherPage,
    /// Times in REST pages of candles are multiplied by 1,000. Once: one page.
    #[serde(rename = "page_microseconds")]
    PageMicroseconds,
    /// A row of each REST page of candles has a price of 0. Once: one page.
    #[serde(rename = "zero_price")]
    ZeroPrice,
    /// Trades and candles are sent twice. Once: one frame.
    #[serde(rename = "duplicate")]
    Duplicate,
    /// Subscriptions are rejected in the exchange's format. Once: one subscribe request.
    #[serde(rename = "refuse")]
    Refuse,
    /// The listing shows every market as halted, in the exchange's terms, while the streams continue. Once: the next
    /// listing request.
    #[serde(rename = "halted")]
    Halted,
    /// Most markets are missing in the listing. Once: the next listing request.
    #[serde(rename = "empty_listing")]
    EmptyListing,
    /// The listing has invalid rows: members that are null, empty, missing or of another type, and steps of 31 digits.
    /// One of them is the state of the second market. Once: the next listing request.
    #[serde(rename = "odd_listing")]
    OddListing,
    /// All streams send the exchange's notice of a shutdown, if it has one, and close five seconds later. Happens once;
    /// the duration is ignored.
    #[serde(rename = "shutdown_notice")]
    ShutdownNotice,
}

fn exchange<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ExchangeId, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

/// An invalid line of a script.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line} is not a valid fault: {detail}; expected a line like \
     {{\"exchange\":\"binance\",\"after_ms\":1500,\"fault\":\"drop\",\"for_ms\":0}}"
)]
pub struct ScriptError {
    /// Line number, from 1.
    pub line: usize,
    pub detail: String,
}

/// Parses a script. Empty lines are ignored.
///
/// # Errors
/// The first invalid line, or the first line beyond 10,000 faults.
pub fn parse_script(text: &str) -> Result<Vec<Fault>, ScriptError> {
    let mut faults = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let error = |detail: String| ScriptError { line: index + 1, detail };
        if faults.len() == MAX_FAULTS {
            return Err(error(format!("a script has at most {MAX_FAULTS} faults")));
        }
        faults.push(serde_json::from_str(line).map_err(|cause| error(cause.to_string()))?);
    }
    Ok(faults)
}

#[derive(Debug)]
struct ScheduledFault {
    /// Sequence number of the fault.
    number: u64,
    exchange: ExchangeId,
    kind: FaultKind,
    from: Timestamp,
    /// `None`: triggers once, at the first opportunity after `from`.
    until: Option<Timestamp>,
    triggered: AtomicBool,
}

/// All scheduled faults.
#[derive(Debug, Default)]
pub struct FaultSchedule {
    faults: RwLock<Vec<ScheduledFault>>,
    next: AtomicU64,
}

/// The faults that a connection has handled. Faults that begin later or are added later are new.
#[derive(Clone, Copy, Debug)]
pub struct ScheduleCursor {
    at: Timestamp,
    number: u64,
}

impl FaultSchedule {
    /// Adds a fault relative to `now`. Returns its time range if it has a duration.
    pub fn add(&self, fault: Fault, now: Timestamp) -> Option<TimeRange> {
        let from = now + Duration::from_millis(fault.after_ms);
        let one_ms = Duration::from_millis(1);
        let (from, until) = match (fault.for_ms, fault.fault) {
            // Starts after `from` and includes the close of the minute.
            (0, FaultKind::SkipCandle | FaultKind::LateTrade | FaultKind::LateClose | FaultKind::CorrectCandle) => {
                (from + one_ms, Some(Interval::M1.next(from) + one_ms))
            }
            (0, _) => (from, None),
            (duration, _) => (from, Some(from + Duration::from_millis(duration))),
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let scheduled = ScheduledFault {
            number,
            exchange: fault.exchange,
            kind: fault.fault,
            from,
            until,
            triggered: false.into(),
        };
        let mut all = self.faults.write();
        all.retain(|old| old.until.is_none_or(|until| until + Duration::from_mins(10) > now));
        if all.len() >= MAX_FAULTS {
            all.remove(0);
        }
        all.push(scheduled);
        until.map(|until| TimeRange::new(from, until))
    }

    /// Removes all faults of a kind.
    pub fn end(&self, exchange: ExchangeId, kind: FaultKind) {
        self.faults.write().retain(|fault| (fault.exchange, fault.kind) != (exchange, kind));
    }

    fn any(&self, exchange: ExchangeId, kind: FaultKind, mut matches: impl FnMut(&ScheduledFault) -> bool) -> bool {
        self.faults.read().iter().any(|fault| fault.exchange == exchange && fault.kind == kind && matches(fault))
    }

    /// Whether a fault with a duration is active at `now`.
    pub fn is_active(&self, exchange: ExchangeId, kind: FaultKind, now: Timestamp) -> bool {
        self.any(exchange, kind, |fault| fault.from <= now && fault.until.is_some_and(|until| now < until))
    }

    /// Whether a fault applies to an action at `now`. A fault without duration applies once and is then used up.
    pub fn trigger(&self, exchange: ExchangeId, kind: FaultKind, now: Timestamp) -> bool {
        self.any(exchange, kind, |fault| {
            fault.from <= now
                && fault.until.map_or_else(|| !fault.triggered.swap(true, Ordering::Relaxed), |until| now < until)
        })
    }

    /// A cursor that includes all faults added so far that have begun by `at`.
    pub fn cursor(&self, at: Timestamp) -> ScheduleCursor {
        ScheduleCursor { at, number: self.next.load(Ordering::Relaxed) }
    }

    /// Whether a fault that `cursor` does not include has begun by `until`.
    pub fn has_begun(&self, exchange: ExchangeId, kind: FaultKind, cursor: ScheduleCursor, until: Timestamp) -> bool {
        self.any(exchange, kind, |fault| fault.begins_after(cursor, until))
    }

    /// Like [`FaultSchedule::has_begun`], only for faults without duration.
    pub fn has_begun_once(
        &self,
        exchange: ExchangeId,
        kind: FaultKind,
        cursor: ScheduleCursor,
        until: Timestamp,
    ) -> bool {
        self.any(exchange, kind, |fault| fault.until.is_none() && fault.begins_after(cursor, until))
    }
}

impl ScheduledFault {
    fn begins_after(&self, cursor: ScheduleCursor, until: Timestamp) -> bool {
        self.from <= until && (cursor.at < self.from || cursor.number <= self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINANCE: ExchangeId = ExchangeId::BINANCE;

    fn ms(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn parses_script_and_reports_invalid_lines() {
        let text = "{\"exchange\":\"binance\",\"after_ms\":1500,\"fault\":\"drop\",\"for_ms\":0}\n\n\
                    {\"exchange\":\"Kraken\",\"fault\":\"http_429\",\"for_ms\":9}\n";
        let faults = parse_script(text).unwrap();
        assert_eq!(faults[0], Fault { exchange: BINANCE, after_ms: 1500, fault: FaultKind::Drop, for_ms: 0 });
        assert_eq!(
            (faults[1].exchange, faults[1].fault, faults[1].after_ms),
            (ExchangeId::KRAKEN, FaultKind::Http429, 0)
        );
        for (line, word) in [
            ("{}", "exchange"),
            ("nonsense", "expected"),
            ("{\"exchange\":\"mtgox\",\"fault\":\"drop\"}", "mtgox"),
            ("{\"exchange\":\"kraken\",\"fault\":\"fire\"}", "fire"),
            ("{\"exchange\":\"kraken\",\"fault\":\"drop\",\"at\":1}", "at"),
            ("{\"exchange\":\"kraken\",\"fault\":\"drop\",\"after_ms\":-1}", "-1"),
        ] {
            let error = parse_script(&format!("\n{line}")).unwrap_err();
            assert!(error.line == 2 && error.detail.contains(word), "{error}");
        }
    }

    #[test]
    fn parses_every_documented_fault_name() {
        for name in
            "drop dark silent malformed pings_only absurd_numbers bad_row wrong_event burst slow http_429 http_418 http_500 \
             firewall_403 html_error truncated_body slow_body region_451 not_found_404 msg_rate already_subscribed \
             skip_candle late_trade late_close no_close rest_lag microseconds correct_candle \
             short_page empty_page edge_rows missing_row off_grid repeated_row unordered_page \
             other_page page_microseconds zero_price duplicate refuse halted empty_listing odd_listing \
                     shutdown_notice"
                .split(' ')
        {
            assert!(parse_script(&format!("{{\"exchange\":\"kraken\",\"fault\":\"{name}\"}}")).is_ok(), "{name}");
        }
    }

    #[test]
    fn fault_without_duration_triggers_once() {
        let schedule = FaultSchedule::default();
        let fault = |fault, after_ms, for_ms| Fault { exchange: BINANCE, after_ms, fault, for_ms };
        schedule.add(fault(FaultKind::Http500, 10, 0), ms(0));
        assert!(!schedule.trigger(BINANCE, FaultKind::Http500, ms(9)));
        assert!(!schedule.trigger(ExchangeId::KRAKEN, FaultKind::Http500, ms(10)));
        assert!(schedule.trigger(BINANCE, FaultKind::Http500, ms(50)));
        assert!(!schedule.trigger(BINANCE, FaultKind::Http500, ms(50)));
        schedule.add(fault(FaultKind::Dark, 10, 5), ms(100));
        let active: Vec<bool> =
            [109, 110, 114, 115].map(|at| schedule.is_active(BINANCE, FaultKind::Dark, ms(at))).into();
        assert_eq!(active, [false, true, true, false]);
        assert!(schedule.has_begun(BINANCE, FaultKind::Dark, schedule.cursor(ms(109)), ms(110)));
        assert!(!schedule.has_begun(BINANCE, FaultKind::Dark, schedule.cursor(ms(110)), ms(200)));
        let cursor = schedule.cursor(ms(110));
        schedule.add(fault(FaultKind::Drop, 0, 0), ms(110));
        assert!(schedule.has_begun_once(BINANCE, FaultKind::Drop, cursor, ms(111)), "added at the time of the cursor");
        let skipped = schedule.add(fault(FaultKind::SkipCandle, 0, 0), ms(60_000)).unwrap();
        let closes = [60_000, 120_000, 180_000].map(|close| skipped.contains(ms(close)));
        assert_eq!(closes, [false, true, false], "one candle, although the fault begins between two");
    }
}
