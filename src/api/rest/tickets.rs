//! `POST /v1/tickets`.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::{ApiResponse, OpenApi};

use super::payload::RawJson;
use super::schema::Ticket;
use super::tag::Tag;
use crate::api::access::Client;
use crate::api::error_response::ErrorResponse;
use crate::api::problem::Problem;
use crate::api::state::AppState;

/// Ticket operations.
pub struct TicketApi(pub Arc<AppState>);

#[derive(ApiResponse)]
enum TicketCreated {
    /// A ticket, valid for 30 seconds.
    #[oai(status = 201)]
    Ticket(RawJson<Ticket>),
}

#[OpenApi(tag = "Tag::Service")]
#[expect(clippy::unused_async, reason = "operations are asynchronous")]
impl TicketApi {
    /// Create a ticket for a stream in a browser
    ///
    /// Browsers cannot send an API key when they open a WebSocket or an event stream. A ticket replaces the key of the
    /// request that created it: `/v1/stream?ticket=…`. It is valid for 30 seconds; an opened stream stays open after
    /// that.
    #[oai(path = "/v1/tickets", method = "post", operation_id = "makeTicket")]
    async fn make(&self, Data(client): Data<&Client>) -> Result<TicketCreated, ErrorResponse> {
        let Some(key) = &client.key else {
            return Err(Problem::missing_key("send the API key that the ticket replaces").into());
        };
        let (ticket, expires_at) = self.0.authorizer.ticket(key);
        Ok(TicketCreated::Ticket(RawJson::encode(&Ticket { ticket, expires_at: expires_at.millis() })))
    }
}
