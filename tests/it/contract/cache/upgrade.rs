//! Values that the previous version left in Redis. Symbols of spot markets are spelled as before, so they are read.

use std::time::Duration;

use candlewick::cache::Version;
use candlewick::model::{Candle, ExchangeId, FeedState, Interval, Series, Source, Symbol, TimeRange, Timestamp};
use fred::interfaces::{ClientLike, HashesInterface, KeysInterface, SetsInterface, SortedSetsInterface};
use fred::prelude::{Builder, Client, Config, Expiration};
use rust_decimal::Decimal;

use super::Replicas;
use crate::support::wait_until;

const BINANCE: ExchangeId = ExchangeId::BINANCE;

const TICKER: &str = r#"{"exchange":"binance","symbol":"BTC/USDT","last":67012.34,"bid":67012.33,"bid_size":1.2,"ask":67012.34,"ask_size":0.8,"open":66000,"high":67500,"low":65800,"base_volume":1834.1,"quote_volume":122900000.5,"change_percent":1.53,"timestamp":1763672340123,"received_at":1763672340187,"source":"stream","simulated":false}"#;
const CANDLE: &str = r#"{"timestamp":1763672340000,"open":1,"high":2,"low":1,"close":2,"volume":0.5,"quote_volume":null,"trades":7,"closed":true,"revision":0}"#;
const STATE: &str = r#"{"exchange":"binance","state":"live","since":1763672340000,"simulated":false,"channels":["ticker","trades","candles"],"intervals":["1m","1h"],"symbols":["BTC/USDT"],"room":3,"ended":[{"symbol":"OLD/USDT","since":1763672340000,"detail":"the exchange has delisted it"}],"connections":[],"budgets":[],"clock":null,"exchange_time":null,"listed_at":1763672340000,"detail":null}"#;

async fn connect(url: &str) -> Client {
    let client = Builder::from_config(Config::from_url(url).unwrap()).build().unwrap();
    client.init().await.unwrap();
    client
}

pub async fn values_of_previous_version_are_read(replicas: Replicas) {
    let client = connect(&replicas.url).await;
    let key = |name: &str| format!("{}:{{binance}}:{name}", replicas.prefix);
    let ticker = format!("7 42 s 1763672340187 {TICKER}");
    client.hset::<(), _, _>(key("tickers"), ("BTC/USDT", ticker)).await.unwrap();
    client.hset::<(), _, _>(key("candles:BTC/USDT:1m"), ("1763672340000", format!("7 43 1 {CANDLE}"))).await.unwrap();
    client.sadd::<(), _, _>(key("series"), "BTC/USDT:1m").await.unwrap();
    let never = 9_999_999_999_999.0;
    client.zadd::<(), _, _>(key("demand"), None, None, false, false, (never, "1000SATS/USDT")).await.unwrap();
    client.zadd::<(), _, _>(key("demand"), None, None, false, false, (never, "not a symbol")).await.unwrap();
    let day = || Some(Expiration::EX(86_400));
    client.set::<(), _, _>(key("state"), STATE, day(), None, false).await.unwrap();

    let (btc, api): (Symbol, _) = ("BTC/USDT".parse().unwrap(), &replicas.api);
    let cached = api.tickers.get(BINANCE, &btc).await.unwrap().unwrap();
    assert_eq!((cached.version, cached.ticker.source), (Version { token: 7, seq: 42 }, Source::Stream));
    assert_eq!((&cached.ticker.symbol, cached.ticker.values.last), (&btc, Some(Decimal::new(6_701_234, 2))));
    let series = Series { exchange: BINANCE, symbol: btc.clone(), interval: Interval::M1 };
    let candles = api.candles.get(&series, TimeRange::new(Timestamp::EPOCH, Timestamp::MAX)).await.unwrap();
    assert!(matches!(candles[..], [Candle { trades: Some(7), closed: true, .. }]), "{candles:?}");
    assert_eq!(api.demand.symbols(BINANCE).await.unwrap(), ["1000SATS/USDT".parse().unwrap()]);
    wait_until("the state of the previous version is read", async || {
        let state = api.states.get(BINANCE).await.unwrap();
        state.is_some_and(|state| state.state == FeedState::Live && state.symbols == [btc.clone()])
    })
    .await;

    replicas.collector.candles.clear(BINANCE).await.unwrap();
    let left: i64 = client.exists(vec![key("candles:BTC/USDT:1m"), key("series")]).await.unwrap();
    assert_eq!(left, 0, "candles of the previous version are removed");
    client.quit().await.unwrap();
}

pub async fn lease_of_previous_version_is_respected(replicas: Replicas) {
    let client = connect(&replicas.url).await;
    let key = |name: &str| format!("{}:{{collect:binance}}:{name}", replicas.prefix);
    // Greater than the time in microseconds, from which a token is at least derived.
    let token = 9_000_000_000_000_000_u64;
    for name in ["lease", "token"] {
        client.set::<(), _, _>(key(name), token.to_string(), None, None, false).await.unwrap();
    }
    let leases = &replicas.api.leases;
    let ttl = Duration::from_secs(10);
    assert_eq!(leases.acquire("collect:binance", ttl).await.unwrap(), None);
    // The previous version ends.
    client.del::<(), _>(key("lease")).await.unwrap();
    let lease = leases.acquire("collect:binance", ttl).await.unwrap().unwrap();
    assert_eq!(lease.token, token + 1, "its values replace those of the previous version");
    client.quit().await.unwrap();
}
