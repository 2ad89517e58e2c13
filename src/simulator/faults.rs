//! Scripted faults: what goes wrong, where and when.
//!
//! A script is JSON lines: `{"exchange":"binance","after_ms":1500,"fault":"drop","for_ms":0}`. Times are the clock's.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::model::{ExchangeId, Interval, TimeRange, Timestamp};

/// The most faults that are scripted at a time.
pub const MAX_FAULTS: usize = 10_000;

/// One fault of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Whom it befalls.
    #[serde(deserialize_with = "exchange")]
    pub exchange: ExchangeId,
    /// When it begins: milliseconds after the simulator was made, or after it was injected.
    #[serde(default)]
    pub after_ms: u64,
    /// What goes wrong.
    pub fault: FaultKind,
    /// How long it lasts, in milliseconds. With 0 it happens once; each kind says what that means.
    #[serde(default)]
    pub for_ms: u64,
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum FaultKind {
    /// All sockets are cut without a word; while it lasts, new ones are answered 503. REST goes on.
    #[serde(rename = "drop")]
    Drop,
    /// All sockets are cut, and every connection is closed without an answer. Once: the sockets, and one request.
    #[serde(rename = "dark")]
    Dark,
    /// Sockets stay open and say nothing: no data, no acknowledgement, no ping or heartbeat. Once: the sockets that are
    /// open then never speak again.
    #[serde(rename = "silent")]
    Silent,
    /// Each data frame is preceded by one with broken JSON, and REST bodies break off in the middle. Once: one of them.
    #[serde(rename = "malformed")]
    Malformed,
    /// Sockets answer and ping, and give no data and no heartbeat. Once: the sockets that are open then never give data
    /// again.
    #[serde(rename = "pings_only")]
    PingsOnly,
    /// Each data frame is preceded by one with a number of 30 digits or `7.9e27`, and so are REST bodies of candles and
    /// tickers. Once: one of them.
    #[serde(rename = "absurd_numbers")]
    AbsurdNumbers,
    /// REST pages of candles have `null` in the place of one row. Once: one page.
    #[serde(rename = "bad_row")]
    BadRow,
    /// A row of candles comes where a ticker is expected: before each ticker frame, and in REST instead of a ticker. Once:
    /// one of them.
    #[serde(rename = "wrong_event")]
    WrongEvent,
    /// Each moment one ticker frame comes so often that there are 20,000 frames in a second. Once: one moment.
    #[serde(rename = "burst")]
    Burst,
    /// REST answers, and answers to what is said on a socket, come four seconds late. Once: one of them.
    #[serde(rename = "slow")]
    Slow,
    /// REST answers 429 with `Retry-After`. Once: one request.
    #[serde(rename = "http_429")]
    Http429,
    /// REST answers 418 with `Retry-After`. Once: one request.
    #[serde(rename = "http_418")]
    Http418,
    /// REST answers 500. Once: one request.
    #[serde(rename = "http_500")]
    Http500,
    /// REST answers 403 with the HTML page of a firewall, as Binance's does:
    /// <https://developers.binance.com/docs/binance-spot-api-docs/rest-api/http-return-codes>. Once: one request.
    #[serde(rename = "firewall_403")]
    Firewall403,
    /// REST answers with the HTML page of a proxy instead of JSON, by turns with status 502 and 200. Once: one request, with 200.
    #[serde(rename = "html_error")]
    HtmlError,
    /// REST names the length of the whole body, sends half of it and closes the connection. Once: one request.
    #[serde(rename = "truncated_body")]
    TruncatedBody,
    /// REST sends half of the body at once and the rest half a minute later. Once: one request.
    #[serde(rename = "slow_body")]
    SlowBody,
    /// REST answers 451, Binance with the body that it was seen to send: <https://github.com/eprbell/dali-rp2/pull/237>. Once: one
    /// request.
    #[serde(rename = "region_451")]
    Region451,
    /// REST answers 404 with the HTML page of a proxy, not in the exchange's own form. Once: one request.
    #[serde(rename = "not_found_404")]
    NotFound404,
    /// Kraken's socket answers a request to subscribe with `{"Error":"Exceeded msg rate"}`, as seen by
    /// <https://github.com/bitrich-info/xchange-stream/issues/502>, and does nothing. Once: one request.
    #[serde(rename = "msg_rate")]
    MsgRate,
    /// Kraken's and Bybit's sockets say to a request to subscribe that this is so already, which it then is. Once: one
    /// request.
    #[serde(rename = "already_subscribed")]
    AlreadySubscribed,
    /// Streams leave candles out, the closing update too; REST has them. Where candles are not streamed, messages with
    /// trades get lost on the way. Once: until the minute closes.
    #[serde(rename = "skip_candle")]
    SkipCandle,
    /// Each minute that closes gets one more trade 1.5 s after its end: on the trade stream, in REST and in
    /// [`Market::candles`](super::Market::candles), not in the candle stream. Once: the next minute that closes.
    #[serde(rename = "late_trade")]
    LateTrade,
    /// The frames that close candles come 0.2 to 10 seconds late, and those of candles that follow wait behind them. Once:
    /// one minute.
    #[serde(rename = "late_close")]
    LateClose,
    /// Streams say nothing of a candle in which nobody traded, not even that it closes; REST has it. Binance, OKX and Bybit,
    /// which tell of such candles at all.
    #[serde(rename = "no_close")]
    NoClose,
    /// REST's candles are 50 seconds behind the streams: the newest ones are missing, the one before them is not whole.
    #[serde(rename = "rest_lag")]
    RestLag,
    /// All times of a data frame are in microseconds, where the dialect writes milliseconds. Once: one frame.
    #[serde(rename = "microseconds")]
    Microseconds,
    /// Each minute that closes is corrected three minutes later without a word: in REST and in
    /// [`Market::candles`](super::Market::candles), on no stream. Once: the next minute that closes.
    #[serde(rename = "correct_candle")]
    CorrectCandle,
    /// REST pages of candles are cut after half of their rows. Once: one page.
    #[serde(rename = "short_page")]
    ShortPage,
    /// REST pages of candles have no rows, as in maintenance. Once: one page.
    #[serde(rename = "empty_page")]
    EmptyPage,
    /// REST pages of candles lack their first and last row. Once: one page.
    #[serde(rename = "edge_rows")]
    EdgeRows,
    /// REST pages of candles lack the row in their middle, on exchanges that give one for each interval. Once: one page.
    #[serde(rename = "missing_row")]
    MissingRow,
    /// Rows of REST pages of candles open 14.789 s off the grid, as Binance's of 2018-02-09. Once: one page.
    #[serde(rename = "off_grid")]
    OffGrid,
    /// Each row of a REST page of candles comes twice, first without its volume. Once: one page.
    #[serde(rename = "repeated_row")]
    RepeatedRow,
    /// The halves of REST pages of candles change places. Once: one page.
    #[serde(rename = "unordered_page")]
    UnorderedPage,
    /// REST pages of candles have rows of another day, as where the asked start is ignored. Once: one page.
    #[serde(rename = "other_page")]
    OtherPage,
    /// Times in REST pages of candles are a thousand times as large. Once: one page.
    #[serde(rename = "page_microseconds")]
    PageMicroseconds,
    /// A row of each REST page of candles has a price of 0. Once: one page.
    #[serde(rename = "zero_price")]
    ZeroPrice,
    /// Trades and candles are sent twice. Once: one frame.
    #[serde(rename = "duplicate")]
    Duplicate,
    /// Subscriptions are refused in the exchange's way. Once: one request to subscribe.
    #[serde(rename = "refuse")]
    Refuse,
    /// The listing shows every market as halted (Binance `BREAK`, Kraken `maintenance`, …), while their streams go on.
    /// Once: the next listing that is asked for.
    #[serde(rename = "halted")]
    Halted,
    /// Most markets are missing in the listing. Once: the next listing that is asked for.
    #[serde(rename = "empty_listing")]
    EmptyListing,
    /// The listing has rows that are not as documented: members that are null, empty, missing or of another type, and steps
    /// of 31 digits; the second market's state is one. Once: the next listing that is asked for.
    #[serde(rename = "odd_listing")]
    OddListing,
    /// The exchange announces a shutdown on all sockets (Binance `serverShutdown`, Kraken's status `maintenance`, OKX's
    /// notice 64008; Coinbase announces nothing) and closes them five seconds later. A moment: it does not last.
    #[serde(rename = "shutdown_notice")]
    ShutdownNotice,
}

