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

/// An object or a list of objects.
pub(super) fn split_markets(body: &[u8]) -> Vec<MarketResponse<'_>> {
    let name = |row: &[u8]| serde_json::from_slice::<Named<'_>>(row).ok().map(|named| named.symbol.into());
    match serde_json::from_slice::<Vec<&RawValue>>(body) {
        Ok(rows) => rows
            .iter()
            .map(|row| row.get().as_bytes())
            .map(|row| MarketResponse { native: name(row), body: row.into() })
            .collect(),
        Err(_) => vec![MarketResponse { native: name(body), body: body.into() }],
    }
}
