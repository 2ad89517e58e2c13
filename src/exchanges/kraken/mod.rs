//! Kraken spot.

use super::*;

/// Kraken spot.
#[derive(Debug)]
pub struct Kraken;

impl Exchange for Kraken {
    fn id(&self) -> ExchangeId {
        ExchangeId::Kraken
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