fn exchange<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ExchangeId, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

/// A line of a script that is no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line} is no fault: {detail}; a fault is written {{\"exchange\":\"binance\",\"after_ms\":1500,\"fault\":\"drop\",\"for_ms\":0}}"
)]
pub struct BadScript {
    /// Counted from 1.
    pub line: usize,
    pub detail: String,
}

/// Reads a script; empty lines are skipped.
///
/// # Errors
/// The first line that is wrong, or one too many.
pub fn parse_script(text: &str) -> Result<Vec<Fault>, BadScript> {
    let mut faults = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad = |detail: String| BadScript { line: index + 1, detail };
        if faults.len() == MAX_FAULTS {
            return Err(bad(format!("a script has at most {MAX_FAULTS}")));
        }
        faults.push(serde_json::from_str(line).map_err(|error| bad(error.to_string()))?);
    }
    Ok(faults)
}

#[derive(Debug)]
struct Scheduled {
    /// Rises with each that is added.
    number: u64,
    exchange: ExchangeId,
    kind: FaultKind,
    from: Timestamp,
    /// `None`: it strikes once, some time after `from`.
    until: Option<Timestamp>,
    struck: AtomicBool,
}

/// Everything that is scripted, with its times.
#[derive(Debug, Default)]
pub struct Schedule {
    faults: RwLock<Vec<Scheduled>>,
    next: AtomicU64,
}

