//! The legacy sockets `/ws/subscribe/{symbol}` and `/ws/realtime`: the plain ticker of one market, sent once after
//! connecting and after every change.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use poem::web::{Data, Path, Query};
use poem::{Request, Response, handler};
use serde::Deserialize;

use super::client_feed::{ClientFeed, SubscribeOptions};
use super::client_socket::{ClientSocket, Disconnected, SocketEvent};
use super::frame_sink::{FrameSink, Snapshot};
use super::resolve::ResolvedTopic;
use super::upgrade::upgrade;
use crate::api::access::Client;
use crate::api::problem::Problem;
use crate::api::state::AppState;
use crate::hub::{Frame, SlotId};
use crate::market::MarketError;
use crate::model::Topic;

/// Interval of the liveness checks of a client.
const PING_CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// The query parameters.
#[derive(Deserialize)]
pub struct LegacyQuery {
    exchange: Option<String>,
    symbol: Option<String>,
}

/// `WS /ws/subscribe/{symbol}`
#[handler]
pub async fn subscribe(
    request: &Request,
    Data(state): Data<&Arc<AppState>>,
    Data(client): Data<&Client>,
    Path(symbol): Path<String>,
    Query(query): Query<LegacyQuery>,
) -> Result<Response, Problem> {
    serve_ticker(request, state, client, query.exchange.as_deref(), &symbol).await
}

/// `WS /ws/realtime`
#[handler]
pub async fn realtime(
    request: &Request,
    Data(state): Data<&Arc<AppState>>,
    Data(client): Data<&Client>,
    Query(query): Query<LegacyQuery>,
) -> Result<Response, Problem> {
    serve_ticker(request, state, client, query.exchange.as_deref(), &query.symbol.unwrap_or_default()).await
}

async fn serve_ticker(
    request: &Request,
    state: &Arc<AppState>,
    client: &Client,
    exchange: Option<&str>,
    symbol: &str,
) -> Result<Response, Problem> {
    let listed = state.market.find(exchange, symbol).await?;
    // A delisted market has a history but no stream.
    if listed.instrument.is_delisted()
        && let Err(error @ MarketError::UnknownSymbol(_)) = state.market.ticker(&listed, &client.id()).await
    {
        return Err(error.into());
    }
    let (owned_state, id) = (Arc::clone(state), client.id());
    upgrade(request, state, client, PING_CHECK_INTERVAL, |socket| async move {
        let topic = Topic::Ticker { exchange: listed.exchange, symbol: listed.instrument.symbol.clone() };
        // The hub is at its topic limit: close the socket.
        let Ok(subscription) = owned_state.hub.subscribe(&topic).await else { return };
        let mut feed = ClientFeed::new(&owned_state, "kept", id);
        let mut out = PayloadSink(socket);
        let added = feed.add(ResolvedTopic { listed, subscription });
        feed.start_topic(added, &SubscribeOptions { snapshot: 1, resume: None }, &mut out);
        // The session ends only when the client disconnects.
        let Err(Disconnected) = run(feed, out).await;
    })
}

async fn run(mut feed: ClientFeed, mut out: PayloadSink) -> Result<Infallible, Disconnected> {
    loop {
        feed.write_ready(out.0.remaining_capacity(), &mut out);
        // Messages of the client are ignored.
        if let SocketEvent::Other(Some(result)) = out.0.next_event(feed.ready()).await? {
            feed.deliver_snapshot(result, &mut out);
        }
    }
}

/// Sends the payloads alone. Gaps are omitted, because the next ticker replaces them.
struct PayloadSink(ClientSocket);

impl FrameSink for PayloadSink {
    fn frame(&mut self, _: SlotId, frame: &Frame) {
        if !frame.is_gap() {
            self.0.push_frame(frame.ws_payload_frame());
        }
    }

    fn snapshot(&mut self, snapshot: Snapshot<'_>) {
        for data in snapshot.data {
            self.0.push_text(data);
        }
    }

    fn text(&mut self, _: &[u8]) {}
}
