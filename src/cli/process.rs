//! The async runtime of a command, and the signals that end it.

use anyhow::Context;
use tokio::runtime::Runtime;

use crate::upstream::install_crypto;

/// The runtime of a short command.
pub fn runtime() -> anyhow::Result<Runtime> {
    install_crypto();
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the async runtime")
}

/// Completes on SIGINT or SIGTERM. The handlers are installed by the call, not by the first poll.
#[cfg(unix)]
pub fn shutdown_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Completes on Ctrl-C.
#[cfg(not(unix))]
pub fn shutdown_signal() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        // If the handler cannot be installed, Ctrl-C terminates the process.
        let _ = tokio::signal::ctrl_c().await;
    })
}
