//! Asks the service on this machine, as a plain HTTP client of a few lines.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;

use crate::config::Config;

/// How long each step of a question may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The environment may hold a key for a service that wants one.
const KEY: &str = "CANDLEWICK_API_KEY";

/// The most of an answer that is read.
const MOST: u64 = 256 * 1024;

/// Where the service of a configuration is to be reached from its own machine.
pub fn address(config: &Config) -> SocketAddr {
    let mut address = config.server.listen;
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    address
}

/// The status and the body of an answer. With a `body` the question is a POST of JSON, else a GET.
///
/// # Errors
/// Nothing answers there, or what answers is no HTTP.
pub fn ask(address: SocketAddr, path: &str, body: Option<&str>) -> anyhow::Result<(u16, String)> {
    let mut service = TcpStream::connect_timeout(&address, PATIENCE)?;
    service.set_read_timeout(Some(PATIENCE))?;
    service.set_write_timeout(Some(PATIENCE))?;
    let key = std::env::var(KEY).map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
    let head = format!("{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{key}");
    match body {
        None => write!(service, "GET {head}\r\n")?,
        Some(body) => {
            let length = body.len();
            write!(service, "POST {head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")?;
        }
    }
    let mut answer = String::new();
    service.take(MOST).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is no HTTP")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("the answer has no status")?;
    Ok((status, body.to_owned()))
}
