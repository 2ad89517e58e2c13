//! Shared fixtures: a service in this process and simulated exchanges on loopback, both on one clock.

pub mod failover;
pub mod process;
pub mod proxy;
pub mod schema;
pub mod servers;
pub mod stream_client;

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use candlewick::app::App;
use candlewick::clock::Clock;
use candlewick::config::Config;
use candlewick::exchanges::Exchange;
use candlewick::lifecycle::{Lifecycle, Phase};
use candlewick::model::{Candle, ExchangeId, Interval, Symbol, TimeRange, Timestamp};
use candlewick::simulator::{Fault, FaultKind, MAX_MARKETS, Simulator, SimulatorConfig};
use candlewick::upstream::install_crypto;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Timeout of [`wait_until`] in real time.
pub const TIMEOUT: Duration = Duration::from_mins(1);

/// Default speed of the simulated clock: one minute of the market takes one second.
pub const SPEED: f64 = 60.0;

/// Faults that occur in normal operation: closing frames are late, candles without trades get none, and REST APIs that
/// are known for it lag their streams.
fn default_faults() -> Vec<Fault> {
    let always = |exchange, fault| Fault { exchange, after_ms: 0, fault, for_ms: 30 * 24 * 3_600_000 };
    let each = ExchangeId::all();
    let lagging = each.clone().filter(|exchange| !adapter(*exchange).profile().rest_lag.is_zero());
    each.flat_map(|exchange| [always(exchange, FaultKind::LateClose), always(exchange, FaultKind::NoClose)])
        .chain(lagging.map(|exchange| always(exchange, FaultKind::RestLag)))
        .collect()
}

/// One market per exchange that a service collects by default.
pub fn markets() -> impl Iterator<Item = (ExchangeId, &'static str)> {
    static DEFAULT: LazyLock<Config> = LazyLock::new(|| Config::from_toml("").unwrap());
    DEFAULT.exchanges.iter().map(|(exchange, settings)| (*exchange, settings.symbols[0].as_str()))
}

/// The adapter of an exchange.
pub fn adapter(exchange: ExchangeId) -> &'static dyn Exchange {
    candlewick::exchanges::exchange(exchange).unwrap()
}

/// Simulated exchanges with 3,000 markets each and, unless stated otherwise, the default faults.
pub struct Simulation {
    pub clock: Clock,
    pub simulator: Simulator,
    pub address: SocketAddr,
    stop: CancellationToken,
}

impl Simulation {
    pub async fn new() -> Self {
        Self::with_speed(SPEED).await
    }

    /// A lower speed keeps deadlines of the market from passing while the machine is busy.
    pub async fn with_speed(speed: f64) -> Self {
        Self::with_listener(TcpListener::bind("127.0.0.1:0").await.unwrap(), Clock::scaled(speed))
    }

    /// All closing frames are on time, so that none causes a REST request. For tests that count requests.
    pub async fn without_default_faults(speed: f64) -> Self {
        Self::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), Clock::scaled(speed), Vec::new())
    }

    pub fn with_listener(listener: TcpListener, clock: Clock) -> Self {
        Self::start(listener, clock, default_faults())
    }

    fn start(listener: TcpListener, clock: Clock, faults: Vec<Fault>) -> Self {
        install_crypto();
        let address = listener.local_addr().unwrap();
        let config = SimulatorConfig { seed: 7, faults, markets: MAX_MARKETS };
        let simulator = Simulator::new(config, clock.clone());
        let stop = CancellationToken::new();
        let (server, stopped) = (simulator.clone(), stop.clone());
        tokio::spawn(async move { server.serve(listener, stopped).await.unwrap() });
        Self { clock, simulator, address, stop }
    }

    /// Configuration of a service that collects from these exchanges.
    pub fn config(&self) -> String {
        let (rest, ws) = (format!("http://{}", self.address), format!("ws://{}", self.address));
        let exchange = |id| format!("[exchanges.{id}]\nrest_url = \"{rest}\"\nws_url = \"{ws}\"\n");
        format!("data = \"live\"\n{}", ExchangeId::all().map(exchange).collect::<String>())
    }

    /// Starts a fault now.
    pub fn inject_fault(&self, exchange: ExchangeId, fault: FaultKind, duration: Duration) {
        let for_ms = u64::try_from(duration.as_millis()).unwrap();
        self.simulator.inject(Fault { exchange, after_ms: 0, fault, for_ms });
    }

    /// The exchange's 1m candles with all late trades and corrections.
    pub fn expected_candles(&self, exchange: ExchangeId, symbol: &str, range: TimeRange) -> Vec<Candle> {
        let symbol: Symbol = symbol.parse().unwrap();
        self.simulator.market().candles(exchange, &symbol, Interval::M1, range)
    }

    /// Sleeps on the simulated clock.
    pub async fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration).await;
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The service under test.
pub struct Service {
    pub base_url: String,
    pub lifecycle: Lifecycle,
    pub http: reqwest::Client,
    pub folder: tempfile::TempDir,
    task: tokio::task::JoinHandle<bool>,
}

impl Service {
    /// Starts a service that collects from `simulation` and waits until it has read all listings.
    pub async fn live(simulation: &Simulation) -> Self {
        Self::live_with_config(simulation, "").await
    }

    /// Like [`live`](Self::live), with additional configuration.
    pub async fn live_with_config(simulation: &Simulation, toml: &str) -> Self {
        Self::live_with_clock(simulation, toml, simulation.clock.clone()).await
    }

