//! `GET /livez`, `GET /readyz` and `GET /health`.

use poem::Response;

use super::payload::{JSON, encode, json};
use super::schema;
use crate::api::operation::{self, Call, Content, Operation, Tag};
use crate::api::problem::{Code, Problem};
use crate::lifecycle::Phase;

pub const LIVEZ: Operation = Operation {
    id: "livez",
    path: "/livez",
    tag: Some(Tag::Service),
    summary: "Whether the process runs",
    description: "Always 200: asks nothing but the process itself. For the probe that restarts it.",
    parameters: &[],
    contents: &[Content {
        media: JSON,
        schema: Some(operation::schema::<schema::Live>),
        example: include_str!("examples/live.json"),
    }],
    headers: &[],
    conditional: false,
    problems: &[Code::InvalidParameter],
    handler: |_| Box::pin(std::future::ready(Ok(json(&b"{\"status\":\"ok\"}"[..])))),
};

pub const READYZ: Operation = Operation {
    id: "readyz",
    path: "/readyz",
    summary: "Whether requests shall be sent here",
    description: "503 before it was ready for the first time and while it shuts down, else 200. What does not work as it \
                  should stands in `degraded`: answers may be missing or old, but another replica would not do better.",
    contents: &[Content {
        media: JSON,
        schema: Some(operation::schema::<schema::Ready>),
        example: include_str!("examples/ready.json"),
    }],
    problems: &[Code::InvalidParameter, Code::NotReady],
    handler: |call| Box::pin(readyz(call)),
    ..LIVEZ
};

pub const HEALTH: Operation = Operation {
    id: "health",
    path: "/health",
    summary: "How the whole is doing, for a person",
    description: "Always 200. `status` is `starting`, `ok`, `degraded` or `draining`.",
    contents: &[Content {
        media: JSON,
        schema: Some(operation::schema::<schema::Health>),
        example: include_str!("examples/health.json"),
    }],
    handler: |call| Box::pin(health(call)),
    ..LIVEZ
};

async fn readyz(call: Call<'_>) -> Result<Response, Problem> {
    match call.doors.life.phase() {
        Phase::Starting => Err(Problem::new(Code::NotReady, "starting: not ready yet")),
        Phase::Draining => Err(Problem::new(Code::NotReady, "shutting down: send requests elsewhere")),
        Phase::Ready => {
            encode(&schema::Ready { status: "ready".to_owned(), degraded: call.doors.market.health().await.degraded })
        }
    }
}

async fn health(call: Call<'_>) -> Result<Response, Problem> {
    let health = call.doors.market.health().await;
    let status = match call.doors.life.phase() {
        Phase::Starting => "starting",
        Phase::Draining => "draining",
        Phase::Ready if health.degraded.is_empty() => "ok",
        Phase::Ready => "degraded",
    };
    encode(&schema::Health::new(status, &call.doors.about, health))
}
