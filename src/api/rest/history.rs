//! `GET /v1/history` and the kept paths of a history.

use std::io;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use poem::http::Uri;
use poem::{Body, Request};
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Binary;
use poem_openapi::{ApiResponse, OpenApi, ResponseContent};

use super::Tag;
use super::candles::{head, write_rows};
use super::hot::{Encoded, HotPages};
use super::parameters::{
    Cursor, End, Exchange, Fill, Format as FormatName, Interval, Limit, PathSymbol, Start, Symbol,
};
use super::payload::{RawJson, names};
use super::schema;
use crate::api::Doors;
use crate::api::access::{Client, Identity};
use crate::api::problem::{Code, Problem};
use crate::api::refusal::Refusal;
use crate::api::seats::{Full, Seat, Seats};
use crate::market::{CandleFields, CandleQuery, Format, Listed};

/// How many whole ranges are sent at a time, and to one client.
const MOST_WHOLE: usize = 64;
const MOST_WHOLE_EACH: usize = 4;

/// Candles.
pub struct HistoryApi {
    doors: Arc<Doors>,
    hot: HotPages,
    /// Who gets whole ranges now.
    whole: Arc<Seats<Identity>>,
}

#[derive(ApiResponse)]
pub(super) enum History {
    /// Candles of a market, ascending.
    #[oai(status = 200)]
    Page(
        Candles,
        /// Names this body, for `If-None-Match`.
        #[oai(header = "ETag")]
        Option<String>,
        /// `public, max-age=60` where the range is closed and complete, else `no-cache`.
        #[oai(header = "Cache-Control")]
        String,
        /// The next page, `rel="next"`, if there is one.
        #[oai(header = "Link")]
        Option<String>,
        /// `true` where the simulator stands in for the exchange.
        #[oai(header = "Candlewick-Simulated")]
        bool,
        /// `complete`, for the formats whose body cannot carry it. Of an answer without pages it says what was known at
        /// its start.
        #[oai(header = "Candlewick-Complete")]
        bool,
    ),
    /// The client has it already: `If-None-Match` names it.
    #[oai(status = 304)]
    Known(
        /// Names the body.
        #[oai(header = "ETag")]
        Option<String>,
        /// As with the body.
        #[oai(header = "Cache-Control")]
        String,
        /// As with the body.
        #[oai(header = "Link")]
        Option<String>,
        /// As with the body.
        #[oai(header = "Candlewick-Simulated")]
        bool,
        /// As with the body.
        #[oai(header = "Candlewick-Complete")]
        bool,
    ),
}

#[derive(ResponseContent)]
pub(super) enum Candles {
    /// `array` has the same media type.
    Json(RawJson<schema::History>),
    #[oai(content_type = "text/csv")]
    Csv(Binary<Body>),
    #[oai(content_type = "application/x-ndjson")]
    Ndjson(Binary<Body>),
}

#[OpenApi]
impl HistoryApi {
    /// Candles of a market, ascending
    ///
    /// Without `start` the newest; pages then go backward, else forward, and each page is ascending. What is not known
    /// yet is fetched from the exchange within a time budget: `complete` says whether every closed candle of the
    /// page's range is there, and `gaps` says what is missing and why. Minutes in which nobody traded have no candle
    /// and are no gap; with `fill=flat` they have a candle at the close before. What lies before the listing or in the
    /// future has no candles, and nothing of it is missing. A market that the exchange lists no longer keeps its history.
    ///
    /// A range that is sent as a whole (`csv` or `ndjson` without `limit`) and whose unknown part would cost more of the
    /// exchange's limits than one client may cause in a minute is refused with `range_too_large`: `POST /v1/backfills` fetches it.
    #[oai(path = "/v1/history", method = "get", operation_id = "getHistory", tag = "Tag::Market")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the operation")]
    async fn history(
        &self,
        request: &Request,
        exchange: Query<Option<Exchange>>,
        symbol: Query<Symbol>,
        interval: Query<Option<Interval>>,
        start: Query<Option<Start>>,
        end: Query<Option<End>>,
        limit: Query<Option<Limit>>,
        cursor: Query<Option<Cursor>>,
        fill: Query<Option<Fill>>,
        format: Query<Option<FormatName>>,
        /// Entity tags of bodies that the client has.
        #[oai(name = "If-None-Match")]
        known: Header<Option<String>>,
    ) -> Result<History, Refusal> {
        let fields = CandleFields {
            interval: interval.as_deref(),
            start: start.as_deref(),
            end: end.as_deref(),
            limit: limit.as_deref(),
            cursor: cursor.as_deref(),
            fill: fill.as_deref(),
            format: format.as_deref(),
        };
        self.candles(request, exchange.as_deref(), &symbol, fields, known.as_deref()).await
    }

    /// Candles of a market, ascending
    ///
    /// An alias of `/v1/history`.
    #[oai(path = "/history/:symbol", method = "get", operation_id = "keptHistory", tag = "Tag::Kept")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the operation")]
    async fn kept_history(
        &self,
        request: &Request,
        symbol: Path<PathSymbol>,
        exchange: Query<Option<Exchange>>,
        interval: Query<Option<Interval>>,
        start: Query<Option<Start>>,
        end: Query<Option<End>>,
        limit: Query<Option<Limit>>,
        cursor: Query<Option<Cursor>>,
        fill: Query<Option<Fill>>,
        format: Query<Option<FormatName>>,
        /// Entity tags of bodies that the client has.
        #[oai(name = "If-None-Match")]
        known: Header<Option<String>>,
    ) -> Result<History, Refusal> {
        let symbol = Query(symbol.0.into());
        self.history(request, exchange, symbol, interval, start, end, limit, cursor, fill, format, known).await
    }

