//! The registry of all adapters. No adapter imports it.

use super::adapter::Exchange;
use crate::model::ExchangeId;

macro_rules! adapters {
    ($($constant:ident $id:ident $name:literal;)*) => {
        /// The adapters of the table in `venues.rs`.
        static ADAPTERS: &[&dyn Exchange] = &[$(&super::$id::Adapter),*];
    };
}

venues!(adapters);

/// The adapter of an exchange. `None` for exchanges that are registered without one; see [`NoAdapter`].
#[must_use]
pub fn exchange(id: ExchangeId) -> Option<&'static dyn Exchange> {
    ADAPTERS.iter().copied().find(|adapter| adapter.id() == id)
}

/// An exchange has no adapter, so that candlewick cannot connect to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("candlewick has no adapter for the exchange `{0}`; choose one of {known}", known = ids().join(", "))]
pub struct NoAdapter(pub ExchangeId);

fn ids() -> Vec<&'static str> {
    ADAPTERS.iter().map(|adapter| adapter.id().as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchanges::response::RestErrorKind::{Banned, RateLimited, RegionBlocked, Unavailable};
    use crate::exchanges::testing::{FIREWALL_PAGE, REGION_BLOCK_PAGE, error_kind};

    #[test]
    fn each_line_of_the_table_has_its_own_adapter() {
        assert!(ADAPTERS.iter().map(|adapter| adapter.id()).eq(ExchangeId::all()));
        assert_eq!(exchange(ExchangeId::KRAKEN).map(Exchange::id), Some(ExchangeId::KRAKEN));
    }

    #[test]
    fn status_determines_kind_without_api_error() {
        for adapter in ADAPTERS {
            let (id, kind) = (adapter.id(), |status, body| error_kind(*adapter, status, body));
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
