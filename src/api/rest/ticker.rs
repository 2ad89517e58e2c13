//! `GET /v1/ticker`, `GET /v1/tickers` and the legacy ticker paths.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use poem::Request;
use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};

use super::parameters::{Exchange, PathSymbol, Symbol, Symbols};
use super::payload::RawJson;
use super::schema;
use super::tag::Tag;
use crate::api::access::Client;
use crate::api::error_response::ErrorResponse;
use crate::api::problem::{Code, ParameterProblem, Problem};
use crate::api::state::AppState;
use crate::market::{ClientId, LatestTicker, MarketService};
use crate::model::wire;

/// Maximum number of symbols per request.
const MAX_SYMBOLS: usize = 100;

/// Maximum number of tickers that one request looks up concurrently.
const MAX_CONCURRENT_LOOKUPS: usize = 16;

/// Upper bound for the bytes appended to the cached JSON of a ticker: `,"age_ms":12345,"stale":false}`.
const AGE_BYTES: usize = 48;

/// Ticker operations.
pub struct TickerApi(pub Arc<AppState>);

#[OpenApi]
impl TickerApi {
    /// Latest ticker of a market
    ///
    /// Tickers of collected markets come from memory. For any other listed market, the ticker is fetched from the
    /// exchange and cached for 2 s.
    #[oai(path = "/v1/ticker", method = "get", operation_id = "getTicker", tag = "Tag::Market")]
    async fn ticker(
        &self,
        request: &Request,
        exchange: Query<Option<Exchange>>,
        symbol: Query<Symbol>,
    ) -> Result<RawJson<schema::Ticker>, ErrorResponse> {
        self.latest(request, exchange.as_deref(), &symbol).await
    }

    /// Latest tickers of several markets
    ///
    /// At most 100 symbols. Symbols without a ticker are listed in `errors` with a problem code.
    #[oai(path = "/v1/tickers", method = "get", operation_id = "getTickers", tag = "Tag::Market")]
    async fn tickers(
        &self,
        request: &Request,
        exchange: Query<Option<Exchange>>,
        symbols: Query<Symbols>,
    ) -> Result<RawJson<schema::Tickers>, ErrorResponse> {
        let (market, exchange, client) = (&self.0.market, exchange.as_deref(), Client::from_request(request).id());
        if let Some(name) = exchange {
            market.exchange_id(name)?;
        }
        let lookups: Vec<_> =
            split_symbols(&symbols)?.into_iter().map(|symbol| find_ticker(market, exchange, symbol, &client)).collect();
        let tickers: Vec<_> = stream::iter(lookups).buffered(MAX_CONCURRENT_LOOKUPS).collect().await;
        Ok(RawJson::new(write_tickers(&tickers)))
    }

    /// Latest ticker of a market
    ///
    /// Legacy alias of `/v1/ticker`.
    #[oai(path = "/ticker/:symbol", method = "get", operation_id = "keptTicker", tag = "Tag::Legacy")]
    async fn legacy_ticker(
        &self,
        request: &Request,
        symbol: Path<PathSymbol>,
        exchange: Query<Option<Exchange>>,
    ) -> Result<RawJson<schema::Ticker>, ErrorResponse> {
        self.latest(request, exchange.as_deref(), &symbol).await
    }

    /// Latest ticker of a market
    ///
    /// Legacy alias of `/v1/ticker`.
    #[oai(path = "/market/ticker", method = "get", operation_id = "keptMarketTicker", tag = "Tag::Legacy")]
    async fn legacy_market_ticker(
        &self,
        request: &Request,
        exchange: Query<Option<Exchange>>,
        symbol: Query<Symbol>,
    ) -> Result<RawJson<schema::Ticker>, ErrorResponse> {
        self.ticker(request, exchange, symbol).await
    }
}

