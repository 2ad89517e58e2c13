//! `GET /v1/exchanges` and `GET /v1/exchanges/{exchange}`.

use poem::Response;

use super::payload::{JSON, encode};
use super::{EXCHANGE as EXCHANGE_PARAMETER, schema};
use crate::api::operation::{self, Call, Content, Operation, Parameter, Tag};
use crate::api::problem::{Code, Problem};

pub const EXCHANGES: Operation = Operation {
    id: "listExchanges",
    path: "/v1/exchanges",
    tag: Some(Tag::Reference),
    summary: "All enabled exchanges",
    description: "In registry order, which is the order in which they are asked where a question names none.",
    parameters: &[],
    contents: &[Content {
        media: JSON,
        schema: Some(operation::schema::<schema::Exchanges>),
        example: include_str!("examples/exchanges.json"),
    }],
    headers: &[],
    conditional: false,
    problems: &[Code::InvalidParameter],
    handler: |call| Box::pin(exchanges(call)),
};

pub const EXCHANGE: Operation = Operation {
    id: "getExchange",
    path: "/v1/exchanges/{exchange}",
    summary: "One exchange: its state, what it offers, its connections and budgets",
    description: "States: `connecting` (not yet live), `live`, `stale` (connected, but silent), `reconnecting`, `down`, \
                  `simulated` (the simulator stands in for it).",
    parameters: &[Parameter { description: "The id of the exchange.", ..EXCHANGE_PARAMETER.in_path() }],
    contents: &[Content {
        media: JSON,
        schema: Some(operation::schema::<schema::Exchange>),
        example: include_str!("examples/exchange.json"),
    }],
    problems: &[Code::InvalidParameter, Code::UnknownExchange, Code::NotReady],
    handler: |call| Box::pin(exchange(call)),
    ..EXCHANGES
};

async fn exchanges(call: Call<'_>) -> Result<Response, Problem> {
    let now = call.doors.clock.now();
    let states = call.doors.market.exchanges().await;
    encode(&schema::Exchanges { exchanges: states.iter().map(|state| schema::Exchange::new(state, now)).collect() })
}

async fn exchange(call: Call<'_>) -> Result<Response, Problem> {
    let id = call.doors.market.exchange_id(call.values.required("exchange"))?;
    let states = call.doors.market.exchanges().await;
    let state = states.iter().find(|state| state.exchange == id);
    let state = state.ok_or_else(|| Problem::new(Code::NotReady, format!("nothing is known of {id} yet")))?;
    encode(&schema::Exchange::new(state, call.doors.clock.now()))
}
