//! A minimal HTTP client for the service on this machine.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;

use crate::config::Config;

/// Timeout of connect, of each read and of each write.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Environment variable with an API key for the service.
const API_KEY_VARIABLE: &str = "CANDLEWICK_API_KEY";

/// Maximum size of a response in bytes.
const MAX_RESPONSE_BYTES: u64 = 256 * 1024;

/// Address at which the configured service is reachable from its own machine.
pub fn address(config: &Config) -> SocketAddr {
    let mut address = config.server.listen;
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    address
}

/// Returns the status and the body of the response. Sends `body` as a JSON POST; without it, sends a GET.
///
/// # Errors
/// The service does not respond, or the response is not HTTP.
pub fn request(address: SocketAddr, path: &str, body: Option<&str>) -> anyhow::Result<(u16, String)> {
    let mut service = TcpStream::connect_timeout(&address, TIMEOUT)?;
    service.set_read_timeout(Some(TIMEOUT))?;
    service.set_write_timeout(Some(TIMEOUT))?;
    let key = std::env::var(API_KEY_VARIABLE).map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
    let head = format!("{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{key}");
    match body {
        None => write!(service, "GET {head}\r\n")?,
        Some(body) => {
            let length = body.len();
            write!(service, "POST {head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")?;
        }
    }
    let mut response = String::new();
    service.take(MAX_RESPONSE_BYTES).read_to_string(&mut response)?;
    let (head, body) = response.split_once("\r\n\r\n").context("the response is not HTTP")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("the response has no status")?;
    Ok((status, body.to_owned()))
}