    /// Like [`live_with_config`](Self::live_with_config), with a separate clock.
    pub async fn live_with_clock(simulation: &Simulation, toml: &str, clock: Clock) -> Self {
        let service = Self::start(&format!("{}\n{toml}", simulation.config()), clock).await;
        for exchange in ExchangeId::all() {
            let path = format!("/v1/instruments?exchange={exchange}&limit=1");
            let what = format!("the listing of {exchange} is read");
            wait_until(&what, async || service.get(&path).await.0 == 200).await;
        }
        service
    }

    /// Starts a service with a new SQLite store and waits until it is ready.
    pub async fn start(toml: &str, clock: Clock) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = format!("[store]\nurl = \"sqlite://{}/candles.db\"\n", folder.path().display());
        Self::run(&format!("{toml}\n{store}"), folder, clock).await
    }

    /// Starts a service with the store of the configuration and waits until it is ready.
    pub async fn start_with_store(toml: &str, clock: Clock) -> Self {
        Self::run(toml, tempfile::tempdir().unwrap(), clock).await
    }

    async fn run(toml: &str, folder: tempfile::TempDir, clock: Clock) -> Self {
        install_crypto();
        // The tests send many requests, and their clock is fast.
        let limits = if toml.contains("[limits]") { "" } else { "[limits]\nper_minute = 0\n" };
        let config = Config::from_toml(&format!("{toml}\n{limits}[server]\nlisten = \"127.0.0.1:0\"\n")).unwrap();
        let lifecycle = Lifecycle::default();
        let app = App::start(config, clock, lifecycle.clone()).await.unwrap();
        let address = app.address;
        let task = tokio::spawn(app.run());
        let http = reqwest::Client::builder().no_proxy().no_gzip().build().unwrap();
        let service = Self { base_url: format!("http://{address}"), lifecycle, http, folder, task };
        wait_until("the service is ready", async || service.lifecycle.phase() == Phase::Ready).await;
        service
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        let response = self.http.get(format!("{}{path}", self.base_url)).send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.http.post(format!("{}{path}", self.base_url)).header("content-type", "application/json");
        let response = request.body(body.to_string()).send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Sends a GET request, checks that the status is 200 and returns the body.
    pub async fn get_ok(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "{path} returned {body}");
        body
    }

    /// Requests the 1m candles of a range. Returns whether the response is complete, and the candles.
    pub async fn minute_candles(&self, exchange: ExchangeId, symbol: &str, range: TimeRange) -> (bool, Value) {
        let (start, end) = (range.start().millis(), range.end().millis());
        let path = format!("/v1/history?exchange={exchange}&symbol={symbol}&start={start}&end={end}&limit=5000");
        let mut page = self.get_ok(&path).await;
        (page["complete"] == true, page["candles"].take())
    }

    /// Waits until a range is complete, then checks that its candles are the exchange's.
    pub async fn assert_complete(&self, simulation: &Simulation, exchange: ExchangeId, symbol: &str, range: TimeRange) {
        let what = format!("{exchange} {symbol} from {} to {} is complete", range.start(), range.end());
        wait_until(&what, async || self.minute_candles(exchange, symbol, range).await.0).await;
        let (_, candles) = self.minute_candles(exchange, symbol, range).await;
        let expected = simulation.expected_candles(exchange, symbol, range);
        assert_eq!(json_rows(&candles), candle_rows(&expected), "{exchange} {symbol}");
    }

    /// Waits until all exchanges are live.
    pub async fn wait_until_live(&self) {
        wait_until("all exchanges are live", async || {
            let states = self.get_ok("/v1/exchanges").await;
            states["exchanges"].as_array().unwrap().iter().all(|exchange| exchange["state"] == "live")
        })
        .await;
    }

    /// Shuts the service down. Returns whether the shutdown was clean.
    pub async fn shut_down(mut self) -> bool {
        self.lifecycle.drain();
        (&mut self.task).await.unwrap()
    }
}

impl Drop for Service {
    /// Stops the service, so that it takes no CPU time from later tests.
    fn drop(&mut self) {
        self.lifecycle.drain();
    }
}

/// Open time, open, high, low, close and volume of each candle of a response, as text to compare all digits.
pub fn json_rows(candles: &Value) -> Vec<[String; 6]> {
    let field = |candle: &Value, name: &str| candle[name].to_string();
    let names = ["timestamp", "open", "high", "low", "close", "volume"];
    candles.as_array().unwrap().iter().map(|candle| names.map(|name| field(candle, name))).collect()
}

/// The same columns of candles.
pub fn candle_rows(candles: &[Candle]) -> Vec<[String; 6]> {
    let row = |candle: &Candle| {
        let [open, high, low, close, volume] =
            [candle.open, candle.high, candle.low, candle.close, candle.volume].map(json_number);
        [candle.timestamp.millis().to_string(), open, high, low, close, volume]
    };
    candles.iter().map(row).collect()
}

/// A decimal after a round trip through JSON floats.
fn json_number(value: rust_decimal::Decimal) -> String {
    let mut text = Vec::new();
    candlewick::model::wire::decimal(&mut text, value);
    serde_json::from_slice::<Value>(&text).unwrap().to_string()
}

/// Polls a condition until it holds.
///
/// # Panics
///
/// If the condition does not hold within [`TIMEOUT`].
pub async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let polling = async {
        while !condition().await {
            tokio::task::yield_now().await;
            pause().await;
        }
    };
    assert!(Clock::system().timeout(TIMEOUT, polling).await.is_ok(), "timed out waiting until {what}");
}

/// Pauses between two polls of a condition.
pub async fn pause() {
    Clock::system().sleep(Duration::from_millis(10)).await;
}

/// A range of `minutes` whole minutes. It starts at the first whole minute at or after `from`.
pub fn minutes_after(from: Timestamp, minutes: i64) -> TimeRange {
    let start = Interval::M1.ceil(from);
    TimeRange::new(start, Timestamp::from_millis(start.millis() + minutes * 60_000))
}
