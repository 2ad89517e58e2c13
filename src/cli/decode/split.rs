//! Splits responses with several markets.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::ExchangeId;

/// A response with one market, and the market's id if the response has it.
type MarketResponse<'a> = (Option<String>, Cow<'a, [u8]>);

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
}

/// Splits a response with several markets into one response per market.
pub fn split(exchange: ExchangeId, body: &[u8]) -> Vec<MarketResponse<'_>> {
    let parts = match exchange {
        ExchangeId::Binance => binance(body),
        ExchangeId::Kraken => kraken(body),
        ExchangeId::Coinbase => coinbase(body),
        ExchangeId::Okx => okx(body),
        ExchangeId::Bybit => bybit(body),
    };
    if parts.is_empty() { vec![(None, body.into())] } else { parts }
}

/// An object or a list of objects.
fn binance(body: &[u8]) -> Vec<MarketResponse<'_>> {
    let name = |row: &[u8]| serde_json::from_slice::<Named<'_>>(row).ok().map(|named| named.symbol.into());
    match serde_json::from_slice::<Vec<&RawValue>>(body) {
        Ok(rows) => rows.iter().map(|row| row.get().as_bytes()).map(|row| (name(row), row.into())).collect(),
        Err(_) => vec![(name(body), body.into())],
    }
}

/// `result` is a map from market ids to data, and can have a member `last`.
fn kraken(body: &[u8]) -> Vec<MarketResponse<'_>> {
    #[derive(Deserialize)]
    struct ByName<'a> {
        #[serde(borrow)]
        result: BTreeMap<Cow<'a, str>, &'a RawValue>,
    }
    let all = serde_json::from_slice::<ByName<'_>>(body).map(|response| response.result).unwrap_or_default();
    let rebuild = |(name, value): (Cow<'_, str>, &RawValue)| {
        let key = serde_json::Value::String(name.clone().into_owned());
        (Some(name.into_owned()), format!("{{\"error\":[],\"result\":{{{key}:{value}}}}}").into_bytes().into())
    };
    all.into_iter().filter(|(name, _)| name != "last").map(rebuild).collect()
}

/// A product, the last trades of a product, or a list of products.
fn coinbase(body: &[u8]) -> Vec<MarketResponse<'_>> {
    #[derive(Deserialize)]
    struct Products<'a> {
        #[serde(borrow)]
        products: Vec<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Product<'a> {
        #[serde(borrow, rename = "product_id")]
        id: Option<Cow<'a, str>>,
        #[serde(borrow, default)]
        trades: Vec<Product<'a>>,
    }
    let name = |row: &[u8]| {
        let product: Product<'_> = serde_json::from_slice(row).ok()?;
        let trade_product = || product.trades.into_iter().next().and_then(|trade| trade.id);
        product.id.or_else(trade_product).map(Cow::into_owned)
    };
    match serde_json::from_slice::<Products<'_>>(body) {
        Ok(Products { products }) => {
            products.iter().map(|row| row.get().as_bytes()).map(|row| (name(row), row.into())).collect()
        }
        Err(_) => vec![(name(body), body.into())],
    }
}

/// A list of rows, each with its market id.
fn okx(body: &[u8]) -> Vec<MarketResponse<'_>> {
    #[derive(Deserialize)]
    struct Rows<'a> {
        #[serde(borrow)]
        data: Vec<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Row<'a> {
        #[serde(borrow, rename = "instId")]
        id: Cow<'a, str>,
    }
    let all = serde_json::from_slice::<Rows<'_>>(body).map(|response| response.data).unwrap_or_default();
    let rebuild = |row: &RawValue| {
        let name = serde_json::from_str::<Row<'_>>(row.get()).ok()?.id.into_owned();
        Some((Some(name), format!("{{\"code\":\"0\",\"data\":[{row}]}}").into_bytes().into()))
    };
    all.into_iter().filter_map(rebuild).collect()
}

/// A list of rows, each with its market id; or rows of one market, whose id is next to the list.
fn bybit(body: &[u8]) -> Vec<MarketResponse<'_>> {
    #[derive(Deserialize)]
    struct Response<'a> {
        #[serde(borrow)]
        result: Rows<'a>,
        #[serde(borrow)]
        time: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Rows<'a> {
        #[serde(borrow)]
        category: Option<&'a RawValue>,
        #[serde(borrow)]
        symbol: Option<Cow<'a, str>>,
        #[serde(borrow)]
        list: Vec<&'a RawValue>,
    }
    let Ok(Response { result: Rows { category, symbol, list }, time }) = serde_json::from_slice(body) else {
        return Vec::new();
    };
    if let Some(symbol) = symbol {
        return vec![(Some(symbol.into_owned()), body.into())];
    }
    let raw = |value: Option<&RawValue>| value.map_or("null", RawValue::get).to_owned();
    let (category, time) = (raw(category), raw(time));
    let rebuild = |row: &RawValue| {
        let name = serde_json::from_str::<Named<'_>>(row.get()).ok()?.symbol.into_owned();
        let body = format!("{{\"retCode\":0,\"result\":{{\"category\":{category},\"list\":[{row}]}},\"time\":{time}}}");
        Some((Some(name), body.into_bytes().into()))
    };
    list.into_iter().filter_map(rebuild).collect()
}
