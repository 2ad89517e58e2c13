//! `GET /v1/ticker`, `GET /v1/tickers` and the kept paths of a ticker.

use futures_util::{StreamExt, stream};
use poem::Response;

use super::payload::{JSON, json};
use super::schema;
use super::{EXCHANGE, PATH_SYMBOL, SYMBOL};
use crate::api::operation::{self, Call, Content, Kind, Operation, Parameter, Tag};
use crate::api::problem::{Code, Problem, Refused};
use crate::market::{Market, TickerAnswer};
use crate::model::wire;

/// The most symbols of one question.
const MAX_SYMBOLS: usize = 100;

/// How many of them are asked for at a time.
const AT_A_TIME: usize = 16;

/// What stands behind the kept JSON of a ticker: `,"age_ms":12345,"stale":false}`.
const AGE_BYTES: usize = 48;

pub const TICKER: Operation = Operation {
    id: "getTicker",
    path: "/v1/ticker",
    tag: Some(Tag::Market),
    summary: "The latest ticker of a market",
    description: "From memory where the market is collected. Any other listed market is asked from its exchange, and \
                  the answer kept for 2 s.",
    parameters: &[EXCHANGE, SYMBOL],
    contents: &[Content {
        media: JSON,
        schema: Some(operation::schema::<schema::Ticker>),
        example: include_str!("examples/ticker.json"),
    }],
    headers: &[],
    conditional: false,
    problems: &[
        Code::InvalidParameter,
        Code::UnknownExchange,
        Code::UnknownSymbol,
        Code::UpstreamUnavailable,
        Code::UpstreamRateLimited,
        Code::NotReady,
    ],
    handler: |call| Box::pin(ticker(call)),
};

pub const TICKERS: Operation = Operation {
    id: "getTickers",
    path: "/v1/tickers",
    summary: "The latest tickers of several markets",
    description: "At most 100. What has no answer stands in `errors` with its code; the others are answered.",
    parameters: &[
        EXCHANGE,
        Parameter::query("symbols", Kind::List, "The markets, with commas between them.", "BTC/USDT,ETH/USDT")
            .required(),
    ],
    contents: &[Content {
        media: JSON,
        schema: Some(operation::schema::<schema::Tickers>),
        example: include_str!("examples/tickers.json"),
    }],
    problems: &[Code::InvalidParameter, Code::UnknownExchange, Code::NotReady],
    handler: |call| Box::pin(tickers(call)),
    ..TICKER
};

pub const KEPT_TICKER: Operation = Operation {
    id: "keptTicker",
    path: "/ticker/{symbol}",
    tag: Some(Tag::Kept),
    description: "An alias of `/v1/ticker`.",
    parameters: &[PATH_SYMBOL, EXCHANGE],
    ..TICKER
};

pub const KEPT_MARKET_TICKER: Operation = Operation {
    id: "keptMarketTicker",
    path: "/market/ticker",
    tag: Some(Tag::Kept),
    description: "An alias of `/v1/ticker`.",
    ..TICKER
};

async fn ticker(call: Call<'_>) -> Result<Response, Problem> {
    let market = &call.doors.market;
    let listed = market.find(call.values.get("exchange"), call.values.required("symbol")).await?;
    let answer = market.ticker(&listed).await?;
    let mut body = Vec::with_capacity(answer.kept.json.len() + AGE_BYTES);
    write_ticker(&mut body, &answer);
    Ok(json(body))
}

pub(super) fn write_ticker(out: &mut Vec<u8>, answer: &TickerAnswer) {
    out.extend_from_slice(&answer.kept.json);
    out.extend_from_slice(b",\"age_ms\":");
    wire::integer(out, u64::try_from(answer.age.as_millis()).unwrap_or(u64::MAX));
    out.extend_from_slice(if answer.stale { b",\"stale\":true}" } else { b",\"stale\":false}" });
}

async fn tickers(call: Call<'_>) -> Result<Response, Problem> {
    let market = &call.doors.market;
    let exchange = call.values.get("exchange");
    if let Some(name) = exchange {
        market.exchange_id(name)?;
    }
    let symbols = split(call.values.required("symbols"))?;
    let asked: Vec<_> = symbols.into_iter().map(|symbol| one(market, exchange, symbol)).collect();
    let answers: Vec<_> = stream::iter(asked).buffered(AT_A_TIME).collect().await;
    Ok(json(write_tickers(&answers)))
}

async fn one<'a>(market: &Market, exchange: Option<&str>, symbol: &'a str) -> (&'a str, Result<TickerAnswer, Code>) {
    let answer = match market.find(exchange, symbol).await {
        Ok(listed) => market.ticker(&listed).await,
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
