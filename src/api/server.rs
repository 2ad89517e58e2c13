//! Accepts connections and serves HTTP/1.1 on them until the process drains.
//!
//! The framework's server is not used: it limits neither incomplete requests nor connections, does not set
//! `TCP_NODELAY`, spins when the process is out of file descriptors, and copies data under a lock.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::concurrency::ConcurrencyLimiter;
use super::middleware::RootMiddleware;
use super::stall_timeout::StallTimeout;
use crate::clock::Clock;
use crate::lifecycle::Lifecycle;
use crate::telemetry::http::{AcceptFailed, ConnectionRefused, Listening};

/// Timeout for receiving the head of a request, and for waiting for the next request on a connection. It uses the
/// system clock, because network timeouts do not follow a simulated clock.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum number of buffered bytes of a request head.
const MAX_HEAD_BYTES: usize = 128 * 1024;

/// Pause after a failed `accept`, which mostly means that the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time that an idle connection has to close after the listener is closed.
const IDLE_GRACE: Duration = Duration::from_millis(100);

/// Serves until the process drains. After that it still accepts connections for `ApiConfig::shutdown_notice`, so that
/// clients and balancers learn of the shutdown. Then requests in flight have `ApiConfig::shutdown_grace` to finish.
///
/// # Errors
/// If the address of the listener cannot be read.
pub async fn serve(listener: TcpListener, root: RootMiddleware, lifecycle: Lifecycle, clock: Clock) -> io::Result<()> {
    let config = root.config.clone();
    let local = LocalAddr(Addr::SocketAddr(listener.local_addr()?));
    Listening { address: listener.local_addr()? }.emit();
    let root = Arc::new(root);
    let slots = Arc::new(Semaphore::new(config.max_connections));
    let per_address = ConcurrencyLimiter::new(usize::MAX, config.max_connections_per_address);
    let connections = TaskTracker::new();
    let close = CancellationToken::new();
    let drained = async {
        lifecycle.draining().cancelled().await;
        clock.sleep(config.shutdown_notice).await;
    };
    let accept_connections = async {
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let Ok(permit) = per_address.acquire(&root.authorizer.connection_key(peer), "connection") else {
                        ConnectionRefused.emit();
                        continue;
                    };
                    // Most responses are small and complete: waiting to fill a packet only delays them.
                    let _ = stream.set_nodelay(true);
                    let addresses = (local.clone(), RemoteAddr(Addr::SocketAddr(peer)));
                    let connection = Connection::new(Arc::clone(&root), addresses);
                    let (close, clock, grace) = (close.clone(), clock.clone(), config.shutdown_grace);
                    let stall_timeout = config.stall_timeout;
                    connections.spawn(async move {
                        let _guards = (slot, permit);
                        connection.serve(StallTimeout::new(stream, stall_timeout), close, clock, grace).await;
                    });
                }
                Err(error) if is_connection_error(&error) => {}
                Err(error) => {
                    AcceptFailed { error: &error, pause: ACCEPT_PAUSE }.emit();
                    clock.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = drained => {}
        () = accept_connections => {}
    }
    drop(listener);
    close.cancel();
    connections.close();
    connections.wait().await;
    Ok(())
}

/// Whether the error concerns a single connection, so that the next `accept` may succeed.
fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

struct Connection {
    root: Arc<RootMiddleware>,
    addresses: (LocalAddr, RemoteAddr),
    in_flight: Arc<AtomicUsize>,
}

impl Connection {
    fn new(root: Arc<RootMiddleware>, addresses: (LocalAddr, RemoteAddr)) -> Self {
        Self { root, addresses, in_flight: Arc::default() }
    }

    async fn serve(self, stream: StallTimeout, close: CancellationToken, clock: Clock, grace: Duration) {
        let in_flight = Arc::clone(&self.in_flight);
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let root = Arc::clone(&self.root);
            let (local, remote) = self.addresses.clone();
            let in_flight = InFlight::new(&self.in_flight);
            async move {
                let response = root.get_response((request, local, remote, Scheme::HTTP).into()).await;
                let response: hyper::Response<_> = response.into();
                Ok::<_, Infallible>(response.map(|body| CountedBody { body, _in_flight: in_flight }))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::pin!(connection);
        // Connection errors are caused by the client and are not logged.
        tokio::select! {
            _ = &mut connection => return,
            () = close.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        if clock.timeout(IDLE_GRACE, &mut connection).await.is_ok() {
            return;
        }
        // A partially received request is dropped; a request in flight may finish.
        if in_flight.load(Ordering::Acquire) > 0 {
            let _ = clock.timeout(grace, &mut connection).await;
        }
    }
}

/// Counts a request until its response is sent.
struct InFlight(Arc<AtomicUsize>);

/// A response body that counts as in flight until it is dropped.
struct CountedBody<B> {
    body: B,
    _in_flight: InFlight,
}

impl<B: Body + Unpin> Body for CountedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl InFlight {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