impl TickerApi {
    async fn latest(
        &self,
        request: &Request,
        exchange: Option<&str>,
        symbol: &str,
    ) -> Result<RawJson<schema::Ticker>, ErrorResponse> {
        let listed = self.0.market.find(exchange, symbol).await?;
        let ticker = self.0.market.ticker(&listed, &Client::from_request(request).id()).await?;
        let mut body = Vec::with_capacity(ticker.cached.json.len() + AGE_BYTES);
        write_ticker(&mut body, &ticker);
        Ok(RawJson::new(body))
    }
}

pub(super) fn write_ticker(out: &mut Vec<u8>, ticker: &LatestTicker) {
    out.extend_from_slice(&ticker.cached.json);
    out.extend_from_slice(b",\"age_ms\":");
    wire::integer(out, u64::try_from(ticker.age.as_millis()).unwrap_or(u64::MAX));
    out.extend_from_slice(if ticker.stale { b",\"stale\":true}" } else { b",\"stale\":false}" });
}

async fn find_ticker<'a>(
    market: &MarketService,
    exchange: Option<&str>,
    symbol: &'a str,
    client: &ClientId,
) -> (&'a str, Result<LatestTicker, Code>) {
    let ticker = match market.find(exchange, symbol).await {
        Ok(listed) => market.ticker(&listed, client).await,
        Err(error) => Err(error),
    };
    (symbol, ticker.map_err(|error| Problem::from(error).code))
}

/// Splits a comma-separated list of symbols and removes duplicates.
fn split_symbols(list: &str) -> Result<Vec<&str>, Problem> {
    let mut symbols: Vec<&str> = Vec::new();
    for symbol in list.split(',').map(str::trim).filter(|symbol| !symbol.is_empty()) {
        if !symbols.contains(&symbol) {
            symbols.push(symbol);
        }
        if symbols.len() > MAX_SYMBOLS {
            break;
        }
    }
    let detail = match symbols.len() {
        0 => "contains no symbol".to_owned(),
        count if count > MAX_SYMBOLS => format!("contains more than {MAX_SYMBOLS} symbols"),
        _ => return Ok(symbols),
    };
    Err(Problem::invalid_parameters(vec![ParameterProblem { parameter: "symbols".into(), detail: detail.into() }]))
}

pub(super) fn write_tickers(tickers: &[(&str, Result<LatestTicker, Code>)]) -> Vec<u8> {
    let ticker_bytes: usize =
        tickers.iter().flat_map(|(_, ticker)| ticker).map(|ticker| ticker.cached.json.len()).sum();
    let mut out = Vec::with_capacity(ticker_bytes + tickers.len() * 64 + 32);
    out.extend_from_slice(b"{\"tickers\":[");
    let mut separator: &[u8] = b"";
    for ticker in tickers.iter().flat_map(|(_, ticker)| ticker) {
        out.extend_from_slice(separator);
        write_ticker(&mut out, ticker);
        separator = b",";
    }
    out.extend_from_slice(b"],\"errors\":[");
    separator = b"";
    for (symbol, code) in tickers.iter().filter_map(|(symbol, ticker)| Some((symbol, ticker.as_ref().err()?))) {
        out.extend_from_slice(separator);
        out.extend_from_slice(b"{\"symbol\":");
        wire::string(&mut out, symbol);
        out.extend_from_slice(b",\"code\":");
        wire::string(&mut out, code.as_str());
        out.push(b'}');
        separator = b",";
    }
    out.extend_from_slice(b"]}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_and_deduplicates_symbols_up_to_the_limit() {
        assert_eq!(split_symbols(" BTC/USDT, ETH/USDT,,BTC/USDT").unwrap(), ["BTC/USDT", "ETH/USDT"]);
        assert_eq!(split_symbols(",,").unwrap_err().code, Code::InvalidParameter);
        let many: Vec<String> = (0..=MAX_SYMBOLS).map(|n| format!("A{n}/B")).collect();
        assert_eq!(split_symbols(&many.join(",")).unwrap_err().errors[0].parameter, "symbols");
        assert_eq!(split_symbols(&many[1..].join(",")).unwrap().len(), MAX_SYMBOLS);
    }
}
