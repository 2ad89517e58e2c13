//! `GET /v1/ticker`, `GET /v1/tickers` and the kept paths of a ticker.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use poem::Request;
use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};

use super::Tag;
use super::parameters::{Exchange, PathSymbol, Symbol, Symbols};
use super::payload::RawJson;
use super::schema;
use crate::api::Doors;
use crate::api::access::Client;
use crate::api::problem::{Code, Problem, Refused};
use crate::api::refusal::Refusal;
use crate::market::{ClientId, Market, TickerAnswer};
use crate::model::wire;

/// The most symbols of one question.
const MAX_SYMBOLS: usize = 100;

/// How many of them are asked for at a time.
const AT_A_TIME: usize = 16;

/// What stands behind the kept JSON of a ticker: `,"age_ms":12345,"stale":false}`.
const AGE_BYTES: usize = 48;

/// The latest tickers.
pub struct TickerApi(pub Arc<Doors>);

#[OpenApi]
impl TickerApi {
    /// The latest ticker of a market
    ///
    /// From memory where the market is collected. Any other listed market is asked from its exchange, and the answer
    /// kept for 2 s.
    #[oai(path = "/v1/ticker", method = "get", operation_id = "getTicker", tag = "Tag::Market")]
    async fn ticker(
        &self,
        request: &Request,
        exchange: Query<Option<Exchange>>,
        symbol: Query<Symbol>,
    ) -> Result<RawJson<schema::Ticker>, Refusal> {
        self.latest(request, exchange.as_deref(), &symbol).await
    }

    /// The latest tickers of several markets
    ///
    /// At most 100. What has no answer stands in `errors` with its code; the others are answered.
    #[oai(path = "/v1/tickers", method = "get", operation_id = "getTickers", tag = "Tag::Market")]
    async fn tickers(
        &self,
        request: &Request,
        exchange: Query<Option<Exchange>>,
        symbols: Query<Symbols>,
    ) -> Result<RawJson<schema::Tickers>, Refusal> {
        let (market, exchange, client) = (&self.0.market, exchange.as_deref(), Client::of(request).id());
        if let Some(name) = exchange {
            market.exchange_id(name)?;
        }
        let asked: Vec<_> = split(&symbols)?.into_iter().map(|symbol| one(market, exchange, symbol, &client)).collect();
        let answers: Vec<_> = stream::iter(asked).buffered(AT_A_TIME).collect().await;
        Ok(RawJson::new(write_tickers(&answers)))
    }

    /// The latest ticker of a market
    ///
    /// An alias of `/v1/ticker`.
    #[oai(path = "/ticker/:symbol", method = "get", operation_id = "keptTicker", tag = "Tag::Kept")]
    async fn kept_ticker(
        &self,
        request: &Request,
        symbol: Path<PathSymbol>,
        exchange: Query<Option<Exchange>>,
    ) -> Result<RawJson<schema::Ticker>, Refusal> {
        self.latest(request, exchange.as_deref(), &symbol).await
    }

    /// The latest ticker of a market
    ///
    /// An alias of `/v1/ticker`.
    #[oai(path = "/market/ticker", method = "get", operation_id = "keptMarketTicker", tag = "Tag::Kept")]
    async fn kept_market_ticker(
        &self,
        request: &Request,
        exchange: Query<Option<Exchange>>,
        symbol: Query<Symbol>,
    ) -> Result<RawJson<schema::Ticker>, Refusal> {
        self.ticker(request, exchange, symbol).await
    }
}

impl TickerApi {
    async fn latest(
        &self,
        request: &Request,
        exchange: Option<&str>,
        symbol: &str,
    ) -> Result<RawJson<schema::Ticker>, Refusal> {
        let listed = self.0.market.find(exchange, symbol).await?;
        let answer = self.0.market.ticker(&listed, &Client::of(request).id()).await?;
        let mut body = Vec::with_capacity(answer.kept.json.len() + AGE_BYTES);
        write_ticker(&mut body, &answer);
        Ok(RawJson::new(body))
    }
}

pub(super) fn write_ticker(out: &mut Vec<u8>, answer: &TickerAnswer) {
    out.extend_from_slice(&answer.kept.json);
    out.extend_from_slice(b",\"age_ms\":");
    wire::integer(out, u64::try_from(answer.age.as_millis()).unwrap_or(u64::MAX));
    out.extend_from_slice(if answer.stale { b",\"stale\":true}" } else { b",\"stale\":false}" });
}

async fn one<'a>(
    market: &Market,
    exchange: Option<&str>,
    symbol: &'a str,
    client: &ClientId,
) -> (&'a str, Result<TickerAnswer, Code>) {
    let answer = match market.find(exchange, symbol).await {
        Ok(listed) => market.ticker(&listed, client).await,
        Err(error) => Err(error),
    };
    (symbol, answer.map_err(|error| Problem::from(error).code))
}

/// The symbols of a list, each once.
fn split(list: &str) -> Result<Vec<&str>, Problem> {
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
        0 => "names no symbol".to_owned(),
        count if count > MAX_SYMBOLS => format!("names more than {MAX_SYMBOLS} symbols"),
        _ => return Ok(symbols),
    };
    Err(Problem::invalid(vec![Refused { parameter: "symbols".into(), detail: detail.into() }]))
}

pub(super) fn write_tickers(answers: &[(&str, Result<TickerAnswer, Code>)]) -> Vec<u8> {
    let known: usize = answers.iter().flat_map(|(_, answer)| answer).map(|answer| answer.kept.json.len()).sum();
    let mut out = Vec::with_capacity(known + answers.len() * 64 + 32);
    out.extend_from_slice(b"{\"tickers\":[");
    let mut separator: &[u8] = b"";
    for answer in answers.iter().flat_map(|(_, answer)| answer) {
        out.extend_from_slice(separator);
        write_ticker(&mut out, answer);
        separator = b",";
    }
    out.extend_from_slice(b"],\"errors\":[");
    separator = b"";
    for (symbol, code) in answers.iter().filter_map(|(symbol, answer)| Some((symbol, answer.as_ref().err()?))) {
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
    fn a_list_has_each_symbol_once_and_a_bound() {
        assert_eq!(split(" BTC/USDT, ETH/USDT,,BTC/USDT").unwrap(), ["BTC/USDT", "ETH/USDT"]);
        assert_eq!(split(",,").unwrap_err().code, Code::InvalidParameter);
        let many: Vec<String> = (0..=MAX_SYMBOLS).map(|n| format!("A{n}/B")).collect();
        assert_eq!(split(&many.join(",")).unwrap_err().errors[0].parameter, "symbols");
        assert_eq!(split(&many[1..].join(",")).unwrap().len(), MAX_SYMBOLS);
    }
}
