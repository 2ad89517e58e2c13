//! Connections that can be cut from inside, without an answer, and are never too many.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use poem::http::uri::Scheme;
use poem::listener::Acceptor;
use poem::web::{LocalAddr, RemoteAddr};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::clock::Clock;

/// The most connections at a time; more wait in the system's queue.
const MAX_CONNECTIONS: usize = 4_096;

/// The open connections, by their other end.
#[derive(Clone, Debug, Default)]
pub struct Wires(Arc<Mutex<HashMap<SocketAddr, CancellationToken>>>);

impl Wires {
    /// Closes a connection at once.
    pub fn cut(&self, peer: SocketAddr) {
        if let Some(token) = self.0.lock().get(&peer) {
            token.cancel();
        }
    }

    /// Closes all connections at once.
    pub fn cut_all(&self) {
        self.0.lock().values().for_each(CancellationToken::cancel);
    }
}

/// Accepts what [`Wires`] can cut.
pub struct Gate {
    pub listener: TcpListener,
    pub wires: Wires,
    pub clock: Clock,
    room: Arc<Semaphore>,
}

impl Gate {
    pub fn new(listener: TcpListener, wires: Wires, clock: Clock) -> Self {
        Self { listener, wires, clock, room: Arc::new(Semaphore::new(MAX_CONNECTIONS)) }
    }
}

impl Acceptor for Gate {
    type Io = Wire;

    fn local_addr(&self) -> Vec<LocalAddr> {
        self.listener.local_addr().map(|addr| LocalAddr(addr.into())).into_iter().collect()
    }

    async fn accept(&mut self) -> io::Result<(Wire, LocalAddr, RemoteAddr, Scheme)> {
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, peer) = match self.listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: asking again at once would only burn the processor.
                self.clock.sleep(Duration::from_millis(50)).await;
                return Err(error);
            }
        };
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        let token = CancellationToken::new();
        self.wires.0.lock().insert(peer, token.clone());
        let wire =
            Wire { stream, cut: Box::pin(token.cancelled_owned()), peer, wires: self.wires.clone(), _room: room };
        Ok((wire, LocalAddr(local.into()), RemoteAddr(peer.into()), Scheme::HTTP))
    }
}

/// A connection that breaks when it is cut.
pub struct Wire {
    stream: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    peer: SocketAddr,
    wires: Wires,
    _room: OwnedSemaphorePermit,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.wires.0.lock().remove(&self.peer);
    }
}

impl Wire {
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionReset.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
