//! The connections to Redis: one for commands, one for subscriptions. Monitors both and reports reconnects.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use fred::clients::SubscriberClient;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, EventInterface, KeysInterface, PubsubInterface as _};
use fred::prelude::{Builder, Client, Config, Expiration, Value};
use fred::types::config::ReconnectPolicy;
use fred::types::{ClusterHash, CustomCommand, RespVersion};
use secrecy::ExposeSecret;
use tokio::sync::{broadcast, watch};
use tracing::Instrument;

use super::config::RedisConfig;
use crate::cache::CacheError;
use crate::clock::Clock;
use crate::model::{ExchangeId, Series, Topic};
use crate::telemetry::cache::{CacheRecovered, CacheUnavailable};
use crate::telemetry::trace;

/// Timeout of a command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(1);

/// Interval of probes while the server does not answer.
const PROBE_INTERVAL: Duration = Duration::from_millis(250);

/// Interval of the heartbeat on both connections.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// The subscriber connection is reopened if it received no own heartbeat for this long.
const SUBSCRIBER_TIMEOUT: Duration = Duration::from_secs(4);

/// Error prefixes of a server that accepts no writes now: a replica, or one that is still loading its data.
/// <https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors>
const NOT_WRITABLE: [&str; 3] = ["READONLY", "MASTERDOWN", "LOADING"];

/// Timeout at startup: the server may start together with this process.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum number of commands buffered in the client.
const MAX_BUFFERED_COMMANDS: usize = 65_536;

/// Maximum number of received messages that wait for their readers.
const MAX_BUFFERED_MESSAGES: usize = 65_536;

/// A message on a channel.
pub(super) use fred::types::Message;

/// The client connections to Redis, shared by all backends.
pub(super) struct RedisLink {
    pub client: Client,
    pub subscriber: SubscriberClient,
    /// Random id of this process.
    pub replica: String,
    prefix: String,
    /// Incremented with each reconnect.
    reconnects: watch::Sender<u64>,
    up: watch::Sender<bool>,
    /// Host and port of the servers, for messages.
    address: String,
}

impl RedisLink {
    pub async fn open(config: &RedisConfig, clock: &Clock) -> Result<Arc<Self>, CacheError> {
        let invalid = |error: Error| CacheError(format!("`cache.url` is not a Redis URL: {}", error.details()));
        let mut parsed = Config::from_url(config.url.expose_secret()).map_err(invalid)?;
        // Wait for a server that is not up yet.
        parsed.fail_fast = false;
        // Allows commands on the subscriber connection.
        parsed.version = RespVersion::RESP3;
        let address = parsed.server.hosts().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut builder = Builder::from_config(parsed);
        builder
            .with_performance_config(|performance| {
                performance.default_command_timeout = COMMAND_TIMEOUT;
                performance.broadcast_channel_capacity = MAX_BUFFERED_MESSAGES;
            })
            .with_connection_config(|connection| {
                connection.connection_timeout = Duration::from_secs(2);
                connection.internal_command_timeout = Duration::from_secs(2);
                // Retries a command that went to the wrong cluster node or whose connection broke.
                connection.max_command_attempts = 3;
                connection.max_command_buffer_len = MAX_BUFFERED_COMMANDS;
                connection.unresponsive.max_timeout = Some(Duration::from_secs(3));
                connection.unresponsive.interval = Duration::from_secs(1);
                connection.tcp.nodelay = Some(true);
            })
            .set_policy(ReconnectPolicy::new_exponential(0, 50, 1_000, 2));
        let link = Arc::new(Self {
            client: builder.build().map_err(invalid)?,
            subscriber: builder.build_subscriber_client().map_err(invalid)?,
            replica: format!("{:016x}", clock.random_u64()),
            prefix: config.prefix.clone(),
            reconnects: watch::Sender::new(0),
            up: watch::Sender::new(true),
            address,
        });
        link.wait_until_ready().await?;
        tokio::spawn(Arc::clone(&link).monitor());
        tokio::spawn(Arc::clone(&link).run_heartbeat());
        Ok(link)
    }