    /// Candles of a market, ascending
    ///
    /// An alias of `/v1/history`.
    #[oai(path = "/market/history", method = "get", operation_id = "keptMarketHistory", tag = "Tag::Kept")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the operation")]
    async fn kept_market_history(
        &self,
        request: &Request,
        exchange: Query<Option<Exchange>>,
        symbol: Query<Symbol>,
        interval: Query<Option<Interval>>,
        start: Query<Option<Start>>,
        end: Query<Option<End>>,
        limit: Query<Option<Limit>>,
        cursor: Query<Option<Cursor>>,
        fill: Query<Option<Fill>>,
        format: Query<Option<FormatName>>,
        /// Entity tags of bodies that the client has.
        #[oai(name = "If-None-Match")]
        known: Header<Option<String>>,
    ) -> Result<History, Refusal> {
        self.history(request, exchange, symbol, interval, start, end, limit, cursor, fill, format, known).await
    }
}

impl HistoryApi {
    pub fn new(doors: &Arc<Doors>) -> Self {
        Self {
            doors: Arc::clone(doors),
            hot: HotPages::new(doors.clock.clone()),
            whole: Seats::new(MOST_WHOLE, MOST_WHOLE_EACH),
        }
    }

    async fn candles(
        &self,
        request: &Request,
        exchange: Option<&str>,
        symbol: &str,
        fields: CandleFields<'_>,
        known: Option<&str>,
    ) -> Result<History, Refusal> {
        let market = &self.doors.market;
        let now = self.doors.clock.now();
        let query = CandleQuery::new(fields, now)?;
        let listed = market.find(exchange, symbol).await?;
        let there = market.exchange_now(listed.exchange).await;
        // A range without an end ends with the candle that is open at the exchange.
        let query = if there > now { CandleQuery::new(fields, there)? } else { query };
        if query.unlimited {
            return self.whole(request, listed, query).await;
        }
        let page = self.hot.page(market, &listed, &query, &Client::of(request).id()).await?;
        Ok(answer(request.uri(), known, &query, &page))
    }

    /// A place for a client that gets a whole range, which is long work.
    fn place(&self, request: &Request) -> Result<Seat<Identity>, Problem> {
        let client = Client::of(request);
        self.whole.take(&client.identity, "export").map_err(|full| match full {
            Full::All => Problem::new(Code::NotReady, "too many whole ranges are being sent: try again later"),
            Full::Own(own) => {
                let detail = format!("{own} whole ranges are being sent to you: wait for one, or take pages (`limit`)");
                Problem::new(Code::RateLimited, detail)
            }
        })
    }

    /// A whole range, page after page. The first page is awaited, so that what fails at once is a problem; what fails
    /// later cuts the connection before the end of the body.
    async fn whole(&self, request: &Request, listed: Listed, query: CandleQuery) -> Result<History, Refusal> {
        let place = self.place(request)?;
        let market = &self.doors.market;
        let (simulated, range, interval) = (listed.simulated, query.range, query.interval);
        market.check_range(&listed, interval, range).await?;
        let mut pages = Arc::clone(market).history_pages(listed.clone(), query, Client::of(request).id());
        let first = pages.next().await.transpose()?;
        let second = pages.next().await;
        let complete = match (&first, &second) {
            (Some(only), None) => only.complete,
            _ => market.is_complete(&listed, interval, range).await?,
        };
        let body = stream::iter([Ok(head(&query).to_vec())]).chain(
            stream::iter(first.map(Ok).into_iter().chain(second)).chain(pages).map(move |page| {
                let _held = &place;
                match page {
                    Ok(page) => Ok(write_rows(&query, &page)),
                    Err(error) => {
                        tracing::info!(%error, "a history could not be sent to its end");
                        Err(io::Error::other(error.to_string()))
                    }
                }
            }),
        );
        let parts = body.try_filter(|part| std::future::ready(!part.is_empty()));
        let body = Binary(Body::from_bytes_stream(parts));
        let candles = if query.format == Format::Csv { Candles::Csv(body) } else { Candles::Ndjson(body) };
        Ok(History::Page(candles, None, "no-cache".to_owned(), None, simulated, complete))
    }
}

/// One page.
pub(super) fn answer(uri: &Uri, known: Option<&str>, query: &CandleQuery, page: &Encoded) -> History {
    let cache = if page.lasting { "public, max-age=60" } else { "no-cache" }.to_owned();
    let link = page.next_cursor.as_deref().map(|cursor| next_link(uri, cursor));
    let tag = Some(page.tag.clone());
    if known.is_some_and(|known| names(known, &page.tag)) {
        return History::Known(tag, cache, link, page.simulated, page.complete);
    }
    let body = page.body.clone();
    let candles = match query.format {
        Format::Json | Format::Array => Candles::Json(RawJson::new(body)),
        Format::Csv => Candles::Csv(Binary(body.into())),
        Format::Ndjson => Candles::Ndjson(Binary(body.into())),
    };
    History::Page(candles, tag, cache, link, page.simulated, page.complete)
}

/// The same question with another cursor, as a relative reference.
fn next_link(uri: &Uri, cursor: &str) -> String {
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
    link
}
