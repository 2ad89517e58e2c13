//! The registry of the simulated exchanges. No exchange imports it.

use std::sync::Arc;

use super::exchange::SimulatedExchange;
use super::rest::Query;
use super::shared::Shared;
use super::socket::StreamProtocol;

macro_rules! simulated_exchanges {
    ($($constant:ident $id:ident $name:literal;)*) => {
        /// The simulated exchanges of the table in `venues.rs`, in registry order.
        pub static EXCHANGES: &[&dyn SimulatedExchange] = &[$(&super::$id::Simulated),*];
    };
}

venues!(simulated_exchanges);

/// The exchange that serves a REST path.
pub fn by_rest_path(path: &str) -> Option<&'static dyn SimulatedExchange> {
    let matching = EXCHANGES.iter().copied().filter(|exchange| path.starts_with(exchange.rest_prefix()));
    matching.max_by_key(|exchange| exchange.rest_prefix().len())
}

/// The exchange's side of a new WebSocket connection. `None` if no exchange has the path.
pub fn connect(shared: &Arc<Shared>, path: &str, query: &Query) -> Option<Box<dyn StreamProtocol>> {
    EXCHANGES.iter().find_map(|exchange| exchange.connect(Arc::clone(shared), path, query))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ExchangeId;

    #[test]
    fn each_line_of_the_table_has_its_own_exchange() {
        assert!(EXCHANGES.iter().map(|exchange| exchange.id()).eq(ExchangeId::all()));
        for exchange in EXCHANGES {
            let found = by_rest_path(&format!("{}path", exchange.rest_prefix())).map(SimulatedExchange::id);
            assert_eq!(found, Some(exchange.id()));
        }
    }
}
