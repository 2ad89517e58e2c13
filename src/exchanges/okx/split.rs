//! Splits REST responses with several markets.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::exchanges::rest::MarketResponse;

/// A list of rows, each with its market id.
pub(super) fn split_markets(body: &[u8]) -> Vec<MarketResponse<'_>> {
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
        let body = format!("{{\"code\":\"0\",\"data\":[{row}]}}").into_bytes().into();
        Some(MarketResponse { native: Some(name), body })
    };
    all.into_iter().filter_map(rebuild).collect()
}
