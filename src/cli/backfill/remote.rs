//! Lets the service on this machine run the backfill, and shows its progress.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::bail;
use serde::Deserialize;
use serde_json::json;

use crate::cli::progress::{ProgressGroup, ProgressLine};
use crate::cli::ranges::{Outcome, SeriesRange};
use crate::cli::service::request;
use crate::clock::Clock;
use crate::model::ExchangeId;

/// Poll interval per backfill.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Number of consecutive failed polls after which the service is considered down.
const MAX_FAILED_POLLS: u32 = 20;

/// The service's representation of a backfill.
#[derive(Deserialize)]
pub struct Job {
    id: String,
    state: String,
    complete: bool,
    simulated: bool,
    known_ms: u64,
    total_ms: u64,
    detail: Option<String>,
}

#[derive(Deserialize)]
struct Problem {
    detail: String,
}

/// Submits the backfills. `None` if no service accepts them.
pub fn submit(
    address: SocketAddr,
    exchange: ExchangeId,
    series_ranges: &[SeriesRange],
    group: &ProgressGroup,
) -> anyhow::Result<Option<Vec<Job>>> {
    let mut jobs = Vec::new();
    for SeriesRange { symbol, interval, range } in series_ranges {
        let body = json!({
            "exchange": exchange.as_str(),
            "symbol": symbol.as_str(),
            "interval": interval.as_str(),
            "since": range.start().millis(),
            "until": range.end().millis(),
        });
        let Ok((status, text)) = request(address, "/v1/backfills", Some(&body.to_string())) else { return Ok(None) };
        match (status, serde_json::from_str(&text), serde_json::from_str::<Problem>(&text)) {
            (200 | 201, Ok(job), _) => jobs.push(job),
            (401 | 403, _, Ok(problem)) if jobs.is_empty() => {
                group.message(&format!(
                    "the service at {address} accepts no backfills without a key in CANDLEWICK_API_KEY ({}); fetching \
                     in this process, with at most two thirds of the exchange's rate limits",
                    problem.detail
                ));
                return Ok(None);
            }
            // Submitted backfills continue: the limit applies to requests only.
            (429, _, Ok(problem)) => {
                bail!("{}; {} of {} backfills were submitted", problem.detail, jobs.len(), series_ranges.len());
            }
            (400.., _, Ok(problem)) => bail!("{}", problem.detail),
            // Another program listens on this address.
            _ => return Ok(None),
        }
    }
    group.message(&format!("the service at {address} runs the backfill; it continues if this command ends"));
    Ok(Some(jobs))
}

/// Shows the progress of the service until all backfills are done. The outcomes are in the order of `jobs`.
pub async fn follow(
    address: SocketAddr,
    jobs: Vec<Job>,
    series_ranges: &[SeriesRange],
    group: &ProgressGroup,
    clock: &Clock,
) -> Vec<Outcome> {
    let mut failed_polls = 0;
    let mut lines: Vec<(Job, Option<ProgressLine>, u64)> = jobs
        .into_iter()
        .zip(series_ranges)
        .map(|(job, series_range)| {
            let candles = series_range.candle_count();
            (job, Some(group.add(&series_range.label(), candles)), candles)
        })
        .collect();
    loop {
        for (job, line, candles) in &mut lines {
            let Some(active) = line else { continue };
            match request(address, &format!("/v1/backfills/{}", job.id), None) {
                // The service is running and rate-limits this client.
                Ok((429, _)) => failed_polls = 0,
                Ok((_, text)) if let Ok(now) = serde_json::from_str(&text) => {
                    failed_polls = 0;
                    *job = now;
                }
                _ => failed_polls += 1,
            }
            let known = u128::from(job.known_ms) * u128::from(*candles) / u128::from(job.total_ms.max(1));
            active.set(u64::try_from(known).unwrap_or(u64::MAX), &job.state);
            if matches!(job.state.as_str(), "done" | "failed")
                && let Some(line) = line.take()
            {
                line.finish(&job.state);
            }
        }
        if failed_polls > MAX_FAILED_POLLS || lines.iter().all(|(_, line, _)| line.is_none()) {
            break;
        }
        // Polls less often with more backfills, because other clients on this machine share the service's limit.
        let interval = POLL_INTERVAL * u32::try_from(lines.len()).unwrap_or(u32::MAX);
        clock.sleep(clock.to_clock_time(interval)).await;
    }
    let outcome = |job: Job| match (job.state.as_str(), job.detail) {
        ("done", _) if job.simulated => Ok("done, with SIMULATED candles: the exchange is unreachable".to_owned()),
        ("done", _) if job.complete => Ok("complete".to_owned()),
        ("done", _) => Ok("complete except for unavailable candles; see `/v1/coverage` for what is missing".to_owned()),
        ("failed", reason) => Err(reason.unwrap_or_else(|| "the backfill failed".to_owned())),
        _ => Err(format!("the service at {address} no longer responds; it resumes the backfill when it runs again")),
    };
    lines.into_iter().map(|(job, ..)| outcome(job)).collect()
}
