//! Handles requests that API processes send to the collector: tickers of markets that are not collected, and unknown
//! candles.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tracing::Instrument as _;
use tracing::field::Empty;

use super::fill::{FillError, Filler};
use super::listing::InstrumentIndex;
use crate::cache::{CachedTicker, CollectorReply, CollectorRequest, IncomingRequest, RequestError, RequestReceiver};
use crate::model::{
    CANDLE_GRACE_PERIOD, CoverageState, CoveredRange, Instrument, Series, Source, Symbol, Ticker, TickerPatch,
    TimeRange,
};
use crate::store::SeriesWrite;
use crate::telemetry::trace;
use crate::upstream::UpstreamError;

/// Maximum number of requests in progress; further requests wait.
const MAX_CONCURRENT: usize = 32;

/// A fetched ticker for the publisher, which replies with the cached ticker.
pub struct FetchedTicker {
    pub ticker: Ticker,
    pub reply: oneshot::Sender<CachedTicker>,
}

/// Handles requests to the collector of one exchange.
pub struct RequestHandler {
    pub filler: Arc<Filler>,
    pub instruments: watch::Receiver<Arc<InstrumentIndex>>,
    /// Sends fetched tickers to the publisher.
    pub tickers: mpsc::Sender<FetchedTicker>,
}

impl RequestHandler {
    /// Handles requests until `requests` ends. Dropping the future cancels requests in progress.
    pub async fn serve(self: Arc<Self>, mut requests: Box<dyn RequestReceiver>) {
        let slots = Arc::new(Semaphore::new(MAX_CONCURRENT));
        let mut tasks = tokio::task::JoinSet::new();
        while let Some(IncomingRequest { request, trace, reply }) = requests.next().await {
            while tasks.try_join_next().is_some() {}
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let handler = Arc::clone(&self);
            let span = tracing::info_span!("answer", exchange = request.exchange().as_str(), trace_id = Empty);
            trace::set_parent(&span, trace);
            let work = async move {
                reply(handler.handle(request).await);
                drop(slot);
            };
            tasks.spawn(work.instrument(span));
        }
    }

    async fn handle(&self, request: CollectorRequest) -> Result<CollectorReply, RequestError> {
        match request {
            CollectorRequest::Ticker { symbol, .. } => self.fetch_ticker(&symbol).await.map(CollectorReply::Ticker),
            CollectorRequest::Candles { series, range } => {
                self.fill_candles(&series, range).await.map(|()| CollectorReply::Stored)
            }
        }
    }

    fn instrument(&self, symbol: &Symbol) -> Result<Arc<Instrument>, RequestError> {
        self.instruments.borrow().get(symbol).map(Arc::clone).ok_or(RequestError::UnknownSymbol)
    }

    async fn fetch_ticker(&self, symbol: &Symbol) -> Result<CachedTicker, RequestError> {
        let instrument = self.instrument(symbol)?;
        let Filler { exchange, rest, clock, priority, .. } = &*self.filler;
        let mut values = TickerPatch::default();
        for call in exchange.ticker(&instrument) {
            let patch = rest.call_with_priority(&call, *priority).await.map_err(|error| request_error(&error))?;
            patch
                .check(clock.now())
                .map_err(|error| RequestError::Failed(format!("the exchange sent an invalid ticker: {error}")))?;
            values.merge(&patch);
        }
        let (exchange, received_at) = (exchange.id(), clock.now());
        let ticker = Ticker { exchange, symbol: symbol.clone(), values, received_at, source: Source::Rest };
        let (reply, response) = oneshot::channel();
        self.tickers.send(FetchedTicker { ticker, reply }).await.map_err(|_| RequestError::Offline)?;
        response.await.map_err(|_| RequestError::Offline)
    }

    async fn fill_candles(&self, series: &Series, range: TimeRange) -> Result<(), RequestError> {
        let instrument = self.instruments.borrow().get_including_former(&series.symbol).map(Arc::clone);
        let instrument = instrument.ok_or(RequestError::UnknownSymbol)?;
        match self.filler.fill(series, &instrument, range).await {
            // Candles that the exchange does not have yet are no error: they stay unknown in the ledger.
            Ok(()) | Err(FillError::TooEarly { .. }) => Ok(()),
            Err(error) if error.is_permanent() && instrument.is_delisted() => {
                self.mark_unavailable(series, range).await
            }
            Err(FillError::Upstream(error)) => Err(request_error(&error)),
            Err(error) => Err(RequestError::Failed(error.to_string())),
        }
    }

    /// The exchange rejects the request for a delisted market. When it has done so twice, the range becomes unavailable
    /// and is not requested again.
    async fn mark_unavailable(&self, series: &Series, range: TimeRange) -> Result<(), RequestError> {
        let now = self.filler.exchange_clock.now();
        let closed =
            series.interval.whole_candles(TimeRange::new(range.start(), range.end().min(now - CANDLE_GRACE_PERIOD)));
        let unavailable = CoveredRange { range: closed, state: CoverageState::Unavailable };
        let claims = self.filler.suspect_ranges.record_claim(series, unavailable, None, now).ranges().to_vec();
        if claims.is_empty() {
            return Ok(());
        }
        let write = SeriesWrite { series: series.clone(), candles: Vec::new(), claims };
        self.filler.writer.write(write).await.map_err(|error| RequestError::Failed(error.to_string()))
    }
}

fn request_error(error: &UpstreamError) -> RequestError {
    use crate::exchanges::RestErrorKind;
    match error {
        UpstreamError::Deferred { until, .. } => RequestError::RateLimited(*until),
        UpstreamError::ErrorResponse { error, .. } if error.kind == RestErrorKind::UnknownSymbol => {
            RequestError::UnknownSymbol
        }
        other => RequestError::Failed(other.to_string()),
    }
}
