//! Accepts a bounded number of TCP connections, each of which the simulator can reset without a response.

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

/// Maximum number of open connections. Further connections wait in the listen queue of the operating system.
const MAX_CONNECTIONS: usize = 4_096;

/// The open connections, by peer address.
#[derive(Clone, Debug, Default)]
pub struct OpenConnections(Arc<Mutex<HashMap<SocketAddr, CancellationToken>>>);

impl OpenConnections {
    /// Resets a connection immediately.
    pub fn close(&self, peer: SocketAddr) {
        if let Some(token) = self.0.lock().get(&peer) {
            token.cancel();
        }
    }

    /// Resets all connections immediately.
    pub fn close_all(&self) {
        self.0.lock().values().for_each(CancellationToken::cancel);
    }
}

/// Accepts connections and registers them in [`OpenConnections`].
pub struct ConnectionAcceptor {
    pub listener: TcpListener,
    pub connections: OpenConnections,
    pub clock: Clock,
    permits: Arc<Semaphore>,
}

impl ConnectionAcceptor {
    pub fn new(listener: TcpListener, connections: OpenConnections, clock: Clock) -> Self {
        Self { listener, connections, clock, permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)) }
    }
}

impl Acceptor for ConnectionAcceptor {
    type Io = Connection;

    fn local_addr(&self) -> Vec<LocalAddr> {
        self.listener.local_addr().map(|addr| LocalAddr(addr.into())).into_iter().collect()
    }

    async fn accept(&mut self) -> io::Result<(Connection, LocalAddr, RemoteAddr, Scheme)> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, peer) = match self.listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // The process is probably out of file descriptors; an immediate retry would spin.
                self.clock.sleep(Duration::from_millis(50)).await;
                return Err(error);
            }
        };
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        let token = CancellationToken::new();
        self.connections.0.lock().insert(peer, token.clone());
        let connection = Connection {
            stream,
            cancelled: Box::pin(token.cancelled_owned()),
            peer,
            connections: self.connections.clone(),
            _permit: permit,
        };
        Ok((connection, LocalAddr(local.into()), RemoteAddr(peer.into()), Scheme::HTTP))
    }
}

/// A connection that fails with `ConnectionReset` once it is cancelled.
pub struct Connection {
    stream: TcpStream,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    peer: SocketAddr,
    connections: OpenConnections,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.0.lock().remove(&self.peer);
    }
}

impl Connection {
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.cancelled.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionReset.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buf)
    }
}

impl AsyncWrite for Connection {
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
