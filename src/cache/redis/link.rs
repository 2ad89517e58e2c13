//! The connections to Redis: one for commands, one that listens, both shared by all; and the knowledge whether they work.

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

use super::RedisConfig;
use crate::cache::CacheError;
use crate::clock::Clock;
use crate::model::{ExchangeId, Series, Topic};
use crate::telemetry::cache::{CacheBack, CacheLost};
use crate::telemetry::trace;

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often a server that does not answer is tried.
const PROBE: Duration = Duration::from_millis(250);

/// How often both connections are tried while all is well.
const PULSE: Duration = Duration::from_secs(1);

/// The listening connection is made anew when nothing of our own came back for so long.
const DEAF_AFTER: Duration = Duration::from_secs(4);

/// What a server says that takes no writes now: a replica, or one that still reads its data.
/// <https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors>
const NOT_WRITABLE: [&str; 3] = ["READONLY", "MASTERDOWN", "LOADING"];

/// A server that starts together with this process has so long to come up.
const COMES_UP_WITHIN: Duration = Duration::from_secs(30);

/// How many commands may wait inside of the client.
const MOST_WAITING: usize = 65_536;

/// How many messages may wait for the bus.
const MOST_HEARD: usize = 65_536;

/// What Redis said on a channel.
pub(super) use fred::types::Message;

/// The way to Redis.
pub(super) struct Link {
    pub client: Client,
    pub subscriber: SubscriberClient,
    /// This process among the replicas.
    pub replica: String,
    prefix: String,
    /// Raised each time that Redis is back, and may have forgotten or not heard something.
    revived: watch::Sender<u64>,
    up: watch::Sender<bool>,
    place: String,
}

impl Link {
    pub async fn open(config: &RedisConfig, clock: &Clock) -> Result<Arc<Self>, CacheError> {
        let wrong = |error: Error| CacheError(format!("`cache.url` is no Redis URL: {}", error.details()));
        let mut parsed = Config::from_url(config.url.expose_secret()).map_err(wrong)?;
        // A server that is not up yet is waited for.
        parsed.fail_fast = false;
        // A connection that listens may ask as well.
        parsed.version = RespVersion::RESP3;
        let place = parsed.server.hosts().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut builder = Builder::from_config(parsed);
        builder
            .with_performance_config(|performance| {
                performance.default_command_timeout = PATIENCE;
                performance.broadcast_channel_capacity = MOST_HEARD;
            })
            .with_connection_config(|connection| {
                connection.connection_timeout = Duration::from_secs(2);
                connection.internal_command_timeout = Duration::from_secs(2);
                // A command that went to the wrong node of a cluster, or whose connection broke, goes again.
                connection.max_command_attempts = 3;
                connection.max_command_buffer_len = MOST_WAITING;
                connection.unresponsive.max_timeout = Some(Duration::from_secs(3));
                connection.unresponsive.interval = Duration::from_secs(1);
                connection.tcp.nodelay = Some(true);
            })
            .set_policy(ReconnectPolicy::new_exponential(0, 50, 1_000, 2));
        let link = Arc::new(Self {
            client: builder.build().map_err(wrong)?,
            subscriber: builder.build_subscriber_client().map_err(wrong)?,
            replica: format!("{:016x}", clock.random_u64()),
            prefix: config.prefix.clone(),
            revived: watch::Sender::new(0),
            up: watch::Sender::new(true),
            place,
        });
        link.come_up().await?;
        tokio::spawn(Arc::clone(&link).watch());
        tokio::spawn(Arc::clone(&link).feel_pulse());
        Ok(link)
    }

