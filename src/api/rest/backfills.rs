//! `POST /v1/backfills`, `GET /v1/backfills` and `GET /v1/backfills/{id}`.

use std::sync::Arc;

use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, OpenApi};

use super::parameters::BackfillId;
use super::payload::RawJson;
use super::schema;
use super::tag::Tag;
use crate::api::error_response::ErrorResponse;
use crate::api::state::AppState;
use crate::market::{BackfillParams, BackfillQuery};

/// Backfill operations.
pub struct BackfillApi(pub Arc<AppState>);

#[derive(ApiResponse)]
enum BackfillAccepted {
    /// A waiting or running backfill already contains this range.
    #[oai(status = 200)]
    Same(
        RawJson<schema::Backfill>,
        /// URL that returns the progress.
        #[oai(header = "Location")]
        String,
    ),
    /// Created. A collector starts it within seconds.
    #[oai(status = 201)]
    New(
        RawJson<schema::Backfill>,
        /// URL that returns the progress.
        #[oai(header = "Location")]
        String,
    ),
}

#[OpenApi(tag = "Tag::Backfills")]
impl BackfillApi {
    /// Fetch a range of candles in the background
    ///
    /// Fetches only ranges that are not covered yet. An interrupted backfill continues later. Live data has priority in
    /// the exchange's rate limits. Needs a key with the scope `admin`, except for requests from the machine of the
    /// service if `auth.open_on_loopback` is true; that is the default if the service listens on loopback and trusts no
    /// proxy.
    #[oai(path = "/v1/backfills", method = "post", operation_id = "beginBackfill")]
    async fn begin(&self, request: Json<schema::NewBackfill>) -> Result<BackfillAccepted, ErrorResponse> {
        let AppState { market, clock, .. } = &*self.0;
        let params = BackfillParams {
            interval: request.interval.as_deref(),
            since: &request.since.0,
            until: request.until.as_ref().map(|until| until.0.as_str()),
        };
        let query = BackfillQuery::new(params, clock.now())?;
        let listed = market.find(request.exchange.as_deref(), &request.symbol).await?;
        let (status, is_new) = market.begin_backfill(&listed, &query).await?;
        let location = format!("/v1/backfills/{}", status.backfill.id);
        let body = RawJson::encode(&schema::Backfill::new(&status));
        Ok(if is_new { BackfillAccepted::New(body, location) } else { BackfillAccepted::Same(body, location) })
    }

    /// The latest backfills
    ///
    /// At most 100, newest first.
    #[oai(path = "/v1/backfills", method = "get", operation_id = "listBackfills")]
    async fn list(&self) -> Result<RawJson<schema::Backfills>, ErrorResponse> {
        let backfills = self.0.market.backfills().await?.iter().map(schema::Backfill::new).collect();
        Ok(RawJson::encode(&schema::Backfills { backfills }))
    }

    /// Progress of a backfill
    ///
    /// States: `waiting` (not started yet), `running`, `done` (all data that the exchange provides is stored), `failed`
    /// (`detail` states the reason).
    #[oai(path = "/v1/backfills/:id", method = "get", operation_id = "getBackfill")]
    async fn get(&self, id: Path<BackfillId>) -> Result<RawJson<schema::Backfill>, ErrorResponse> {
        Ok(RawJson::encode(&schema::Backfill::new(&self.0.market.backfill(&id).await?)))
    }
}
