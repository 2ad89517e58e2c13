//! A fake exchange with the part of the OKX protocol that listings and tickers need.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use candlewick::clock::Clock;
use futures_util::{SinkExt, StreamExt};
use poem::listener::TcpAcceptor;
use poem::{Route, Server, handler};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

const ASSETS: [&str; 10] = ["BTC", "ETH", "SOL", "XRP", "ADA", "DOGE", "LINK", "AVAX", "DOT", "LTC"];

/// Ticks per second, and how long they are sent.
pub const TICKS_PER_SECOND: f64 = 10_000.0;
pub const RUN_TIME: Duration = Duration::from_secs(5);

pub fn symbols() -> Vec<String> {
    ASSETS.map(|asset| format!("{asset}/USDT")).to_vec()
}

#[handler]
fn instruments() -> String {
    let listed = ASSETS.map(|asset| {
        json!({"instType": "SPOT", "instId": format!("{asset}-USDT"), "baseCcy": asset, "quoteCcy": "USDT", "state": "live",
            "tickSz": "0.1", "lotSz": "0.00000001"})
    });
    json!({"code": "0", "msg": "", "data": listed}).to_string()
}

#[handler]
fn empty_response() -> &'static str {
    "{\"code\":\"0\",\"msg\":\"\",\"data\":[]}"
}

/// Starts the REST server and returns its address.
pub fn start_rest() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("an address");
    let route = Route::new().at("/api/v5/public/instruments", instruments).at("/*rest", empty_response);
    let acceptor = TcpAcceptor::from_std(listener).expect("a socket");
    tokio::task::spawn_local(Server::new_with_acceptor(acceptor).run(route));
    address.to_string()
}

/// Starts the WebSocket server and returns its address. It sends tickers once `start_ticking` is set and counts them in
/// `sent`.
pub async fn start_streams(start_ticking: Rc<Cell<bool>>, sent: Rc<Cell<u64>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(serve_stream(stream, Rc::clone(&start_ticking), Rc::clone(&sent)));
        }
    });
    address.to_string()
}

/// Acknowledges subscriptions; sends tickers if a subscription is for tickers.
async fn serve_stream(stream: TcpStream, start_ticking: Rc<Cell<bool>>, sent: Rc<Cell<u64>>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let (mut sink, mut source) = accept_async(stream).await.ok()?.split();
    let mut ticks = false;
    while !(ticks && start_ticking.get()) {
        // The timeout polls `start_ticking`.
        let Ok(message) = Clock::system().timeout(Duration::from_millis(20), source.next()).await else { continue };
        let Message::Text(text) = message?.ok()? else { continue };
        let Ok(request) = serde_json::from_str::<Value>(&text) else { continue };
        for arg in request["args"].as_array().into_iter().flatten() {
            ticks |= arg["channel"] == "tickers";
            let reply = json!({"id": request["id"], "event": "subscribe", "arg": arg, "connId": "a"});
            sink.send(Message::text(reply.to_string())).await.ok()?;
        }
    }
    let clock = Clock::system();
    let started = clock.elapsed();
    let mut count = 0_u64;
    while clock.elapsed().saturating_sub(started) < RUN_TIME {
        let due = (clock.elapsed().saturating_sub(started).as_secs_f64() * TICKS_PER_SECOND) as u64;
        for n in count..due {
            sink.feed(Message::text(tick(n as usize))).await.ok()?;
        }
        sink.flush().await.ok()?;
        sent.set(sent.get() + due - count);
        count = due;
        clock.sleep(Duration::from_millis(1)).await;
    }
    std::future::pending().await
}

/// A ticker whose price is its creation time in microseconds.
fn tick(n: usize) -> String {
    let created_at = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
    let asset = ASSETS[n % ASSETS.len()];
    format!(
        "{{\"arg\":{{\"channel\":\"tickers\",\"instId\":\"{asset}-USDT\"}},\"data\":[{{\"instType\":\"SPOT\",\"instId\":\"{asset}-USDT\",\
         \"last\":\"{}\",\"lastSz\":\"0.1\",\"askPx\":\"67012.4\",\"askSz\":\"11\",\"bidPx\":\"67012.3\",\"bidSz\":\"5\",\"open24h\":\"66000\",\
         \"high24h\":\"67500\",\"low24h\":\"65800\",\"volCcy24h\":\"1219000000.5\",\"vol24h\":\"18234.1\",\"sodUtc0\":\"66000\",\
         \"sodUtc8\":\"66000\",\"ts\":\"{}\"}}]}}",
        created_at.as_micros(),
        created_at.as_millis()
    )
}
