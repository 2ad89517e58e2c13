//! Questions that only a collector can answer: the ticker of a market that is not collected, and unknown candles.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tracing::Instrument as _;
use tracing::field::Empty;

use super::fill::{FillError, Filler};
use super::listing::Listed;
use crate::cache::{Answer, Asked, KeptTicker, Question, Questions, RequestError};
use crate::model::{
    CLOSING_GRACE, CoveredRange, Instrument, Knowledge, Series, Source, Symbol, Ticker, TickerPatch, TimeRange,
};
use crate::store::SeriesWrite;
use crate::telemetry::trace;
use crate::upstream::UpstreamError;

/// How many questions are worked on at a time; more wait.
const AT_A_TIME: usize = 32;

/// A ticker on its way to be numbered and kept.
pub struct AskedTicker {
    pub ticker: Ticker,
    pub kept: oneshot::Sender<KeptTicker>,
}

/// Answers questions.
pub struct Answerer {
    pub filler: Arc<Filler>,
    pub listed: watch::Receiver<Arc<Listed>>,
    /// To the publisher.
    pub tickers: mpsc::Sender<AskedTicker>,
}

impl Answerer {
    /// Answers until the questions end. Dropping the future ends the answers under way, too.
    pub async fn serve(self: Arc<Self>, mut questions: Box<dyn Questions>) {
        let places = Arc::new(Semaphore::new(AT_A_TIME));
        let mut tasks = tokio::task::JoinSet::new();
        while let Some(Asked { question, trace, answer }) = questions.next().await {
            while tasks.try_join_next().is_some() {}
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let answerer = Arc::clone(&self);
            let span = tracing::info_span!("answer", exchange = question.exchange().as_str(), trace_id = Empty);
            trace::follow(&span, trace);
            let work = async move {
                answer(answerer.answer(question).await);
                drop(place);
            };
            tasks.spawn(work.instrument(span));
        }
    }

    async fn answer(&self, question: Question) -> Result<Answer, RequestError> {
        match question {
            Question::Ticker { symbol, .. } => self.ticker(&symbol).await.map(Answer::Ticker),
            Question::Candles { series, range } => self.candles(&series, range).await.map(|()| Answer::Stored),
        }
    }

    fn instrument(&self, symbol: &Symbol) -> Result<Arc<Instrument>, RequestError> {
        self.listed.borrow().get(symbol).map(Arc::clone).ok_or(RequestError::UnknownSymbol)
    }

    async fn ticker(&self, symbol: &Symbol) -> Result<KeptTicker, RequestError> {
        let instrument = self.instrument(symbol)?;
        let Filler { exchange, rest, clock, urgency, .. } = &*self.filler;
        let mut values = TickerPatch::default();
        for call in exchange.ticker(&instrument) {
            let patch = rest.call_with(&call, *urgency).await.map_err(|error| refused(&error))?;
            patch.check(clock.now()).map_err(|error| RequestError::Failed(format!("an impossible ticker: {error}")))?;
            values.merge(&patch);
        }
        let (exchange, received_at) = (exchange.id(), clock.now());
        let ticker = Ticker { exchange, symbol: symbol.clone(), values, received_at, source: Source::Rest };
        let (kept, is_kept) = oneshot::channel();
        let ended = |_| RequestError::Offline;
        self.tickers.send(AskedTicker { ticker, kept }).await.map_err(|_| RequestError::Offline)?;
        is_kept.await.map_err(ended)
    }

    async fn candles(&self, series: &Series, range: TimeRange) -> Result<(), RequestError> {
        let instrument = self.listed.borrow().get_or_gone(&series.symbol).map(Arc::clone);
        let instrument = instrument.ok_or(RequestError::UnknownSymbol)?;
        match self.filler.fill(series, &instrument, range).await {
            // What the exchange does not show yet is not an error: the ledger says that it is unknown.
            Ok(()) | Err(FillError::Late { .. }) => Ok(()),
            Err(error) if error.is_final() && instrument.is_delisted() => self.give_up(series, range).await,
            Err(FillError::Upstream(error)) => Err(refused(&error)),
            Err(error) => Err(RequestError::Failed(error.to_string())),
        }
    }

    /// What the exchange refuses twice of a market that it trades no longer is not asked for again.
    async fn give_up(&self, series: &Series, range: TimeRange) -> Result<(), RequestError> {
        let now = self.filler.exchange_clock.now();
        let closed = series.interval.shrink(TimeRange::new(range.start(), range.end().min(now - CLOSING_GRACE)));
        let refused = CoveredRange { range: closed, state: Knowledge::Unavailable };
        let claims = self.filler.suspects.answered(series, refused, None, now).ranges().to_vec();
        if claims.is_empty() {
            return Ok(());
        }
        let lost = SeriesWrite { series: series.clone(), candles: Vec::new(), claims };
        self.filler.writer.write(lost).await.map_err(|error| RequestError::Failed(error.to_string()))
    }
}

fn refused(error: &UpstreamError) -> RequestError {
    use crate::exchanges::ReplyErrorKind;
    match error {
        UpstreamError::HeldBack { until, .. } => RequestError::RateLimited(*until),
        UpstreamError::Reply { error, .. } if error.kind == ReplyErrorKind::UnknownSymbol => {
            RequestError::UnknownSymbol
        }
        other => RequestError::Failed(other.to_string()),
    }
}
