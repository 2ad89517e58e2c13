//! Arguments that are exchanges.

use crate::model::ExchangeId;

/// Help text of an argument that is an exchange: lists the ids.
pub fn exchange_help(text: &str) -> String {
    format!("{text}: {}", ExchangeId::all().map(ExchangeId::as_str).collect::<Vec<_>>().join(", "))
}
