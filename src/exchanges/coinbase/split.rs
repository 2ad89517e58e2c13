//! Splits REST responses with several markets.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::exchanges::rest::MarketResponse;

/// A product, the last trades of a product, or a list of products.
pub(super) fn split_markets(body: &[u8]) -> Vec<MarketResponse<'_>> {
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
        Ok(Products { products }) => products
            .iter()
            .map(|row| row.get().as_bytes())
            .map(|row| MarketResponse { native: name(row), body: row.into() })
            .collect(),
        Err(_) => vec![MarketResponse { native: name(body), body: body.into() }],
    }
}
