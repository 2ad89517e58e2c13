//! Splits REST responses with several markets.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::exchanges::rest::MarketResponse;

/// `result` is a map from market ids to data, and can have a member `last`.
pub(super) fn split_markets(body: &[u8]) -> Vec<MarketResponse<'_>> {
    #[derive(Deserialize)]
    struct ByName<'a> {
        #[serde(borrow)]
        result: BTreeMap<Cow<'a, str>, &'a RawValue>,
    }
    let all = serde_json::from_slice::<ByName<'_>>(body).map(|response| response.result).unwrap_or_default();
    let rebuild = |(name, value): (Cow<'_, str>, &RawValue)| {
        let key = serde_json::Value::String(name.clone().into_owned());
        let body = format!("{{\"error\":[],\"result\":{{{key}:{value}}}}}").into_bytes().into();
        MarketResponse { native: Some(name.into_owned()), body }
    };
    all.into_iter().filter(|(name, _)| name != "last").map(rebuild).collect()
}