    /// Waits until the server takes connections.
    async fn come_up(&self) -> Result<(), CacheError> {
        let mut errors = self.client.error_rx();
        let both = async {
            self.client.connect();
            self.subscriber.connect();
            self.client.wait_for_connect().await?;
            self.subscriber.wait_for_connect().await
        };
        let mut last = format!("no answer within {} s", COMES_UP_WITHIN.as_secs());
        let come = async {
            tokio::pin!(both);
            loop {
                tokio::select! {
                    done = &mut both => return done,
                    Ok((error, _)) = errors.recv() => {
                        error.details().clone_into(&mut last);
                        // Waiting does not mend a wrong password.
                        if *error.kind() == ErrorKind::Auth {
                            return Err(error);
                        }
                    }
                }
            }
        };
        match Clock::system().timeout(COMES_UP_WITHIN, come).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.details().clone_into(&mut last),
            Err(_) => {}
        }
        Err(CacheError(format!(
            "cannot use Redis at {}: {last}; see that Redis runs there and that `cache.url` (or REDIS_URL) names it and \
             its password",
            self.place
        )))
    }

    /// A count that grows each time that Redis is back and may have forgotten, or not heard, something.
    pub fn revived(&self) -> watch::Receiver<u64> {
        self.revived.subscribe()
    }

    /// Whether Redis answered when it was last asked.
    pub fn is_up(&self) -> bool {
        *self.up.borrow()
    }

    /// Runs a command. While Redis does not answer nobody waits to hear it: it is tried apart.
    pub async fn run<T>(&self, command: impl Future<Output = Result<T, Error>>) -> Result<T, CacheError> {
        if !self.is_up() {
            return Err(CacheError(format!("Redis at {} does not answer", self.place)));
        }
        let command = command.instrument(trace::child(|| tracing::info_span!("redis", otel.kind = "client")));
        command.await.map_err(|error| self.failed(&error))
    }

    /// Listens to channels. When this returns Redis sends what is published there: the client's own word for it comes
    /// when the command is written, so that it is asked something after that, on the same connection.
    pub async fn listen(&self, channels: Vec<String>) -> Result<(), CacheError> {
        let node = ClusterHash::from(self.subscriber.id());
        let listening = async {
            self.subscriber.subscribe(channels).await?;
            self.subscriber.custom::<Value, Value>(CustomCommand::new_static("PING", node, false), vec![]).await
        };
        self.run(listening).await.map(drop)
    }

    /// What an error means; one of the wire means that nobody else need try.
    pub fn failed(&self, error: &Error) -> CacheError {
        let wire = matches!(
            error.kind(),
            ErrorKind::IO | ErrorKind::Timeout | ErrorKind::Canceled | ErrorKind::Cluster | ErrorKind::Sentinel
        );
        if wire || is_not_writable(error) || error.details().starts_with("CLUSTERDOWN") {
            self.lost(error.details());
        }
        CacheError(format!("Redis: {}", error.details()))
    }

    fn lost(&self, why: &str) {
        if self.up.send_replace(false) {
            CacheLost { place: &self.place, why }.emit();
        }
    }

    /// Tries a server that was lost until it is back; notices connections that broke and came back unseen.
    async fn watch(self: Arc<Self>) {
        let clock = Clock::system();
        let (mut commands, mut listening) = (self.client.reconnect_rx(), self.subscriber.reconnect_rx());
        let mut up = self.up.subscribe();
        loop {
            tokio::select! {
                lost = up.wait_for(|up| !up) => {
                    if lost.is_err() {
                        return;
                    }
                }
                again = commands.recv() => if matches!(again, Err(broadcast::error::RecvError::Closed)) { return },
                again = listening.recv() => if matches!(again, Err(broadcast::error::RecvError::Closed)) { return },
            }
            while self.probe().await.is_err() {
                clock.sleep(PROBE).await;
            }
            if !self.up.send_replace(true) {
                CacheBack { place: &self.place }.emit();
            }
            self.revived.send_modify(|times| *times += 1);
        }
    }

    /// Writes something: a server that only answers, such as one that is no master any more, is of no use. Both connections
    /// to such a server are closed and made anew, by the address or the sentinels that now name another.
    async fn probe(&self) -> Result<(), Error> {
        let key = self.key(&format!("probe:{}", self.replica));
        let lifetime = Some(Expiration::PX(1_000));
        let written = self.client.set::<(), _, _>(key, "", lifetime, None, false).await;
        if let Err(error) = &written
            && is_not_writable(error)
        {
            let both = async { tokio::join!(self.client.force_reconnection(), self.subscriber.force_reconnection()) };
            // Where no server takes connections the client goes on trying by itself.
            let _ = Clock::system().timeout(PATIENCE, both).await;
        }
        written
    }

    /// Tells itself something each second. A connection that looks open and carries nothing is made anew.
    async fn feel_pulse(self: Arc<Self>) {
        let clock = Clock::system();
        let channel = self.key(&format!("pulse:{}", self.replica));
        let mut heard = self.subscriber.message_rx();
        let mut revived = self.revived();
        let mut last = clock.elapsed();
        let mut listening = false;
        loop {
            // A connection that is new listens to nothing yet.
            listening &= !revived.has_changed().unwrap_or_default();
            revived.mark_unchanged();
            if !listening {
                listening = self.listen(vec![channel.clone()]).await.is_ok();
            }
            let told: Result<i64, _> = self.client.publish(channel.as_str(), "").await;
            // A replica takes what is published and refuses what is written: who only reads would not notice.
            let written = if told.is_ok() && self.is_up() { self.probe().await } else { Ok(()) };
            if let Err(error) = told.map(drop).and(written) {
                self.failed(&error);
            }
            let pulse = async {
                loop {
                    match heard.recv().await {
                        Ok(message) if *message.channel == *channel => return true,
                        Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                        Err(broadcast::error::RecvError::Closed) => return false,
                    }
                }
            };
            match clock.timeout(PULSE, pulse).await {
                Ok(true) => {
                    last = clock.elapsed();
                    clock.sleep(PULSE).await;
                }
                Ok(false) => return,
                Err(_) if clock.elapsed().saturating_sub(last) > DEAF_AFTER => {
                    listening = false;
                    last = clock.elapsed();
                    let _ = self.subscriber.force_reconnection().await;
                    self.revived.send_modify(|times| *times += 1);
                }
                Err(_) => {}
            }
        }
    }

    /// The name of a key or channel.
    pub fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    /// The key of something that belongs to one exchange.
    pub fn of(&self, exchange: ExchangeId, name: &str) -> String {
        format!("{}:{{{exchange}}}:{name}", self.prefix)
    }

    pub fn candles(&self, series: &Series) -> String {
        format!("{}:{{{}}}:candles:{}:{}", self.prefix, series.exchange, series.symbol, series.interval)
    }

    pub fn channel(&self, topic: &Topic) -> String {
        format!("{}:{topic}", self.prefix)
    }
}

/// Whether the server that answered takes no writes. In scripts the word stands inside of the message before Redis 7.
fn is_not_writable(error: &Error) -> bool {
    let details = error.details();
    NOT_WRITABLE.iter().any(|word| details.starts_with(word) || details.contains(&format!("-{word}")))
}
