//! `WS /ws/subscribe/{symbol}` and `WS /ws/realtime`: the plain ticker of one market, at once and at every change.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use poem::web::{Data, Path, Query};
use poem::{Request, Response, handler};
use serde::Deserialize;

use super::feed::{Begin, Feed, Outlet, Snapshot};
use super::find::Found;
use super::line::{Line, Lost, Turn};
use super::upgrade::open;
use crate::api::Doors;
use crate::api::access::Client;
use crate::api::problem::Problem;
use crate::hub::{Frame, SlotId};
use crate::market::MarketError;
use crate::model::Topic;

/// How often the client is looked after.
const BEAT: Duration = Duration::from_secs(10);

/// What a socket's URL says beside its path.
#[derive(Deserialize)]
pub struct Asked {
    exchange: Option<String>,
    symbol: Option<String>,
}

/// `WS /ws/subscribe/{symbol}`
#[handler]
pub async fn subscribe(
    request: &Request,
    Data(doors): Data<&Arc<Doors>>,
    Data(client): Data<&Client>,
    Path(symbol): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    one(request, doors, client, asked.exchange.as_deref(), &symbol).await
}

/// `WS /ws/realtime`
#[handler]
pub async fn realtime(
    request: &Request,
    Data(doors): Data<&Arc<Doors>>,
    Data(client): Data<&Client>,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    one(request, doors, client, asked.exchange.as_deref(), &asked.symbol.unwrap_or_default()).await
}

async fn one(
    request: &Request,
    doors: &Arc<Doors>,
    client: &Client,
    exchange: Option<&str>,
    symbol: &str,
) -> Result<Response, Problem> {
    let listed = doors.market.find(exchange, symbol).await?;
    // What was listed once has a history, but nothing that could be listened to.
    if listed.instrument.is_delisted()
        && let Err(error @ MarketError::UnknownSymbol(_)) = doors.market.ticker(&listed, &client.id()).await
    {
        return Err(error.into());
    }
    let (own, id) = (Arc::clone(doors), client.id());
    open(request, doors, client, BEAT, |line| async move {
        let topic = Topic::Ticker { exchange: listed.exchange, symbol: listed.instrument.symbol.clone() };
        // Without a seat there is nothing to tell.
        let Ok(seat) = own.hub.enter(&topic).await else { return };
        let mut feed = Feed::new(&own, "kept", id);
        let mut out = Plain(line);
        let added = feed.add(Found { listed, seat });
        feed.begin(added, &Begin { snapshot: 1, resume: None }, &mut out);
        // It ends when the client is gone: nobody is left to be told.
        let Err(Lost) = run(feed, out).await;
    })
}

async fn run(mut feed: Feed, mut out: Plain) -> Result<Infallible, Lost> {
    loop {
        feed.gather(out.0.room(), &mut out);
        // What a client says here has no meaning.
        if let Turn::Other(Some(made)) = out.0.turn(feed.ready()).await? {
            feed.finish(made, &mut out);
        }
    }
}

/// The data alone. A ticker's gap is told by the next ticker.
struct Plain(Line);

impl Outlet for Plain {
    fn frame(&mut self, _: SlotId, frame: &Frame) {
        if !frame.is_gap() {
            self.0.framed(frame.framed_payload());
        }
    }

    fn snapshot(&mut self, snapshot: Snapshot<'_>) {
        for data in snapshot.data {
            self.0.text(data);
        }
    }

    fn text(&mut self, _: &[u8]) {}
}
