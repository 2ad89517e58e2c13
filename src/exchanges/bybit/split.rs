//! Splits REST responses with several markets.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::exchanges::rest::MarketResponse;

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
}

/// A list of rows, each with its market id; or rows of one market, whose id is next to the list.
pub(super) fn split_markets(body: &[u8]) -> Vec<MarketResponse<'_>> {
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
        return vec![MarketResponse { native: Some(symbol.into_owned()), body: body.into() }];
    }
    let raw = |value: Option<&RawValue>| value.map_or("null", RawValue::get).to_owned();
    let (category, time) = (raw(category), raw(time));
    let rebuild = |row: &RawValue| {
        let name = serde_json::from_str::<Named<'_>>(row.get()).ok()?.symbol.into_owned();
        let body = format!("{{\"retCode\":0,\"result\":{{\"category\":{category},\"list\":[{row}]}},\"time\":{time}}}");
        Some(MarketResponse { native: Some(name), body: body.into_bytes().into() })
    };
    list.into_iter().filter_map(rebuild).collect()
}
