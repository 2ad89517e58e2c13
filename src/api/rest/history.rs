//! `GET /v1/history` and the kept paths of a history.

use std::io;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use poem::http::{HeaderValue, header};
use poem::{Body, Request, Response};

use super::payload::{JSON, bytes, tagged};
use super::{CURSOR, END, EXCHANGE, INTERVAL, PATH_SYMBOL, START, SYMBOL, schema};
use crate::api::operation::{self, Call, Content, Kind, Operation, Parameter, Tag};
use crate::api::problem::{Code, Problem};
use crate::market::{CandleFields, CandleQuery, Format, HISTORY_LIMIT, HISTORY_LIMIT_MAX, HistoryPage, Listed};
use crate::model::{Candle, Timestamp, wire};

pub const CSV: &str = "text/csv";
pub const NDJSON: &str = "application/x-ndjson";

/// About the longest candle in JSON.
const CANDLE_BYTES: usize = 230;

const LIMIT: Parameter = Parameter::query(
    "limit",
    Kind::Count { max: HISTORY_LIMIT_MAX, default: HISTORY_LIMIT },
    "How many candles a page has at most.",
    "500",
);
const FORMAT: Parameter = Parameter::query(
    "format",
    Kind::OneOf(&["json", "array", "csv", "ndjson"]),
    "How candles are written. `array` is CCXT's `[[timestamp,open,high,low,close,volume],…]`. `csv` and `ndjson` give \
     the whole range without pages when `start` and `end` are given and `limit` is not.",
    "json",
);

pub const HISTORY: Operation = Operation {
    id: "getHistory",
    path: "/v1/history",
    tag: Some(Tag::Market),
    summary: "Candles of a market, ascending",
    description: "Without `start` the newest; pages then go backward, else forward, and each page is ascending. What is \
                  not known yet is fetched from the exchange within a time budget: `complete` says whether every closed \
                  candle of the page's range is there, and `gaps` says what is missing and why. Minutes in which nobody \
                  traded have no candle and are no gap.",
    parameters: &[EXCHANGE, SYMBOL, INTERVAL, START, END, LIMIT, CURSOR, FORMAT],
    contents: &[
        Content {
            media: JSON,
            schema: Some(operation::schema::<schema::History>),
            example: include_str!("examples/history.json"),
        },
        Content { media: CSV, schema: None, example: include_str!("examples/history.csv") },
        Content { media: NDJSON, schema: None, example: include_str!("examples/history.ndjson") },
    ],
    headers: &[
        ("Candlewick-Simulated", "`true` where the simulator stands in for the exchange."),
        (
            "Candlewick-Complete",
            "`complete`, for the formats whose body cannot carry it. Of an answer without pages it \
                                 says what was known at its start.",
        ),
        ("Link", "The next page, `rel=\"next\"`, if there is one."),
        ("ETag", "Names this body, for `If-None-Match`."),
        ("Cache-Control", "`public, max-age=60` where the range is closed and complete, else `no-cache`."),
    ],
    conditional: true,
    problems: &[
        Code::InvalidParameter,
        Code::UnknownExchange,
        Code::UnknownSymbol,
        Code::UnsupportedInterval,
        Code::StoreUnavailable,
        Code::NotReady,
    ],
    handler: |call| Box::pin(history(call)),
};

pub const KEPT_HISTORY: Operation = Operation {
    id: "keptHistory",
    path: "/history/{symbol}",
    tag: Some(Tag::Kept),
    description: "An alias of `/v1/history`.",
    parameters: &[PATH_SYMBOL, EXCHANGE, INTERVAL, START, END, LIMIT, CURSOR, FORMAT],
    ..HISTORY
};

pub const KEPT_MARKET_HISTORY: Operation = Operation {
    id: "keptMarketHistory",
    path: "/market/history",
    tag: Some(Tag::Kept),
    description: "An alias of `/v1/history`.",
    ..HISTORY
};

async fn history(call: Call<'_>) -> Result<Response, Problem> {
    let (market, values) = (&call.doors.market, &call.values);
    let now = call.doors.clock.now();
    let fields = CandleFields {
        interval: values.get("interval"),
        start: values.get("start"),
        end: values.get("end"),
        limit: values.get("limit"),
        cursor: values.get("cursor"),
        format: values.get("format"),
    };
    let query = CandleQuery::new(fields, now)?;
    let listed = market.find(values.get("exchange"), values.required("symbol")).await?;
    if query.unlimited {
        return whole(&call, listed, query).await;
    }
    let page = market.history(&listed, &query).await?;
    Ok(answer(call.request, &query, &page, now))
}

