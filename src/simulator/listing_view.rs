//! The effect of faults on listings.

use std::borrow::Cow;

use crate::model::{ExchangeId, Timestamp};

use super::catalog::Listing;
use super::faults::FaultKind;
use super::market::Market;
use super::shared::Shared;

/// State of the listing faults at one time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ListingView {
    /// All markets are listed as halted.
    halted: bool,
    /// Most markets are missing.
    empty: bool,
    /// The listing has rows that violate the documentation.
    odd: bool,
}

impl ListingView {
    /// The listing faults that apply to a request at `now`.
    pub fn now(shared: &Shared, exchange: ExchangeId, now: i64) -> Self {
        let trigger = |kind| shared.faults.trigger(exchange, kind, Timestamp::from_millis(now));
        Self {
            halted: trigger(FaultKind::Halted),
            empty: trigger(FaultKind::EmptyListing),
            odd: trigger(FaultKind::OddListing),
        }
    }

    /// The rows of a listing. `write` writes a row, halted or not. `state` names the member with the trading state.
    /// `invalid_rows` violate the documentation.
    pub fn rows(
        self,
        market: &Market,
        exchange: ExchangeId,
        write: impl Fn(&Listing, bool) -> String,
        state: &str,
        invalid_rows: &[&'static str],
    ) -> Vec<Cow<'static, str>> {
        let listed = market.listings(exchange).filter(|listing| !self.empty || listing.index % 20 == 19);
        let mut rows: Vec<Cow<'static, str>> = listed
            .map(|listing| {
                let halted = self.halted || listing.halted;
                match listing.generated {
                    Some(generated) => {
                        generated.rows[usize::from(halted)].get_or_init(|| write(listing, halted)).as_str().into()
                    }
                    None => write(listing, halted).into(),
                }
            })
            .collect();
        if self.odd {
            // Also breaks the row of a market that may be collected.
            if let Some(second) = rows.get_mut(1)
                && let Ok(mut row) = serde_json::from_str::<serde_json::Value>(second)
            {
                row[state] = serde_json::json!([]);
                *second = row.to_string().into();
            }
            rows.extend(invalid_rows.iter().map(|row| Cow::Borrowed(*row)));
        }
        rows
    }
}
