//! `candlewick health`: asks the service on this machine whether it is ready, for container platforms without a shell.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use crate::config::Config;

/// How long each step of the question may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// The most of an answer that is read.
const MOST: u64 = 64 * 1024;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file that the service runs with [default: candlewick.toml, if it is there]
    #[arg(long, value_name = "FILE", env = "CANDLEWICK_CONFIG")]
    config: Option<PathBuf>,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut address = Config::load(args.config)?.server.listen;
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let (status, body) = ask(address).with_context(|| format!("nothing answers at {address}"))?;
    println!("{body}");
    Ok(if status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The status and the body of `/readyz`.
fn ask(address: SocketAddr) -> anyhow::Result<(u16, String)> {
    let mut service = TcpStream::connect_timeout(&address, PATIENCE)?;
    service.set_read_timeout(Some(PATIENCE))?;
    service.set_write_timeout(Some(PATIENCE))?;
    write!(service, "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    service.take(MOST).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is no HTTP")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("the answer has no status")?;
    Ok((status, body.to_owned()))
}