/// One page.
pub(super) fn answer(request: &Request, query: &CandleQuery, page: &HistoryPage, now: Timestamp) -> Response {
    let lasting = page.complete && query.range.end() <= query.interval.floor(now);
    let cache = if lasting { "public, max-age=60" } else { "no-cache" };
    let mut response = tagged(request.headers(), media(query.format), write_page(query.format, page), cache);
    describe(&mut response, page.simulated, page.complete);
    if let Some(link) = page.next_cursor.as_deref().and_then(|cursor| next_link(request, cursor)) {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

/// A whole range, page after page. The first page is awaited, so that what fails at once is a problem; what fails later
/// cuts the connection before the end of the body.
async fn whole(call: &Call<'_>, listed: Listed, query: CandleQuery) -> Result<Response, Problem> {
    let (market, format) = (&call.doors.market, query.format);
    let (simulated, range, interval) = (listed.simulated, query.range, query.interval);
    let mut pages = Arc::clone(market).history_pages(listed.clone(), query);
    let first = pages.next().await.transpose()?;
    let second = pages.next().await;
    let complete = match (&first, &second) {
        (Some(only), None) => only.complete,
        _ => market.coverage(&listed, interval, range).await?.complete,
    };
    let head = if format == Format::Csv { CSV_HEAD } else { b"" };
    let body = stream::iter([Ok(head.to_vec())]).chain(
        stream::iter(first.map(Ok).into_iter().chain(second)).chain(pages).map(move |page| match page {
            Ok(page) => Ok(write_rows(format, &page.candles)),
            Err(error) => {
                tracing::info!(%error, "a history could not be sent to its end");
                Err(io::Error::other(error.to_string()))
            }
        }),
    );
    let filled = body.try_filter(|part| std::future::ready(!part.is_empty()));
    let mut response = bytes(media(format), Body::from_bytes_stream(filled));
    describe(&mut response, simulated, complete);
    Ok(response)
}

/// What the body of some formats cannot carry.
fn describe(response: &mut Response, simulated: bool, complete: bool) {
    let text = |value| HeaderValue::from_static(if value { "true" } else { "false" });
    response.headers_mut().insert("candlewick-simulated", text(simulated));
    response.headers_mut().insert("candlewick-complete", text(complete));
}

/// The same question with another cursor, as a relative reference.
fn next_link(request: &Request, cursor: &str) -> Option<HeaderValue> {
    let uri = request.uri();
    let mut link = format!("<{}?", uri.path());
    for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        if pair.split('=').next() != Some("cursor") {
            link.push_str(pair);
            link.push('&');
        }
    }
    link.push_str("cursor=");
    link.push_str(cursor);
    link.push_str(">; rel=\"next\"");
    HeaderValue::from_str(&link).ok()
}

const fn media(format: Format) -> &'static str {
    match format {
        Format::Json | Format::Array => JSON,
        Format::Csv => CSV,
        Format::Ndjson => NDJSON,
    }
}

const CSV_HEAD: &[u8] = b"timestamp,open,high,low,close,volume,quote_volume,trades,closed,revision\n";

/// A page's body.
pub(super) fn write_page(format: Format, page: &HistoryPage) -> Vec<u8> {
    match format {
        Format::Json => write_json(page),
        Format::Array => write_array(&page.candles),
        Format::Csv => [CSV_HEAD, &write_rows(format, &page.candles)].concat(),
        Format::Ndjson => write_rows(format, &page.candles),
    }
}

fn write_json(page: &HistoryPage) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + page.gaps.len() * 80 + page.candles.len() * CANDLE_BYTES);
    out.push(b'{');
    wire::market_fields(&mut out, page.exchange, &page.symbol);
    out.extend_from_slice(b",\"interval\":\"");
    out.extend_from_slice(page.interval.as_str().as_bytes());
    out.extend_from_slice(b"\",\"simulated\":");
    boolean(&mut out, page.simulated);
    out.extend_from_slice(b",\"complete\":");
    boolean(&mut out, page.complete);
    out.extend_from_slice(b",\"gaps\":[");
    for (index, gap) in page.gaps.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{" } else { b",{" });
        wire::range_fields(&mut out, gap.range.start(), gap.range.end());
        out.extend_from_slice(b",\"reason\":\"");
        out.extend_from_slice(gap.reason.as_str().as_bytes());
        out.extend_from_slice(b"\"}");
    }
    out.extend_from_slice(b"],\"next_cursor\":");
    match &page.next_cursor {
        Some(cursor) => wire::string(&mut out, cursor),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"candles\":[");
    for (index, candle) in page.candles.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{" } else { b",{" });
        wire::candle_fields(&mut out, candle);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    out
}

fn write_array(candles: &[Candle]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + candles.len() * CANDLE_BYTES / 2);
    out.push(b'[');
    for (index, candle) in candles.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"[" } else { b",[" });
        write_ohlcv(&mut out, candle);
        out.push(b']');
    }
    out.push(b']');
    out
}

/// `timestamp,open,high,low,close,volume`, which both CCXT's rows and CSV begin with.
fn write_ohlcv(out: &mut Vec<u8>, candle: &Candle) {
    wire::integer(out, candle.timestamp.millis());
    for value in [candle.open, candle.high, candle.low, candle.close, candle.volume] {
        out.push(b',');
        wire::decimal(out, value);
    }
}

/// A line a candle.
fn write_rows(format: Format, candles: &[Candle]) -> Vec<u8> {
    let mut out = Vec::with_capacity(candles.len() * CANDLE_BYTES);
    for candle in candles {
        if format == Format::Csv {
            write_ohlcv(&mut out, candle);
            out.push(b',');
            candle.quote_volume.inspect(|volume| wire::decimal(&mut out, *volume));
            out.push(b',');
            candle.trades.inspect(|count| wire::integer(&mut out, *count));
            out.push(b',');
            boolean(&mut out, candle.closed);
            out.push(b',');
            wire::integer(&mut out, candle.revision);
        } else {
            out.push(b'{');
            wire::candle_fields(&mut out, candle);
            out.push(b'}');
        }
        out.push(b'\n');
    }
    out
}

fn boolean(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}
