//! The markets that a collector collects: listings, demand, start and stop.

use std::sync::Arc;

use super::super::finalizer::CandleFinalizer;
use super::super::reconcile::CollectedMarket;
use super::silence::SilenceMonitor;
use super::{Collector, MarketState, minute_series};
use crate::exchanges::Subscription;
use crate::model::{Instrument, Interval, Symbol, TimeRange};
use crate::telemetry::collect::SymbolEnded;
use crate::telemetry::listing::MarketRenamed;

impl Collector<'_> {
    /// Applies a new listing: stops markets that are no longer listed, adds configured markets that are not collected
    /// yet, and restarts markets with a new id.
    pub fn apply_listing(&mut self) {
        let index = Arc::clone(&self.instruments.borrow_and_update());
        let exchange = self.spec.exchange.id();
        let is_new = |symbol: &&Symbol| !self.markets.contains_key(*symbol);
        let (mut instruments, mut missing) = (Vec::new(), Vec::new());
        for symbol in self.spec.symbols.iter().filter(is_new).chain(self.markets.keys()) {
            match index.collectable(symbol) {
                Ok(instrument) => instruments.push(Arc::clone(instrument)),
                Err(why) => missing.push((symbol.clone(), why)),
            }
        }
        let [mut new, mut new_on_demand] = [Vec::new(), Vec::new()];
        for instrument in instruments {
            let Some(market) = self.markets.get_mut(&instrument.symbol) else {
                new.push(instrument);
                continue;
            };
            let (from, to) = (market.instrument.stream_name(), instrument.stream_name());
            if from == to && market.instrument.native == instrument.native {
                market.instrument = instrument;
                continue;
            }
            MarketRenamed { exchange, symbol: &instrument.symbol, from, to }.emit();
            let added = if market.on_demand { &mut new_on_demand } else { &mut new };
            added.push(Arc::clone(&instrument));
            self.stop_market(&instrument.symbol);
        }
        for (symbol, why) in &missing {
            if self.status_reporter.is_unreported(symbol, why) {
                SymbolEnded { exchange, symbol, why }.emit();
            }
            self.stop_market(symbol);
        }
        self.status_reporter.set_listing(index.stored.then_some(index.read_at), missing);
        self.add_markets(new, false);
        if !new_on_demand.is_empty() {
            self.add_markets(new_on_demand, true);
        }
    }

    /// Stops the collection of a market.
    pub(super) fn stop_market(&mut self, symbol: &Symbol) {
        if let Some(market) = self.markets.remove(symbol) {
            self.repair_queue.cancel(&minute_series(&market.instrument));
            self.publisher.remove_market(symbol);
            self.connections.remove(symbol);
            self.rejected.retain(|(_, one)| one.instrument.symbol != *symbol);
            self.send_markets();
        }
    }

    /// Starts the collection of markets.
    pub(super) fn add_markets(&mut self, instruments: Vec<Arc<Instrument>>, on_demand: bool) {
        let now = self.exchange_now();
        let profile = self.spec.exchange.profile();
        let mut subscriptions = Vec::new();
        for instrument in instruments {
            let minutes = self.spec.context.limits.history_minutes;
            let past = TimeRange::new(Interval::M1.back(now, minutes), Interval::M1.floor(now));
            self.repair_queue.request(minute_series(&instrument), &instrument, past);
            subscriptions.extend(
                profile
                    .channels
                    .iter()
                    .map(|channel| Subscription { channel: *channel, instrument: Arc::clone(&instrument) }),
            );
            let finalizer = CandleFinalizer::new(profile.minute_candles, now);
            self.markets.insert(
                instrument.symbol.clone(),
                MarketState { instrument, finalizer, on_demand, silence: SilenceMonitor::default() },
            );
        }
        self.connections.add(subscriptions);
        self.send_markets();
    }

    /// Sends the collected markets to the reconciler.
    pub(super) fn send_markets(&self) {
        let collected = |market: &MarketState| CollectedMarket {
            instrument: Arc::clone(&market.instrument),
            configured: !market.on_demand,
        };
        self.collected_markets.send_replace(self.markets.values().map(collected).collect());
    }

    /// Starts the collection of markets that clients subscribe to, and stops it when they no longer do.
    pub(super) fn apply_demand(&mut self) {
        let Some(demand) = self.demand.borrow_and_update().clone() else { return };
        let mut capacity = self.on_demand_capacity();
        let unwanted: Vec<Symbol> = self
            .markets
            .iter()
            .filter(|(symbol, market)| market.on_demand && !demand.contains(symbol))
            .map(|(symbol, _)| symbol.clone())
            .collect();
        for symbol in unwanted {
            self.stop_market(&symbol);
            capacity += 1;
        }
        let index = Arc::clone(&self.instruments.borrow());
        let new = demand.iter().filter(|symbol| !self.markets.contains_key(*symbol));
        let new: Vec<_> =
            new.filter_map(|symbol| index.collectable(symbol).ok()).take(capacity).map(Arc::clone).collect();
        if !new.is_empty() {
            self.add_markets(new, true);
        }
    }

    /// How many more markets can be collected on demand.
    pub(super) fn on_demand_capacity(&self) -> usize {
        let on_demand = self.markets.values().filter(|market| market.on_demand).count();
        self.spec.context.limits.on_demand_symbols.saturating_sub(on_demand)
    }
}
