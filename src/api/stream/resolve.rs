//! Resolves the symbols that a client names to topics of the hub.

use std::sync::Arc;

use futures_util::{StreamExt, stream};

use crate::api::problem::{Code, Problem};
use crate::api::state::AppState;
use crate::hub::Subscription;
use crate::market::{ListedMarket, MarketError};
use crate::model::{Channel, Interval, Series, Topic};

/// Maximum number of topics of one request that are subscribed concurrently.
const MAX_CONCURRENT_SUBSCRIBES: usize = 32;

/// A resolved topic with its subscription, which receives events from now on.
pub struct ResolvedTopic {
    pub listed: ListedMarket,
    pub subscription: Subscription,
}

/// A symbol that was rejected.
pub struct RejectedTopic {
    /// The symbol as the client sent it.
    pub symbol: String,
    reason: RejectReason,
}

/// Why a topic was rejected.
enum RejectReason {
    Problem(Problem),
    /// The connection or this replica has reached its maximum number of topics.
    TooManyTopics,
    /// The exchange has reached `collect.on_demand_symbols`.
    TooManySymbols,
}

impl RejectedTopic {
    /// The code of a problem, or a code that only streams use.
    pub const fn code(&self) -> &'static str {
        match &self.reason {
            RejectReason::Problem(problem) => problem.code.as_str(),
            RejectReason::TooManyTopics => "too_many_topics",
            RejectReason::TooManySymbols => "too_many_symbols",
        }
    }

    /// The problem response, if the topic was the whole request.
    pub fn into_problem(self) -> Problem {
        let code = self.code();
        match self.reason {
            RejectReason::Problem(problem) => problem,
            RejectReason::TooManyTopics | RejectReason::TooManySymbols => {
                Problem::new(Code::NotReady, format!("cannot subscribe to {} now: {code}", self.symbol))
            }
        }
    }
}

/// The task yields after looking up this many symbols, so that other clients are served.
const SYMBOLS_PER_YIELD: usize = 16;

/// A request for topics of one channel and exchange.
pub struct TopicRequest {
    pub channel: Channel,
    pub exchange: Option<String>,
    pub symbols: Vec<String>,
    /// The interval, for candles.
    pub interval: Interval,
    /// Maximum number of topics; further symbols are rejected.
    pub max_topics: usize,
    /// Whether a problem suggests similar symbols. Not for lists: suggestions take work, and list replies omit them.
    pub hint: bool,
}

/// Resolves topics and subscribes to them, in the order of the symbols.
pub async fn resolve(state: Arc<AppState>, request: TopicRequest) -> Vec<Result<ResolvedTopic, RejectedTopic>> {
    let TopicRequest { channel, exchange, symbols, interval, max_topics, hint } = request;
    let mut results = Vec::with_capacity(symbols.len());
    // Number of resolved markets that are not collected yet; the collector's capacity for them is limited.
    let mut uncollected = 0;
    for (index, symbol) in symbols.into_iter().enumerate() {
        if index % SYMBOLS_PER_YIELD == SYMBOLS_PER_YIELD - 1 {
            tokio::task::yield_now().await;
        }
        let resolved = if index >= max_topics {
            Err(RejectReason::TooManyTopics)
        } else {
            resolve_symbol(&state, (channel, interval), (exchange.as_deref(), &symbol), hint, &mut uncollected).await
        };
        results.push((symbol, resolved));
    }
    let subscriptions = results.into_iter().map(|(symbol, resolved)| {
        let state = &state;
        async move {
            let subscribed = match resolved {
                Ok((listed, topic)) => match state.hub.subscribe(&topic).await {
                    Ok(subscription) => Ok(ResolvedTopic { listed, subscription }),
                    Err(_) => Err(RejectReason::TooManyTopics),
                },
                Err(reason) => Err(reason),
            };
            subscribed.map_err(|reason| RejectedTopic { symbol, reason })
        }
    });
    // Collected into a `Vec`, because the compiler cannot prove that a stream of borrowing futures is `Send`.
    let subscriptions: Vec<_> = subscriptions.collect();
    stream::iter(subscriptions).buffered(MAX_CONCURRENT_SUBSCRIBES).collect().await
}

/// Resolves one symbol to a market and topic that can be subscribed to.
async fn resolve_symbol(
    state: &AppState,
    (channel, interval): (Channel, Interval),
    (exchange, symbol): (Option<&str>, &str),
    hint: bool,
    uncollected: &mut usize,
) -> Result<(ListedMarket, Topic), RejectReason> {
    let reject = |error: MarketError| RejectReason::Problem(error.into());
    let market = &state.market;
    let resolved =
        if hint { market.find(exchange, symbol).await } else { market.find_without_hint(exchange, symbol).await };
    let listed = resolved.map_err(reject)?;
    // A delisted market has a history but no stream.
    if listed.instrument.is_delisted() {
        let detail = format!("{} is delisted", listed.instrument.symbol);
        return Err(RejectReason::Problem(Problem::new(Code::UnknownSymbol, detail)));
    }
    let (exchange, symbol) = (listed.exchange, listed.instrument.symbol.clone());
    let topic = match channel {
        Channel::Ticker => Topic::Ticker { exchange, symbol },
        Channel::Trades => Topic::Trades { exchange, symbol },
        Channel::Candles => {
            state.market.check_interval(&listed, interval).await.map_err(reject)?;
            Topic::Candles(Series { exchange, symbol, interval })
        }
    };
    if let Some(capacity) = state.market.demand_capacity(&listed).await {
        *uncollected += 1;
        if *uncollected > capacity {
            return Err(RejectReason::TooManySymbols);
        }
    }
    Ok((listed, topic))
}
