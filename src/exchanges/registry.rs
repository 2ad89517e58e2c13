//! The registry of all adapters. No adapter imports it.

use super::adapter::Exchange;
use super::binance::Binance;
use super::bybit::Bybit;
use super::coinbase::Coinbase;
use super::kraken::Kraken;
use super::okx::Okx;
use crate::model::ExchangeId;

/// The adapter of an exchange.
#[must_use]
pub fn exchange(id: ExchangeId) -> &'static dyn Exchange {
    match id {
        ExchangeId::Binance => &Binance,
        ExchangeId::Kraken => &Kraken,
        ExchangeId::Coinbase => &Coinbase,
        ExchangeId::Okx => &Okx,
        ExchangeId::Bybit => &Bybit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchanges::rest::RestErrorKind::{Banned, RateLimited, RegionBlocked, Unavailable};
    use crate::exchanges::testing::{FIREWALL_PAGE, REGION_BLOCK_PAGE, error_kind};

    #[test]
    fn status_determines_kind_without_api_error() {
        for id in ExchangeId::ALL {
            let kind = |status, body| error_kind(exchange(id), status, body);
            for status in [400, 401, 404, 405, 410, 422] {
                for body in
                    ["", "<html>404 Not Found</html>", "null", "{}", "[]", "{\"message\":\"no healthy upstream\"}"]
                {
                    assert_eq!(kind(status, body), Unavailable, "{id} {status} {body}");
                }
            }
            for (status, body, expected) in [
                (403, REGION_BLOCK_PAGE, RegionBlocked),
                (418, "", Banned),
                (429, "<html>error code: 1015</html>", RateLimited),
                (451, FIREWALL_PAGE, RegionBlocked),
                (502, FIREWALL_PAGE, Unavailable),
                (520, "", Unavailable),
            ] {
                assert_eq!(kind(status, body), expected, "{id} {status} {body}");
            }
        }
    }
}
