//! Keeps one WebSocket connection to an exchange open and reports what it receives.
//!
//! [`Feed::open`] returns a handle and a future to run. The future dials (`dial`), runs the exchange's session on the
//! open socket (`connection`, `framed_socket`, `pacer`, `liveness`), and reconnects when the connection breaks or
//! before the exchange closes it (`runner`). A feed has one open connection, none while it is disconnected, and two
//! while a new one takes over.
//!
//! Missed data is part of the stream: [`FeedItem::Lost`] is sent when the connection is lost, and a
//! [`Gap`](crate::model::MarketEvent::Gap) precedes the first data of each topic after it.

mod connection;
mod decompress;
mod dial;
mod feed;
mod framed_socket;
mod handle;
mod liveness;
mod lost_topics;
mod pacer;
mod runner;
mod skip_log;

pub use dial::{Dial, DialError, DialErrorKind, Dialer, Io, Socket, socket_config};
pub use feed::{Feed, FeedItem};
pub use handle::{ConnectionFull, ConnectionHandle};
