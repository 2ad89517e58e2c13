//! Logging to standard error, as text or JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use super::otlp::TraceExporter;

/// Suppresses the "listening" line of poem's server, which serves only the built-in simulator: its port is irrelevant
/// to users. A configured directive for the same target overrides this one.
const DEFAULT_DIRECTIVE: &str = "poem::server=warn";

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text on a terminal, otherwise JSON.
    Auto,
    Text,
    Json,
}

/// Starts logging for the process, filtered by `directives` of `EnvFilter`. Traces have their own filter.
///
/// # Errors
/// A message about invalid directives.
pub fn init(format: Format, directives: &str, traces: Option<&TraceExporter>) -> Result<(), String> {
    let filter = filter(directives)?;
    let terminal = std::io::stderr().is_terminal();
    let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(terminal);
    let json = match format {
        Format::Auto => !terminal,
        Format::Text => false,
        Format::Json => true,
    };
    let layer = if json { layer.json().flatten_event(true).boxed() } else { layer.with_target(false).boxed() };
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter));
    let result = subscriber.with(traces.map(TraceExporter::layer)).try_init();
    // Fails only if called a second time in a process, as in tests; then the first subscriber remains.
    drop(result);
    Ok(())
}

fn filter(directives: &str) -> Result<EnvFilter, String> {
    const REMEDY: &str = "use a level such as \"info\", or directives such as \"info,candlewick::upstream=debug\"";
    // `EnvFilter` takes a word that is not a level as a target, and would then suppress everything else.
    let bare = |directive: &&str| !directive.contains(['=', '[']);
    if let Some(word) =
        directives.split(',').map(str::trim).filter(bare).find(|word| word.parse::<LevelFilter>().is_err())
    {
        return Err(format!("`log.level`: `{word}` is not a level; {REMEDY}"));
    }
    EnvFilter::builder()
        .parse(format!("{DEFAULT_DIRECTIVE},{directives}"))
        .map_err(|error| format!("`log.level`: {error}; {REMEDY}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_directives_that_suppress_all_logs() {
        assert!(filter("info").unwrap().to_string().contains(DEFAULT_DIRECTIVE));
        assert!(!filter("info,poem::server=debug").unwrap().to_string().contains(DEFAULT_DIRECTIVE));
        for directives in ["info", "off", "WARN", "info,candlewick::upstream=debug", "candlewick[request]=trace,warn"] {
            assert!(filter(directives).is_ok(), "{directives}");
        }
        for (wrong, expected) in [("verbose", "`verbose`"), ("info,candlewick", "`candlewick`"), ("a=b=c", "info")] {
            assert!(filter(wrong).unwrap_err().contains(expected), "{wrong}");
        }
    }
}
