//! A TCP proxy that can interrupt, stall and restore its connections, and send new ones to another server.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// State of the link through a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Up,
    /// Existing connections are closed and new ones are rejected.
    Down,
    /// Connections stay open but forward no data.
    Stalled,
}

/// A proxy in front of one server.
pub struct Proxy {
    pub address: SocketAddr,
    link: watch::Sender<Link>,
    server: watch::Sender<String>,
}

impl Proxy {
    /// Starts a proxy to `server` (`host:port`).
    pub async fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let link = watch::Sender::new(Link::Up);
        let state = link.subscribe();
        let target = watch::Sender::new(server);
        let servers = target.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *state.borrow() == Link::Down {
                    continue;
                }
                let (server, state) = (servers.borrow().clone(), state.clone());
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(server).await else { return };
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    tokio::select! {
                        () = forward(from_client, to_server, state.clone()) => {}
                        () = forward(from_server, to_client, state) => {}
                    }
                });
            }
        });
        Self { address, link, server: target }
    }

    /// Replaces host and port of a URL with those of the proxy.
    pub fn url(&self, url: &str) -> String {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (login, rest) = rest.rsplit_once('@').map_or(("", rest), |(login, rest)| (login, rest));
        let path = rest.split_once('/').map_or("", |(_, path)| path);
        let at = if login.is_empty() { "" } else { "@" };
        format!("{scheme}://{login}{at}{}/{path}", self.address)
    }

    /// Sends new connections to another server (`host:port`). Existing connections are unaffected.
    pub fn set_server(&self, server: String) {
        self.server.send_replace(server);
    }

    pub fn set_link(&self, link: Link) {
        self.link.send_replace(link);
    }
}

/// `host:port` of a URL.
pub fn host_and_port(url: &str) -> String {
    let (_, rest) = url.split_once("://").unwrap();
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    rest.split('/').next().unwrap().to_owned()
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut link: watch::Receiver<Link>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            _ = link.wait_for(|link| *link == Link::Down) => return,
        };
        let state = link.wait_for(|link| *link != Link::Stalled).await.map(|link| *link);
        if read == 0 || !state.is_ok_and(|link| link == Link::Up) {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
