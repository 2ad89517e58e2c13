//! Binance spot.

use super::*;

/// Binance spot.
#[derive(Debug)]
pub struct Binance;

impl Exchange for Binance {
    fn id(&self) -> ExchangeId {
        ExchangeId::Binance
    }
    fn profile(&self) -> &Profile {
        todo!()
    }
    fn instruments(&self) -> RestCall<Vec<Instrument>> {
        todo!()
    }
    fn ticker(&self, _: &Instrument) -> Vec<RestCall<TickerPatch>> {
        todo!()
    }
    fn candles(&self, _: &CandlePage) -> Option<RestCall<Vec<Candle>>> {
        todo!()
    }
    fn connections(&self, _: &[Subscription]) -> Vec<ConnectionPlan> {
        todo!()
    }
    fn decoder(&self) -> Box<dyn FeedSession> {
        todo!()
    }
    fn guess_symbol(&self, _: &str) -> Option<Symbol> {
        todo!()
    }
}
