//! Asks the service that runs on this machine to fetch, and shows how far it is.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::bail;
use serde::Deserialize;
use serde_json::json;

use super::{Outcome, Wanted};
use crate::cli::progress::{Group, Line};
use crate::cli::service::ask;
use crate::clock::Clock;
use crate::model::ExchangeId;

/// How often it is asked how far it is.
const LOOK: Duration = Duration::from_millis(500);

/// After so many questions without an answer in a row the service is taken for gone.
const TRIES: u32 = 20;

/// A backfill as the service tells it.
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
struct Refusal {
    detail: String,
}

/// Hands the work over. `None` where no service answers that takes it.
pub fn begin(
    address: SocketAddr,
    exchange: ExchangeId,
    wanted: &[Wanted],
    group: &Group,
) -> anyhow::Result<Option<Vec<Job>>> {
    let mut jobs = Vec::new();
    for Wanted { symbol, interval, range } in wanted {
        let body = json!({
            "exchange": exchange.as_str(),
            "symbol": symbol.as_str(),
            "interval": interval.as_str(),
            "since": range.start().millis(),
            "until": range.end().millis(),
        });
        let Ok((status, text)) = ask(address, "/v1/backfills", Some(&body.to_string())) else { return Ok(None) };
        match (status, serde_json::from_str(&text), serde_json::from_str::<Refusal>(&text)) {
            (200 | 201, Ok(job), _) => jobs.push(job),
            (401 | 403, _, Ok(refusal)) if jobs.is_empty() => {
                group.say(&format!(
                    "the service at {address} takes no backfills from here without a key in CANDLEWICK_API_KEY ({}); \
                     fetching beside it, at most two thirds of the exchange's limits",
                    refusal.detail
                ));
                return Ok(None);
            }
            // What was begun goes on; the limit is for questions.
            (429, _, Ok(refusal)) => bail!("{}; {} of {} were begun", refusal.detail, jobs.len(), wanted.len()),
            (400.., _, Ok(refusal)) => bail!("{}", refusal.detail),
            // Something else listens there.
            _ => return Ok(None),
        }
    }
    group.say(&format!("the service at {address} fetches; it goes on also when this ends"));
    Ok(Some(jobs))
}

/// Shows how far the service is, until all is done. The outcomes have the order of `jobs`.
pub async fn follow(
    address: SocketAddr,
    jobs: Vec<Job>,
    wanted: &[Wanted],
    group: &Group,
    clock: &Clock,
) -> Vec<Outcome> {
    let mut silent = 0;
    let mut lines: Vec<(Job, Option<Line>, u64)> = jobs
        .into_iter()
        .zip(wanted)
        .map(|(job, wanted)| {
            let candles = wanted.candles();
            (job, Some(group.add(&wanted.name(), candles)), candles)
        })
        .collect();
    loop {
        for (job, line, candles) in &mut lines {
            let Some(shown) = line else { continue };
            match ask(address, &format!("/v1/backfills/{}", job.id), None) {
                // It answers, and wants to be asked less.
                Ok((429, _)) => silent = 0,
                Ok((_, text)) if let Ok(now) = serde_json::from_str(&text) => {
                    silent = 0;
                    *job = now;
                }
                _ => silent += 1,
            }
            let known = u128::from(job.known_ms) * u128::from(*candles) / u128::from(job.total_ms.max(1));
            shown.set(u64::try_from(known).unwrap_or(u64::MAX), &job.state);
            if matches!(job.state.as_str(), "done" | "failed")
                && let Some(line) = line.take()
            {
                line.finish(&job.state);
            }
        }
        if silent > TRIES || lines.iter().all(|(_, line, _)| line.is_none()) {
            break;
        }
        // Others on this machine share the service's limit.
        clock.sleep(clock.inside(LOOK * u32::try_from(lines.len()).unwrap_or(u32::MAX))).await;
    }
    let outcome = |job: Job| match (job.state.as_str(), job.detail) {
        ("done", _) if job.simulated => Ok("done, with SIMULATED candles: the exchange cannot be reached".to_owned()),
        ("done", _) if job.complete => Ok("complete".to_owned()),
        ("done", _) => Ok("as complete as the exchange can give; `/v1/coverage` says what is missing".to_owned()),
        ("failed", why) => Err(why.unwrap_or_else(|| "it failed".to_owned())),
        _ => Err(format!("the service at {address} answers no more; it goes on when it runs again")),
    };
    lines.into_iter().map(|(job, ..)| outcome(job)).collect()
}
