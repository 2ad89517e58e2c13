//! `GET /v1/history` and the legacy history paths.

use std::io;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use poem::http::Uri;
use poem::{Body, Request};
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Binary;
use poem_openapi::{ApiResponse, OpenApi, ResponseContent};

use super::candles::{csv_header, write_rows};
use super::page_cache::{EncodedPage, PageCache};
use super::parameters::{
    Cursor, End, Exchange, Fill, Format as FormatName, Interval, Limit, PathSymbol, Start, Symbol,
};
use super::payload::{RawJson, matches_tag};
use super::schema;
use super::tag::Tag;
use crate::api::access::{Client, Identity};
use crate::api::concurrency::{ConcurrencyLimiter, LimitReached, Permit};
use crate::api::error_response::ErrorResponse;
use crate::api::problem::{Code, Problem};
use crate::api::state::AppState;
use crate::market::{CandleParams, CandleQuery, Format, ListedMarket};

/// Maximum number of concurrent exports, in total and per client. An export is a range sent without pagination.
const MAX_EXPORTS: usize = 64;
const MAX_EXPORTS_PER_CLIENT: usize = 4;

/// History operations.
pub struct HistoryApi {
    state: Arc<AppState>,
    page_cache: PageCache,
    /// Limits concurrent exports.
    exports: Arc<ConcurrencyLimiter<Identity>>,
}

#[derive(ApiResponse)]
pub(super) enum History {
    /// Candles of a market in ascending order.
    #[oai(status = 200)]
    Page(
        Candles,
        /// Entity tag of this body, for `If-None-Match`.
        #[oai(header = "ETag")]
        Option<String>,
        /// `public, max-age=60` if the range is closed and complete, else `no-cache`.
        #[oai(header = "Cache-Control")]
        String,
        /// The next page (`rel="next"`), if there is one.
        #[oai(header = "Link")]
        Option<String>,
        /// `true` if the data comes from the simulator.
        #[oai(header = "Candlewick-Simulated")]
        bool,
        /// The value of `complete`, for formats without this member. For a response without pagination: the value when
        /// the response started.
        #[oai(header = "Candlewick-Complete")]
        bool,
    ),
    /// Not modified: `If-None-Match` contains the entity tag.
    #[oai(status = 304)]
    NotModified(
        /// Entity tag of the body.
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
    /// Formats `json` and `array`, which have the same media type.
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
    /// Without `start`, the first page has the newest candles and further pages go backward; with `start`, pages go
    /// forward. Candles in a page are always ascending.
    ///
    /// Missing data is fetched from the exchange within a time budget. `complete` states whether every closed candle of
    /// the page's range is present; `gaps` lists missing ranges with reasons. Intervals without trades have no candle
    /// and are not gaps; with `fill=flat` they get a candle at the previous close. Times before the listing and in the
    /// future have no candles and are not gaps. The history of a delisted market remains available.
    ///
    /// With `start` and `end` but no `limit`, the formats `csv` and `ndjson` send the whole range without pagination.
    /// If fetching its unknown part would cost more of the exchange's rate limit than one client may cause per minute,
    /// the request is rejected with `range_too_large`; fetch the range with `POST /v1/backfills` first.
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
        /// Entity tags of bodies that the client has cached.
        #[oai(name = "If-None-Match")]
        if_none_match: Header<Option<String>>,
    ) -> Result<History, ErrorResponse> {
        let params = CandleParams {
            interval: interval.as_deref(),
            start: start.as_deref(),
            end: end.as_deref(),
            limit: limit.as_deref(),
            cursor: cursor.as_deref(),
            fill: fill.as_deref(),
            format: format.as_deref(),
        };
        self.candles(request, exchange.as_deref(), &symbol, params, if_none_match.as_deref()).await
    }

    /// Candles of a market, ascending
    ///
    /// Legacy alias of `/v1/history`.
    #[oai(path = "/history/:symbol", method = "get", operation_id = "keptHistory", tag = "Tag::Legacy")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the operation")]
    async fn legacy_history(
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
        /// Entity tags of bodies that the client has cached.
        #[oai(name = "If-None-Match")]
        if_none_match: Header<Option<String>>,
    ) -> Result<History, ErrorResponse> {
        let symbol = Query(symbol.0.into());
        self.history(request, exchange, symbol, interval, start, end, limit, cursor, fill, format, if_none_match).await
    }