/// What a connection has seen of the schedule: faults are new to it that begin later, or were added later.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    at: Timestamp,
    number: u64,
}

impl Schedule {
    /// Adds a fault relative to `now`; says when it begins and ends where it lasts.
    pub fn add(&self, fault: Fault, now: Timestamp) -> Option<TimeRange> {
        let from = now + Duration::from_millis(fault.after_ms);
        let instant = Duration::from_millis(1);
        let (from, until) = match (fault.for_ms, fault.fault) {
            // From after this moment to the close of the minute, and that included.
            (0, FaultKind::SkipCandle | FaultKind::LateTrade | FaultKind::LateClose | FaultKind::CorrectCandle) => {
                (from + instant, Some(Interval::M1.next(from) + instant))
            }
            (0, _) => (from, None),
            (lasting, _) => (from, Some(from + Duration::from_millis(lasting))),
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let scheduled =
            Scheduled { number, exchange: fault.exchange, kind: fault.fault, from, until, struck: false.into() };
        let mut all = self.faults.write();
        all.retain(|old| old.until.is_none_or(|until| until + Duration::from_mins(10) > now));
        if all.len() >= MAX_FAULTS {
            all.remove(0);
        }
        all.push(scheduled);
        until.map(|until| TimeRange::new(from, until))
    }

    /// Takes off all faults of a kind.
    pub fn end(&self, exchange: ExchangeId, kind: FaultKind) {
        self.faults.write().retain(|fault| (fault.exchange, fault.kind) != (exchange, kind));
    }

    fn any(&self, exchange: ExchangeId, kind: FaultKind, mut holds: impl FnMut(&Scheduled) -> bool) -> bool {
        self.faults.read().iter().any(|fault| fault.exchange == exchange && fault.kind == kind && holds(fault))
    }

    /// Whether it lasts at `now`.
    pub fn lasts(&self, exchange: ExchangeId, kind: FaultKind, now: Timestamp) -> bool {
        self.any(exchange, kind, |fault| fault.from <= now && fault.until.is_some_and(|until| now < until))
    }

    /// Whether it befalls what happens at `now`; one that strikes once is then over.
    pub fn strikes(&self, exchange: ExchangeId, kind: FaultKind, now: Timestamp) -> bool {
        self.any(exchange, kind, |fault| {
            fault.from <= now
                && fault.until.map_or_else(|| !fault.struck.swap(true, Ordering::Relaxed), |until| now < until)
        })
    }

    /// Everything that has begun by `at` and is scheduled so far.
    pub fn seen(&self, at: Timestamp) -> Seen {
        Seen { at, number: self.next.load(Ordering::Relaxed) }
    }

    /// Whether one that `seen` did not hold has begun by `until`.
    pub fn began(&self, exchange: ExchangeId, kind: FaultKind, seen: Seen, until: Timestamp) -> bool {
        self.any(exchange, kind, |fault| fault.is_new(seen, until))
    }

    /// The same, of those that strike once.
    pub fn began_once(&self, exchange: ExchangeId, kind: FaultKind, seen: Seen, until: Timestamp) -> bool {
        self.any(exchange, kind, |fault| fault.until.is_none() && fault.is_new(seen, until))
    }
}

impl Scheduled {
    fn is_new(&self, seen: Seen, until: Timestamp) -> bool {
        self.from <= until && (seen.at < self.from || seen.number <= self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINANCE: ExchangeId = ExchangeId::Binance;

    fn ms(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_script_is_read_line_by_line() {
        let text = "{\"exchange\":\"binance\",\"after_ms\":1500,\"fault\":\"drop\",\"for_ms\":0}\n\n\
                    {\"exchange\":\"Kraken\",\"fault\":\"http_429\",\"for_ms\":9}\n";
        let faults = parse_script(text).unwrap();
        assert_eq!(faults[0], Fault { exchange: BINANCE, after_ms: 1500, fault: FaultKind::Drop, for_ms: 0 });
        assert_eq!(
            (faults[1].exchange, faults[1].fault, faults[1].after_ms),
            (ExchangeId::Kraken, FaultKind::Http429, 0)
        );
        for (line, word) in [
            ("{}", "exchange"),
            ("nonsense", "expected"),
            ("{\"exchange\":\"mtgox\",\"fault\":\"drop\"}", "mtgox"),
            ("{\"exchange\":\"kraken\",\"fault\":\"fire\"}", "fire"),
            ("{\"exchange\":\"kraken\",\"fault\":\"drop\",\"at\":1}", "at"),
            ("{\"exchange\":\"kraken\",\"fault\":\"drop\",\"after_ms\":-1}", "-1"),
        ] {
            let bad = parse_script(&format!("\n{line}")).unwrap_err();
            assert!(bad.line == 2 && bad.detail.contains(word), "{bad}");
        }
    }

    #[test]
    fn every_documented_fault_has_its_name() {
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
    fn a_fault_without_length_strikes_once() {
        let schedule = Schedule::default();
        let fault = |fault, after_ms, for_ms| Fault { exchange: BINANCE, after_ms, fault, for_ms };
        schedule.add(fault(FaultKind::Http500, 10, 0), ms(0));
        assert!(!schedule.strikes(BINANCE, FaultKind::Http500, ms(9)));
        assert!(!schedule.strikes(ExchangeId::Kraken, FaultKind::Http500, ms(10)));
        assert!(schedule.strikes(BINANCE, FaultKind::Http500, ms(50)));
        assert!(!schedule.strikes(BINANCE, FaultKind::Http500, ms(50)));
        schedule.add(fault(FaultKind::Dark, 10, 5), ms(100));
        let lasting: Vec<bool> = [109, 110, 114, 115].map(|at| schedule.lasts(BINANCE, FaultKind::Dark, ms(at))).into();
        assert_eq!(lasting, [false, true, true, false]);
        assert!(schedule.began(BINANCE, FaultKind::Dark, schedule.seen(ms(109)), ms(110)));
        assert!(!schedule.began(BINANCE, FaultKind::Dark, schedule.seen(ms(110)), ms(200)));
        let seen = schedule.seen(ms(110));
        schedule.add(fault(FaultKind::Drop, 0, 0), ms(110));
        assert!(schedule.began_once(BINANCE, FaultKind::Drop, seen, ms(111)), "added in the same moment");
        let skipped = schedule.add(fault(FaultKind::SkipCandle, 0, 0), ms(60_000)).unwrap();
        let closes = [60_000, 120_000, 180_000].map(|close| skipped.contains(ms(close)));
        assert_eq!(closes, [false, true, false], "one candle, even when it begins between two");
    }
}
