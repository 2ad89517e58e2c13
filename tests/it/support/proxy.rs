//! A TCP proxy that can cut, stall and mend what it carries, and lead new connections to another server.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How the line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    Open,
    /// Connections break, and none is made.
    Cut,
    /// Connections stand, and nothing comes through.
    Stalled,
}

/// A line to a server.
pub struct Proxy {
    pub address: SocketAddr,
    line: watch::Sender<Line>,
    server: watch::Sender<String>,
}

impl Proxy {
    /// A line to `server` (`host:port`).
    pub async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let line = watch::Sender::new(Line::Open);
        let state = line.subscribe();
        let target = watch::Sender::new(server);
        let servers = target.subscribe();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if *state.borrow() == Line::Cut {
                    continue;
                }
                let (server, state) = (servers.borrow().clone(), state.clone());
                tokio::spawn(async move {
                    let Ok(far) = TcpStream::connect(server).await else { return };
                    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
                    tokio::select! {
                        () = carry(from_near, to_far, state.clone()) => {}
                        () = carry(from_far, to_near, state) => {}
                    }
                });
            }
        });
        Self { address, line, server: target }
    }

    /// The same URL by way of this line.
    pub fn url(&self, url: &str) -> String {
        let (before, rest) = url.split_once("://").unwrap();
        let (login, rest) = rest.rsplit_once('@').map_or(("", rest), |(login, rest)| (login, rest));
        let path = rest.split_once('/').map_or("", |(_, path)| path);
        let at = if login.is_empty() { "" } else { "@" };
        format!("{before}://{login}{at}{}/{path}", self.address)
    }

    /// Leads new connections to another server (`host:port`). Those that stand stay where they are.
    pub fn switch(&self, server: String) {
        self.server.send_replace(server);
    }

    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }
}

/// Where the server of a URL is.
pub fn server_of(url: &str) -> String {
    let (_, rest) = url.split_once("://").unwrap();
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    rest.split('/').next().unwrap().to_owned()
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut line: watch::Receiver<Line>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            _ = line.wait_for(|line| *line == Line::Cut) => return,
        };
        let open = line.wait_for(|line| *line != Line::Stalled).await.map(|line| *line);
        if read == 0 || !open.is_ok_and(|line| line == Line::Open) {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
