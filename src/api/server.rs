//! Takes connections and serves HTTP/1.1 on them, until the process drains.
//!
//! The framework's own server is not used: it has no bound on half-sent requests nor on connections, sets no
//! `TCP_NODELAY`, spins when no more files can be opened, and copies through a lock.

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

use super::middleware::Front;
use super::patient::Patient;
use super::seats::Seats;
use crate::clock::Clock;
use crate::lifecycle::Lifecycle;
use crate::telemetry::http::{AcceptFailed, ConnectionRefused, Listening};

/// How long the head of a request may take, and how long a connection may wait for its next request. A matter of the
/// network and not of the market, so it runs on the machine's own time.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// How much of a request's head is buffered at most.
const HEAD_BYTES: usize = 128 * 1024;

/// How long to wait after a connection could not be taken, mostly for want of file handles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection without a request may linger once the door is shut.
const IDLE_GRACE: Duration = Duration::from_millis(100);

/// Serves until the process drains. Then the doors stay open for `ApiConfig::notice`, so that whoever asks learns of it,
/// and requests in flight have `ApiConfig::grace` to end.
///
/// # Errors
/// When the address of the listener cannot be read.
pub async fn serve(listener: TcpListener, front: Front, life: Lifecycle, clock: Clock) -> io::Result<()> {
    let config = front.config.clone();
    let local = LocalAddr(Addr::SocketAddr(listener.local_addr()?));
    Listening { address: listener.local_addr()? }.emit();
    let front = Arc::new(front);
    let places = Arc::new(Semaphore::new(config.max_connections));
    let seats = Seats::new(usize::MAX, config.max_connections_per_address);
    let connections = TaskTracker::new();
    let shut = CancellationToken::new();
    let closing = async {
        life.draining().cancelled().await;
        clock.sleep(config.notice).await;
    };
    let accepting = async {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let Ok(seat) = seats.take(&front.gate.owner(peer), "connection") else {
                        ConnectionRefused.emit();
                        continue;
                    };
                    // Answers are small and whole: waiting to fill a packet only delays them.
                    let _ = stream.set_nodelay(true);
                    let addresses = (local.clone(), RemoteAddr(Addr::SocketAddr(peer)));
                    let connection = Connection::new(Arc::clone(&front), addresses);
                    let (shut, clock, grace) = (shut.clone(), clock.clone(), config.grace);
                    let patience = config.patience;
                    connections.spawn(async move {
                        let _kept = (place, seat);
                        connection.serve(Patient::new(stream, patience), shut, clock, grace).await;
                    });
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    AcceptFailed { error: &error, pause: ACCEPT_PAUSE }.emit();
                    clock.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = closing => {}
        () = accepting => {}
    }
    drop(listener);
    shut.cancel();
    connections.close();
    connections.wait().await;
    Ok(())
}

/// The client went away before it was taken; the next one may be fine.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

struct Connection {
    front: Arc<Front>,
    addresses: (LocalAddr, RemoteAddr),
    in_flight: Arc<AtomicUsize>,
}

impl Connection {
    fn new(front: Arc<Front>, addresses: (LocalAddr, RemoteAddr)) -> Self {
        Self { front, addresses, in_flight: Arc::default() }
    }

    async fn serve(self, stream: Patient, shut: CancellationToken, clock: Clock, grace: Duration) {
        let in_flight = Arc::clone(&self.in_flight);
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let front = Arc::clone(&self.front);
            let (local, remote) = self.addresses.clone();
            let counted = InFlight::new(&self.in_flight);
            async move {
                let response = front.get_response((request, local, remote, Scheme::HTTP).into()).await;
                let response: hyper::Response<_> = response.into();
                Ok::<_, Infallible>(response.map(|body| Counted { body, _in_flight: counted }))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::pin!(connection);
        // What ends a connection early is the client's affair: nothing to tell.
        tokio::select! {
            _ = &mut connection => return,
            () = shut.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        if clock.timeout(IDLE_GRACE, &mut connection).await.is_ok() {
            return;
        }
        // A request that is only half here was not begun; one that is being answered may end.
        if in_flight.load(Ordering::Acquire) > 0 {
            let _ = clock.timeout(grace, &mut connection).await;
        }
    }
}

/// Counts a request until its answer was sent.
struct InFlight(Arc<AtomicUsize>);

/// The body of an answer that counts as in flight.
struct Counted<B> {
    body: B,
    _in_flight: InFlight,
}

impl<B: Body + Unpin> Body for Counted<B> {
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
