//! What the tests of the whole share: a service in this process, against a simulator on loopback, on one clock.

pub mod failover;
pub mod listener;
pub mod process;
pub mod proxy;
pub mod schema;
pub mod servers;

use std::net::SocketAddr;
use std::time::Duration;

use candlewick::app::App;
use candlewick::clock::Clock;
use candlewick::config::Config;
use candlewick::lifecycle::{Lifecycle, Phase};
use candlewick::model::{Candle, ExchangeId, Interval, Symbol, TimeRange, Timestamp};
use candlewick::simulator::{Fault, FaultKind, MAX_MARKETS, Simulator, SimulatorConfig};
use candlewick::upstream::install_crypto;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long a condition may take on the machine's own clock.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A minute of the market in a second of the test.
pub const SPEED: f64 = 60.0;

/// What exchanges do on any day: closing frames come late, quiet minutes end without one, and Coinbase's REST interface
/// is behind its streams.
fn everyday() -> Vec<Fault> {
    let always = |exchange, fault| Fault { exchange, after_ms: 0, fault, for_ms: 30 * 24 * 3_600_000 };
    let each = ExchangeId::ALL.into_iter();
    each.flat_map(|exchange| [always(exchange, FaultKind::LateClose), always(exchange, FaultKind::NoClose)])
        .chain([always(ExchangeId::Coinbase, FaultKind::RestLag)])
        .collect()
}

/// A market that is collected of each exchange.
pub fn markets() -> impl Iterator<Item = (ExchangeId, &'static str)> {
    ExchangeId::ALL.into_iter().map(|exchange| {
        let symbol = match exchange {
            ExchangeId::Binance | ExchangeId::Okx | ExchangeId::Bybit => "BTC/USDT",
            ExchangeId::Kraken | ExchangeId::Coinbase => "BTC/USD",
        };
        (exchange, symbol)
    })
}

/// A simulator that stands in for the world outside: each exchange lists 3,000 markets, closes come late or not at all.
pub struct World {
    pub clock: Clock,
    pub simulator: Simulator,
    pub address: SocketAddr,
    stop: CancellationToken,
}

impl World {
    pub async fn new() -> Self {
        Self::paced(SPEED).await
    }