    /// Waits until the server accepts connections.
    async fn wait_until_ready(&self) -> Result<(), CacheError> {
        let mut errors = self.client.error_rx();
        let both = async {
            self.client.connect();
            self.subscriber.connect();
            self.client.wait_for_connect().await?;
            self.subscriber.wait_for_connect().await
        };
        let mut last_error = format!("no answer within {} s", STARTUP_TIMEOUT.as_secs());
        let ready = async {
            tokio::pin!(both);
            loop {
                tokio::select! {
                    done = &mut both => return done,
                    Ok((error, _)) = errors.recv() => {
                        error.details().clone_into(&mut last_error);
                        // Waiting does not help against a wrong password.
                        if *error.kind() == ErrorKind::Auth {
                            return Err(error);
                        }
                    }
                }
            }
        };
        match Clock::system().timeout(STARTUP_TIMEOUT, ready).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.details().clone_into(&mut last_error),
            Err(_) => {}
        }
        Err(CacheError(format!(
            "cannot use Redis at {}: {last_error}; check that Redis runs there and that `cache.url` (or REDIS_URL) \
             has the right address and password",
            self.address
        )))
    }

    /// Counts reconnects. After each one Redis may have lost data, and messages may have been missed.
    pub fn reconnects(&self) -> watch::Receiver<u64> {
        self.reconnects.subscribe()
    }

    /// Whether Redis answered the last command.
    pub fn is_up(&self) -> bool {
        *self.up.borrow()
    }

    /// Runs a command. While Redis is down it fails at once; [`RedisLink::monitor`] probes the server.
    pub async fn run<T>(&self, command: impl Future<Output = Result<T, Error>>) -> Result<T, CacheError> {
        if !self.is_up() {
            return Err(CacheError(format!("Redis at {} does not answer", self.address)));
        }
        let command = command.instrument(trace::child_span(|| tracing::info_span!("redis", otel.kind = "client")));
        command.await.map_err(|error| self.record_error(&error))
    }

    /// Subscribes to channels. When this returns, the subscriptions are active: the client returns when the command is
    /// written, so this also waits for a PING on the same connection.
    pub async fn subscribe(&self, channels: Vec<String>) -> Result<(), CacheError> {
        let node = ClusterHash::from(self.subscriber.id());
        let subscribed = async {
            self.subscriber.subscribe(channels).await?;
            self.subscriber.custom::<Value, Value>(CustomCommand::new_static("PING", node, false), vec![]).await
        };
        self.run(subscribed).await.map(drop)
    }

    /// Converts an error. A connection error marks the server as down, so that further commands fail at once.
    pub fn record_error(&self, error: &Error) -> CacheError {
        let is_connection_error = matches!(
            error.kind(),
            ErrorKind::IO | ErrorKind::Timeout | ErrorKind::Canceled | ErrorKind::Cluster | ErrorKind::Sentinel
        );
        if is_connection_error || is_not_writable(error) || error.details().starts_with("CLUSTERDOWN") {
            self.mark_down(error.details());
        }
        CacheError(format!("Redis: {}", error.details()))
    }

    fn mark_down(&self, error: &str) {
        if self.up.send_replace(false) {
            CacheUnavailable { server: &self.address, error }.emit();
        }
    }

    /// Probes a server that is down until it answers. Also counts reconnects of the client itself.
    async fn monitor(self: Arc<Self>) {
        let clock = Clock::system();
        let (mut client, mut subscriber) = (self.client.reconnect_rx(), self.subscriber.reconnect_rx());
        let mut up = self.up.subscribe();
        loop {
            tokio::select! {
                down = up.wait_for(|up| !up) => {
                    if down.is_err() {
                        return;
                    }
                }
                event = client.recv() => if matches!(event, Err(broadcast::error::RecvError::Closed)) { return },
                event = subscriber.recv() => if matches!(event, Err(broadcast::error::RecvError::Closed)) { return },
            }
            while self.probe().await.is_err() {
                clock.sleep(PROBE_INTERVAL).await;
            }
            if !self.up.send_replace(true) {
                CacheRecovered { server: &self.address }.emit();
            }
            self.reconnects.send_modify(|count| *count += 1);
        }
    }

    /// Writes a key: a server that answers but accepts no writes, such as a demoted master, is unusable. Reopens both
    /// connections to such a server, because the address or the sentinels may name another one by now.
    async fn probe(&self) -> Result<(), Error> {
        let key = self.key(&format!("probe:{}", self.replica));
        let lifetime = Some(Expiration::PX(1_000));
        let written = self.client.set::<(), _, _>(key, "", lifetime, None, false).await;
        if let Err(error) = &written
            && is_not_writable(error)
        {
            let both = async { tokio::join!(self.client.force_reconnection(), self.subscriber.force_reconnection()) };
            // If no server accepts connections, the client keeps trying by itself.
            let _ = Clock::system().timeout(COMMAND_TIMEOUT, both).await;
        }
        written
    }

    /// Publishes a heartbeat to itself each second. Reopens a subscriber connection that is open but delivers nothing.
    async fn run_heartbeat(self: Arc<Self>) {
        let clock = Clock::system();
        let channel = self.key(&format!("pulse:{}", self.replica));
        let mut messages = self.subscriber.message_rx();
        let mut reconnects = self.reconnects();
        let mut last_received = clock.elapsed();
        let mut is_subscribed = false;
        loop {
            // A new connection has no subscriptions.
            is_subscribed &= !reconnects.has_changed().unwrap_or_default();
            reconnects.mark_unchanged();
            if !is_subscribed {
                is_subscribed = self.subscribe(vec![channel.clone()]).await.is_ok();
            }
            let published: Result<i64, _> = self.client.publish(channel.as_str(), "").await;
            // A replica accepts PUBLISH and rejects writes: a process that only reads would not notice.
            let written = if published.is_ok() && self.is_up() { self.probe().await } else { Ok(()) };
            if let Err(error) = published.map(drop).and(written) {
                self.record_error(&error);
            }
            let heartbeat = async {
                loop {
                    match messages.recv().await {
                        Ok(message) if *message.channel == *channel => return true,
                        Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                        Err(broadcast::error::RecvError::Closed) => return false,
                    }
                }
            };
            match clock.timeout(HEARTBEAT_INTERVAL, heartbeat).await {
                Ok(true) => {
                    last_received = clock.elapsed();
                    clock.sleep(HEARTBEAT_INTERVAL).await;
                }
                Ok(false) => return,
                Err(_) if clock.elapsed().saturating_sub(last_received) > SUBSCRIBER_TIMEOUT => {
                    is_subscribed = false;
                    last_received = clock.elapsed();
                    let _ = self.subscriber.force_reconnection().await;
                    self.reconnects.send_modify(|count| *count += 1);
                }
                Err(_) => {}
            }
        }
    }

    /// Prefixed name of a key or channel.
    pub fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    /// Key of one exchange.
    pub fn exchange_key(&self, exchange: ExchangeId, name: &str) -> String {
        format!("{}:{{{exchange}}}:{name}", self.prefix)
    }

    pub fn candles_key(&self, series: &Series) -> String {
        format!("{}:{{{}}}:candles:{}:{}", self.prefix, series.exchange, series.symbol, series.interval)
    }

    pub fn channel(&self, topic: &Topic) -> String {
        format!("{}:{topic}", self.prefix)
    }
}

/// Whether the server accepts no writes. Before Redis 7 an error in a script has the prefix inside the message.
fn is_not_writable(error: &Error) -> bool {
    let details = error.details();
    NOT_WRITABLE.iter().any(|prefix| details.starts_with(prefix) || details.contains(&format!("-{prefix}")))
}
