//! What an exchange's dialect consists of: rules, requests, and the meaning of frames.

use std::borrow::Cow;
use std::time::Duration;

use super::sink::Sink;
use crate::exchanges::codec::check_json;
use crate::exchanges::feed::{Encoding, FeedError, Notice};
use crate::exchanges::profile::Profile;
use crate::model::{Channel, ExchangeId, Timestamp};

/// The dialect of an exchange's WebSocket. It keeps only what its frames refer to, such as the last sequence number.
pub trait StreamCodec: Default + Send + 'static {
    /// State of one market, such as the parts of a ticker that arrive separately.
    type State: Default + Send;

    /// How subscribing works.
    const RULES: StreamRules;

    /// The exchange's names of the channels that make up one of ours; empty if it has none.
    fn channels(channel: Channel) -> &'static [&'static str];

    /// The text of a request.
    fn request(request: &Request<'_>) -> String;

    /// Parses a frame. Rows go to `sink`; invalid ones are reported there and do not affect others. Frames without
    /// relevance (derivatives, other channels) are [`Inbound::Ignored`]; they produce no event and no error.
    ///
    /// # Errors
    /// The frame as a whole is invalid, or messages were lost.
    fn decode<'a>(&mut self, text: &'a str, sink: &mut Sink<'_, Self::State>) -> Result<Inbound<'a>, FeedError>;
}

/// How subscribing works on an exchange. Start from [`StreamRules::new`].
pub struct StreamRules {
    pub exchange: ExchangeId,
    /// Its limits and timeouts.
    pub profile: &'static Profile,
    /// What an answer refers to.
    pub answers: Answers,
    /// Whether one request may have topics of several channels.
    pub mixes_channels: bool,
    /// Maximum number of topics per request.
    pub topics_per_request: usize,
    /// Channels with one topic per request.
    pub single_topic_channels: &'static [&'static str],
    /// Maximum number of topics per connection.
    pub topics_per_connection: usize,
    /// A channel without markets to which every connection subscribes first.
    pub connection_channel: Option<&'static str>,
    /// Pings that the client sends.
    pub ping: Option<Ping>,
    /// Whether the client must wait for [`Inbound::Welcome`] before it subscribes.
    pub awaits_welcome: bool,
    /// Compression of binary frames.
    pub encoding: Encoding,
}

impl StreamRules {
    /// One topic per request, answered by its id; no pings.
    pub const fn new(exchange: ExchangeId, profile: &'static Profile) -> Self {
        Self {
            exchange,
            profile,
            answers: Answers::ByRequest,
            mixes_channels: false,
            topics_per_request: 1,
            single_topic_channels: &[],
            topics_per_connection: 100,
            connection_channel: None,
            ping: None,
            awaits_welcome: false,
            encoding: Encoding::Plain,
        }
    }
}

/// What the exchange's answers to requests refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// To a request, by its id.
    ByRequest,
    /// To a request, by its id if there is one, otherwise to the oldest one (of the channel, if the answer names it).
    InOrder,
    /// To one topic of a request; a refusal without a topic refers to the request.
    ByTopic,
    /// Acknowledgements list all topics of the connection; refusals refer to the oldest request.
    TopicList,
}

/// Pings that the client sends.
#[derive(Clone, Copy)]
pub struct Ping {
    /// Time between pings, unless [`SocketAddress::ping_interval`](crate::exchanges::feed::SocketAddress) says another.
    pub interval: Duration,
    /// Whether a received frame restarts the interval.
    pub only_if_idle: bool,
    /// The text, from the id of the message and the time.
    pub message: fn(u64, Timestamp) -> String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Subscribe,
    Unsubscribe,
}

impl Operation {
    /// `subscribe` or `unsubscribe`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
        }
    }
}

/// A request to send.
pub struct Request<'a> {
    pub operation: Operation,
    /// At least one; of one channel, unless [`StreamRules::mixes_channels`].
    pub topics: &'a [NativeTopic<'a>],
    /// Unique on the connection, ascending from 1.
    pub id: u64,
    #[expect(dead_code, reason = "Gate's requests have a time")]
    pub now: Timestamp,
}

/// A topic of the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NativeTopic<'a> {
    /// One of [`StreamCodec::channels`].
    pub channel: &'static str,
    /// Native id of the market on the stream; empty for [`StreamRules::connection_channel`].
    pub market: &'a str,
}

/// What a frame means.
#[derive(Debug)]
pub enum Inbound<'a> {
    /// Data, which were passed to the sink.
    Data,
    /// Nothing to do: a pong, the answer to an unsubscribe request, a channel without a subscription.
    Ignored,
    Notice(Notice),
    /// The exchange acknowledged a request, or a topic of it.
    Ack(Answer<'a>),
    /// The exchange acknowledged a request with a list of all topics of the connection, each as channel and market.
    TopicList(Vec<(Cow<'a, str>, Cow<'a, str>)>),
    /// The exchange refused a request, or a topic of it, because the topic is subscribed already.
    AlreadySubscribed(Answer<'a>),
    /// The exchange refused a request, or a topic of it.
    Refusal {
        answer: Answer<'a>,
        reason: Cow<'a, str>,
    },
    /// The exchange is overloaded or has received too many messages: open a new connection, but not before.
    Overloaded {
        reason: Cow<'a, str>,
        retry_after: Duration,
    },
    /// The exchange expects this message, such as the answer to its ping.
    #[cfg_attr(not(test), expect(dead_code, reason = "HTX sends pings in JSON"))]
    Reply(String),
    /// The connection is ready for requests; only for [`StreamRules::awaits_welcome`].
    #[cfg_attr(not(test), expect(dead_code, reason = "KuCoin sends a welcome"))]
    Welcome,
}

impl Inbound<'_> {
    /// A frame without relevance.
    ///
    /// # Errors
    /// The frame is not JSON.
    pub fn ignored(text: &str) -> Result<Self, FeedError> {
        check_json(text).map(|()| Self::Ignored)
    }
}

/// What an answer of the exchange refers to, as far as it says so.
#[derive(Debug, Default)]
pub struct Answer<'a> {
    /// The id of the request.
    pub request: Option<u64>,
    pub channel: Option<Cow<'a, str>>,
    /// Native id of the market.
    pub market: Option<Cow<'a, str>>,
}
