//! An exchange that speaks as much of OKX' dialect as is needed to be listed and to tick.

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

/// How many ticks a second, and for how long.
pub const RATE: f64 = 10_000.0;
pub const LASTS: Duration = Duration::from_secs(5);

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
fn nothing() -> &'static str {
    "{\"code\":\"0\",\"msg\":\"\",\"data\":[]}"
}

/// Serves REST; gives its address.
pub fn rest() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("an address");
    let route = Route::new().at("/api/v5/public/instruments", instruments).at("/*rest", nothing);
    let acceptor = TcpAcceptor::from_std(listener).expect("a socket");
    tokio::task::spawn_local(Server::new_with_acceptor(acceptor).run(route));
    address.to_string()
}

/// Serves streams, which tick once `go` says so; gives its address. `sent` counts the ticks.
pub async fn streams(go: Rc<Cell<bool>>, sent: Rc<Cell<u64>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(stream_to(stream, Rc::clone(&go), Rc::clone(&sent)));
        }
    });
    address.to_string()
}

/// Confirms what is subscribed to; ticks if that has to do with tickers.
async fn stream_to(stream: TcpStream, go: Rc<Cell<bool>>, sent: Rc<Cell<u64>>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let (mut sink, mut source) = accept_async(stream).await.ok()?.split();
    let mut ticks = false;
    while !(ticks && go.get()) {
        // Looks up now and then whether it is time to tick.
        let Ok(message) = Clock::system().timeout(Duration::from_millis(20), source.next()).await else { continue };
        let Message::Text(text) = message?.ok()? else { continue };
        let Ok(request) = serde_json::from_str::<Value>(&text) else { continue };
        for arg in request["args"].as_array().into_iter().flatten() {
            ticks |= arg["channel"] == "tickers";
            let answer = json!({"id": request["id"], "event": "subscribe", "arg": arg, "connId": "a"});
            sink.send(Message::text(answer.to_string())).await.ok()?;
        }
    }
    let clock = Clock::system();
    let begun = clock.elapsed();
    let mut count = 0_u64;
    while clock.elapsed().saturating_sub(begun) < LASTS {
        let due = (clock.elapsed().saturating_sub(begun).as_secs_f64() * RATE) as u64;
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

/// A ticker whose price is the time at which it was made, in microseconds.
fn tick(n: usize) -> String {
    let made = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
    let asset = ASSETS[n % ASSETS.len()];
    format!(
        "{{\"arg\":{{\"channel\":\"tickers\",\"instId\":\"{asset}-USDT\"}},\"data\":[{{\"instType\":\"SPOT\",\"instId\":\"{asset}-USDT\",\
         \"last\":\"{}\",\"lastSz\":\"0.1\",\"askPx\":\"67012.4\",\"askSz\":\"11\",\"bidPx\":\"67012.3\",\"bidSz\":\"5\",\"open24h\":\"66000\",\
         \"high24h\":\"67500\",\"low24h\":\"65800\",\"volCcy24h\":\"1219000000.5\",\"vol24h\":\"18234.1\",\"sodUtc0\":\"66000\",\
         \"sodUtc8\":\"66000\",\"ts\":\"{}\"}}]}}",
        made.as_micros(),
        made.as_millis()
    )
}