    /// Slower than most, where a deadline of the market must not pass because the machine is busy.
    pub async fn paced(speed: f64) -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").await.unwrap(), Clock::scaled(speed))
    }

    /// Where all closes come in time, so that no candle is asked for: for tests that count requests.
    pub async fn prompt(speed: f64) -> Self {
        Self::made(TcpListener::bind("127.0.0.1:0").await.unwrap(), Clock::scaled(speed), Vec::new())
    }

    pub fn at(listener: TcpListener, clock: Clock) -> Self {
        Self::made(listener, clock, everyday())
    }

    fn made(listener: TcpListener, clock: Clock, faults: Vec<Fault>) -> Self {
        install_crypto();
        let address = listener.local_addr().unwrap();
        let config = SimulatorConfig { seed: 7, faults, markets: MAX_MARKETS };
        let simulator = Simulator::new(config, clock.clone());
        let stop = CancellationToken::new();
        let (serving, stopped) = (simulator.clone(), stop.clone());
        tokio::spawn(async move { serving.serve(listener, stopped).await.unwrap() });
        Self { clock, simulator, address, stop }
    }

    /// The configuration of a service that collects it.
    pub fn config(&self) -> String {
        let (rest, ws) = (format!("http://{}", self.address), format!("ws://{}", self.address));
        let exchange = |id| format!("[exchanges.{id}]\nrest_url = \"{rest}\"\nws_url = \"{ws}\"\n");
        format!("data = \"live\"\n{}", ExchangeId::ALL.map(exchange).concat())
    }

    /// A fault that begins now.
    pub fn fault(&self, exchange: ExchangeId, fault: FaultKind, lasts: Duration) {
        let for_ms = u64::try_from(lasts.as_millis()).unwrap();
        self.simulator.inject(Fault { exchange, after_ms: 0, fault, for_ms });
    }

    /// What really was traded, as the exchange itself says.
    pub fn truth(&self, exchange: ExchangeId, symbol: &str, range: TimeRange) -> Vec<Candle> {
        let symbol: Symbol = symbol.parse().unwrap();
        self.simulator.market().candles(exchange, &symbol, Interval::M1, range)
    }

    pub async fn pass(&self, time: Duration) {
        self.clock.sleep(time).await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A service under test.
pub struct Service {
    pub base: String,
    pub life: Lifecycle,
    pub http: reqwest::Client,
    pub folder: tempfile::TempDir,
    running: tokio::task::JoinHandle<bool>,
}

impl Service {
    /// A live service against `world`, which has read all listings.
    pub async fn live(world: &World) -> Self {
        Self::live_with(world, "").await
    }

    /// The same, with more configuration.
    pub async fn live_with(world: &World, toml: &str) -> Self {
        Self::live_by(world, toml, world.clock.clone()).await
    }

    /// The same on a clock of its own.
    pub async fn live_by(world: &World, toml: &str, clock: Clock) -> Self {
        let service = Self::start(&format!("{}\n{toml}", world.config()), clock).await;
        for exchange in ExchangeId::ALL {
            let path = format!("/v1/instruments?exchange={exchange}&limit=1");
            until(&format!("the listing of {exchange} is read"), async || service.get(&path).await.0 == 200).await;
        }
        service
    }

    /// A service with this configuration beside its own store and port, ready.
    pub async fn start(toml: &str, clock: Clock) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = format!("[store]\nurl = \"sqlite://{}/candles.db\"\n", folder.path().display());
        Self::run(&format!("{toml}\n{store}"), folder, clock).await
    }

    /// The same on the store that the configuration names.
    pub async fn on(toml: &str, clock: Clock) -> Self {
        Self::run(toml, tempfile::tempdir().unwrap(), clock).await
    }

    async fn run(toml: &str, folder: tempfile::TempDir, clock: Clock) -> Self {
        install_crypto();
        // Tests ask a lot, and in a time-lapse.
        let limits = if toml.contains("[limits]") { "" } else { "[limits]\nper_minute = 0\n" };
        let config = Config::from_toml(&format!("{toml}\n{limits}[server]\nlisten = \"127.0.0.1:0\"\n")).unwrap();
        let life = Lifecycle::default();
        let app = App::start(config, clock, life.clone()).await.unwrap();
        let address = app.address;
        let running = tokio::spawn(app.run());
        let http = reqwest::Client::builder().no_proxy().no_gzip().build().unwrap();
        let service = Self { base: format!("http://{address}"), life, http, folder, running };
        until("the service is ready", async || service.life.phase() == Phase::Ready).await;
        service
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        let reply = self.http.get(format!("{}{path}", self.base)).send().await.unwrap();
        let status = reply.status().as_u16();
        let text = reply.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.http.post(format!("{}{path}", self.base)).header("content-type", "application/json");
        let reply = request.body(body.to_string()).send().await.unwrap();
        let status = reply.status().as_u16();
        let text = reply.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// The answer to a question that must be answered.
    pub async fn ok(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "{path} answered {body}");
        body
    }

    /// The 1m candles of a range as the service tells them, and whether it says that they are complete.
    pub async fn minutes(&self, exchange: ExchangeId, symbol: &str, range: TimeRange) -> (bool, Value) {
        let (start, end) = (range.start().millis(), range.end().millis());
        let path = format!("/v1/history?exchange={exchange}&symbol={symbol}&start={start}&end={end}&limit=5000");
        let mut page = self.ok(&path).await;
        (page["complete"] == true, page["candles"].take())
    }

    /// Waits until a range is complete, and compares it with what really was traded.
    pub async fn assert_whole(&self, world: &World, exchange: ExchangeId, symbol: &str, range: TimeRange) {
        let what = format!("{exchange} {symbol} from {} to {} is complete", range.start(), range.end());
        until(&what, async || self.minutes(exchange, symbol, range).await.0).await;
        let (_, told) = self.minutes(exchange, symbol, range).await;
        let truth = world.truth(exchange, symbol, range);
        assert_eq!(rows(&told), truth_rows(&truth), "{exchange} {symbol}");
    }

    /// Waits until all exchanges are live.
    pub async fn until_live(&self) {
        until("all exchanges are live", async || {
            let states = self.ok("/v1/exchanges").await;
            states["exchanges"].as_array().unwrap().iter().all(|exchange| exchange["state"] == "live")
        })
        .await;
    }

    /// Asks the service to end; says whether it ended well.
    pub async fn end(mut self) -> bool {
        self.life.drain();
        (&mut self.running).await.unwrap()
    }
}

impl Drop for Service {
    /// What a test is done with takes no time from what follows it.
    fn drop(&mut self) {
        self.life.drain();
    }
}

/// Time, open, high, low, close, volume of each candle; texts, so that digits are compared.
pub fn rows(candles: &Value) -> Vec<[String; 6]> {
    let field = |candle: &Value, name: &str| candle[name].to_string();
    let names = ["timestamp", "open", "high", "low", "close", "volume"];
    candles.as_array().unwrap().iter().map(|candle| names.map(|name| field(candle, name))).collect()
}

pub fn truth_rows(candles: &[Candle]) -> Vec<[String; 6]> {
    let row = |candle: &Candle| {
        let [open, high, low, close, volume] =
            [candle.open, candle.high, candle.low, candle.close, candle.volume].map(number);
        [candle.timestamp.millis().to_string(), open, high, low, close, volume]
    };
    candles.iter().map(row).collect()
}

/// A decimal as a JSON reader that keeps floats shows it.
fn number(value: rust_decimal::Decimal) -> String {
    let mut text = Vec::new();
    candlewick::model::wire::decimal(&mut text, value);
    serde_json::from_slice::<Value>(&text).unwrap().to_string()
}

/// Waits until a condition holds; fails loudly when it does not come to hold.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::task::yield_now().await;
            pause().await;
        }
    };
    assert!(Clock::system().timeout(PATIENCE, waiting).await.is_ok(), "waited in vain until {what}");
}

/// Lets others work between two looks at a condition.
pub async fn pause() {
    Clock::system().sleep(Duration::from_millis(10)).await;
}

/// `minutes` whole minutes that begin with the one after `from`.
pub fn minutes_after(from: Timestamp, minutes: i64) -> TimeRange {
    let start = Interval::M1.ceil(from);
    TimeRange::new(start, Timestamp::from_millis(start.millis() + minutes * 60_000))
}
