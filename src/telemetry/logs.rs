//! Where log lines go: standard error, as text for people or JSON for machines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use super::otlp::Traces;

/// The framework's server serves the built-in simulator only: its "listening" would name a port that is nobody's business.
/// Directives of the same target stand above it.
const QUIET: &str = "poem::server=warn";

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text on a terminal, else JSON.
    Auto,
    Text,
    Json,
}

/// Starts logging for the process: what `directives` of `EnvFilter` let through. Traces have a filter of their own.
///
/// # Errors
/// A sentence about directives that are none.
pub fn init(format: Format, directives: &str, traces: Option<&Traces>) -> Result<(), String> {
    let filter = filter(directives)?;
    let terminal = std::io::stderr().is_terminal();
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(terminal);
    let json = match format {
        Format::Auto => !terminal,
        Format::Text => false,
        Format::Json => true,
    };
    let lines = if json { lines.json().flatten_event(true).boxed() } else { lines.with_target(false).boxed() };
    let started =
        tracing_subscriber::registry().with(lines.with_filter(filter)).with(traces.map(Traces::layer)).try_init();
    // Only a second start in one process fails, which tests do; the first one stands.
    drop(started);
    Ok(())
}

fn filter(directives: &str) -> Result<EnvFilter, String> {
    const REMEDY: &str = "write a level such as \"info\", or directives such as \"info,candlewick::upstream=debug\"";
    // A bare word that is no level would name a target: everything else would be silent.
    let bare = |directive: &&str| !directive.contains(['=', '[']);
    if let Some(word) =
        directives.split(',').map(str::trim).filter(bare).find(|word| word.parse::<LevelFilter>().is_err())
    {
        return Err(format!("`log.level`: `{word}` is no level; {REMEDY}"));
    }
    EnvFilter::builder()
        .parse(format!("{QUIET},{directives}"))
        .map_err(|error| format!("`log.level`: {error}; {REMEDY}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_silence_everything_is_refused() {
        assert!(filter("info").unwrap().to_string().contains(QUIET));
        assert!(!filter("info,poem::server=debug").unwrap().to_string().contains(QUIET));
        for good in ["info", "off", "WARN", "info,candlewick::upstream=debug", "candlewick[request]=trace,warn"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for (wrong, named) in [("verbose", "`verbose`"), ("info,candlewick", "`candlewick`"), ("a=b=c", "info")] {
            assert!(filter(wrong).unwrap_err().contains(named), "{wrong}");
        }
    }
}