    /// Candles of a market, ascending
    ///
    /// Legacy alias of `/v1/history`.
    #[oai(path = "/market/history", method = "get", operation_id = "keptMarketHistory", tag = "Tag::Legacy")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the operation")]
    async fn legacy_market_history(
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
        /// Entity tags of bodies that the client has cached.
        #[oai(name = "If-None-Match")]
        if_none_match: Header<Option<String>>,
    ) -> Result<History, ErrorResponse> {
        self.history(request, exchange, symbol, interval, start, end, limit, cursor, fill, format, if_none_match).await
    }
}

impl HistoryApi {
    pub fn new(state: &Arc<AppState>) -> Self {
        Self {
            state: Arc::clone(state),
            page_cache: PageCache::new(state.clock.clone()),
            exports: ConcurrencyLimiter::new(MAX_EXPORTS, MAX_EXPORTS_PER_CLIENT),
        }
    }

    async fn candles(
        &self,
        request: &Request,
        exchange: Option<&str>,
        symbol: &str,
        params: CandleParams<'_>,
        if_none_match: Option<&str>,
    ) -> Result<History, ErrorResponse> {
        let market = &self.state.market;
        let now = self.state.clock.now();
        let query = CandleQuery::new(params, now)?;
        let listed = market.find(exchange, symbol).await?;
        let exchange_now = market.exchange_now(listed.exchange);
        // The default end of a range is the end of the candle that is open at the exchange.
        let query = if exchange_now > now { CandleQuery::new(params, exchange_now)? } else { query };
        if query.unlimited {
            return self.export(request, listed, query).await;
        }
        let page = self.page_cache.page(market, &listed, &query, &Client::from_request(request).id()).await?;
        Ok(page_response(request.uri(), if_none_match, &query, &page))
    }

    /// Acquires a permit for an export: exports take long, so their number is limited.
    fn acquire_export(&self, request: &Request) -> Result<Permit<Identity>, Problem> {
        let client = Client::from_request(request);
        self.exports.acquire(&client.identity, "export").map_err(|limit| match limit {
            LimitReached::Total => Problem::new(Code::NotReady, "too many exports are running: try again later"),
            LimitReached::PerKey(running) => {
                let detail = format!("{running} exports are being sent to you: wait for one, or use pages (`limit`)");
                Problem::new(Code::RateLimited, detail)
            }
        })
    }

    /// Sends a whole range without pagination. Errors before the first page become a problem response; later errors
    /// close the connection before the end of the body.
    async fn export(
        &self,
        request: &Request,
        listed: ListedMarket,
        query: CandleQuery,
    ) -> Result<History, ErrorResponse> {
        let permit = self.acquire_export(request)?;
        let market = &self.state.market;
        let (simulated, range, interval) = (listed.simulated, query.range, query.interval);
        market.check_fetch_cost(&listed, interval, range).await?;
        let mut pages = Arc::clone(market).history_pages(listed.clone(), query, Client::from_request(request).id());
        let first = pages.next().await.transpose()?;
        let second = pages.next().await;
        let complete = match (&first, &second) {
            (Some(only), None) => only.complete,
            _ => market.is_complete(&listed, interval, range).await?,
        };
        let body = stream::iter([Ok(csv_header(&query).to_vec())]).chain(
            stream::iter(first.map(Ok).into_iter().chain(second)).chain(pages).map(move |page| {
                let _held = &permit;
                match page {
                    Ok(page) => Ok(write_rows(&query, &page)),
                    Err(error) => {
                        tracing::info!(%error, "export failed before its end");
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

/// The response with one page.
pub(super) fn page_response(
    uri: &Uri,
    if_none_match: Option<&str>,
    query: &CandleQuery,
    page: &EncodedPage,
) -> History {
    let cache = if page.is_final { "public, max-age=60" } else { "no-cache" }.to_owned();
    let link = page.next_cursor.as_deref().map(|cursor| next_link(uri, cursor));
    let tag = Some(page.tag.clone());
    if if_none_match.is_some_and(|if_none_match| matches_tag(if_none_match, &page.tag)) {
        return History::NotModified(tag, cache, link, page.simulated, page.complete);
    }
    let body = page.body.clone();
    let candles = match query.format {
        Format::Json | Format::Array => Candles::Json(RawJson::new(body)),
        Format::Csv => Candles::Csv(Binary(body.into())),
        Format::Ndjson => Candles::Ndjson(Binary(body.into())),
    };
    History::Page(candles, tag, cache, link, page.simulated, page.complete)
}

/// The `Link` to the next page: the same request with another cursor, as a relative reference.
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
