//! `POST /v1/tickets`.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::{ApiResponse, OpenApi};

use super::Tag;
use super::payload::RawJson;
use super::schema::Ticket;
use crate::api::Doors;
use crate::api::access::Client;
use crate::api::problem::Problem;
use crate::api::refusal::Refusal;

/// What stands in for a key.
pub struct TicketApi(pub Arc<Doors>);

#[derive(ApiResponse)]
enum Made {
    /// To be used at once.
    #[oai(status = 201)]
    Ticket(RawJson<Ticket>),
}

#[OpenApi(tag = "Tag::Service")]
#[expect(clippy::unused_async, reason = "operations are asynchronous")]
impl TicketApi {
    /// A ticket for a browser's socket
    ///
    /// Browsers send no headers when they open a WebSocket or an event stream. A ticket stands in for the key that asks for
    /// it: `/v1/stream?ticket=…`, for 30 seconds. What it opened stays open after that.
    #[oai(path = "/v1/tickets", method = "post", operation_id = "makeTicket")]
    async fn make(&self, Data(client): Data<&Client>) -> Result<Made, Refusal> {
        let Some(key) = &client.key else { return Err(Problem::no_key("a ticket stands in for a key").into()) };
        let (ticket, until) = self.0.gate.ticket(key);
        Ok(Made::Ticket(RawJson::encode(&Ticket { ticket, expires_at: until.millis() })))
    }
}
