//! Replies about several markets.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::ExchangeId;

/// A reply about one market, with the market's id where it names one.
type Part<'a> = (Option<String>, Cow<'a, [u8]>);

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
}

/// A reply about several markets as one reply a market.
pub fn split(exchange: ExchangeId, body: &[u8]) -> Vec<Part<'_>> {
    let parts = match exchange {
        ExchangeId::Binance => binance(body),
        ExchangeId::Kraken => kraken(body),
        ExchangeId::Coinbase => coinbase(body),
        ExchangeId::Okx => okx(body),
        ExchangeId::Bybit => bybit(body),
    };
    if parts.is_empty() { vec![(None, body.into())] } else { parts }
}

/// An object, or a list of them.
fn binance(body: &[u8]) -> Vec<Part<'_>> {
    let name = |one: &[u8]| serde_json::from_slice::<Named<'_>>(one).ok().map(|named| named.symbol.into());
    match serde_json::from_slice::<Vec<&RawValue>>(body) {
        Ok(all) => all.iter().map(|one| one.get().as_bytes()).map(|one| (name(one), one.into())).collect(),
        Err(_) => vec![(name(body), body.into())],
    }
}

/// A result by the ids of the markets, beside which `last` may stand.
fn kraken(body: &[u8]) -> Vec<Part<'_>> {
    #[derive(Deserialize)]
    struct ByName<'a> {
        #[serde(borrow)]
        result: BTreeMap<Cow<'a, str>, &'a RawValue>,
    }
    let all = serde_json::from_slice::<ByName<'_>>(body).map(|reply| reply.result).unwrap_or_default();
    let one = |(name, value): (Cow<'_, str>, &RawValue)| {
        let key = serde_json::Value::String(name.clone().into_owned());
        (Some(name.into_owned()), format!("{{\"error\":[],\"result\":{{{key}:{value}}}}}").into_bytes().into())
    };
    all.into_iter().filter(|(name, _)| name != "last").map(one).collect()
}

/// A product, the last trades of one, or a list of products.
fn coinbase(body: &[u8]) -> Vec<Part<'_>> {
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
    let name = |one: &[u8]| {
        let named: Product<'_> = serde_json::from_slice(one).ok()?;
        let of_trade = || named.trades.into_iter().next().and_then(|trade| trade.id);
        named.id.or_else(of_trade).map(Cow::into_owned)
    };
    match serde_json::from_slice::<Products<'_>>(body) {
        Ok(Products { products }) => {
            products.iter().map(|one| one.get().as_bytes()).map(|one| (name(one), one.into())).collect()
        }
        Err(_) => vec![(name(body), body.into())],
    }
}

/// A list of rows, each with its id.
fn okx(body: &[u8]) -> Vec<Part<'_>> {
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
    let all = serde_json::from_slice::<Rows<'_>>(body).map(|reply| reply.data).unwrap_or_default();
    let one = |row: &RawValue| {
        let name = serde_json::from_str::<Row<'_>>(row.get()).ok()?.id.into_owned();
        Some((Some(name), format!("{{\"code\":\"0\",\"data\":[{row}]}}").into_bytes().into()))
    };
    all.into_iter().filter_map(one).collect()
}

/// A list of rows, each with its id; or rows of the market that the list names.
fn bybit(body: &[u8]) -> Vec<Part<'_>> {
    #[derive(Deserialize)]
    struct Answer<'a> {
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
    let Ok(Answer { result: Rows { category, symbol, list }, time }) = serde_json::from_slice(body) else {
        return Vec::new();
    };
    if let Some(symbol) = symbol {
        return vec![(Some(symbol.into_owned()), body.into())];
    }
    let raw = |value: Option<&RawValue>| value.map_or("null", RawValue::get).to_owned();
    let (category, time) = (raw(category), raw(time));
    let one = |row: &RawValue| {
        let name = serde_json::from_str::<Named<'_>>(row.get()).ok()?.symbol.into_owned();
        let body = format!("{{\"retCode\":0,\"result\":{{\"category\":{category},\"list\":[{row}]}},\"time\":{time}}}");
        Some((Some(name), body.into_bytes().into()))
    };
    list.into_iter().filter_map(one).collect()
}
