//! `POST /v1/backfills`, `GET /v1/backfills` and `GET /v1/backfills/{id}`.

use std::sync::Arc;

use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, OpenApi};

use super::Tag;
use super::parameters::BackfillId;
use super::payload::RawJson;
use super::schema;
use crate::api::Doors;
use crate::api::refusal::Refusal;
use crate::market::{BackfillFields, BackfillQuery};

/// Ranges that are fetched because someone asked.
pub struct BackfillApi(pub Arc<Doors>);

#[derive(ApiResponse)]
enum Begun {
    /// One that is under way holds this range already.
    #[oai(status = 200)]
    Same(
        RawJson<schema::Backfill>,
        /// Where it can be followed.
        #[oai(header = "Location")]
        String,
    ),
    /// It waits for a collector, which begins within seconds.
    #[oai(status = 201)]
    New(
        RawJson<schema::Backfill>,
        /// Where it can be followed.
        #[oai(header = "Location")]
        String,
    ),
}

#[OpenApi(tag = "Tag::Backfills")]
impl BackfillApi {
    /// Fetch a range of candles in the background
    ///
    /// What the ledger knows is not fetched again, and what an interruption leaves undone is done after it. Live data
    /// have the first claim on the exchange's limits. Needs a key with the scope `admin`, except on the
    /// service's own machine where `auth.open_on_loopback` is true: by default where it listens on loopback and trusts no proxy.
    #[oai(path = "/v1/backfills", method = "post", operation_id = "beginBackfill")]
    async fn begin(&self, asked: Json<schema::NewBackfill>) -> Result<Begun, Refusal> {
        let Doors { market, clock, .. } = &*self.0;
        let fields = BackfillFields {
            interval: asked.interval.as_deref(),
            since: &asked.since.0,
            until: asked.until.as_ref().map(|until| until.0.as_str()),
        };
        let query = BackfillQuery::new(fields, clock.now())?;
        let listed = market.find(asked.exchange.as_deref(), &asked.symbol).await?;
        let (answer, is_new) = market.begin_backfill(&listed, &query).await?;
        let location = format!("/v1/backfills/{}", answer.backfill.id);
        let body = RawJson::encode(&schema::Backfill::new(&answer));
        Ok(if is_new { Begun::New(body, location) } else { Begun::Same(body, location) })
    }

    /// The latest backfills
    ///
    /// The newest first, at most a hundred.
    #[oai(path = "/v1/backfills", method = "get", operation_id = "listBackfills")]
    async fn list(&self) -> Result<RawJson<schema::Backfills>, Refusal> {
        let backfills = self.0.market.backfills().await?.iter().map(schema::Backfill::new).collect();
        Ok(RawJson::encode(&schema::Backfills { backfills }))
    }

    /// How far a backfill is
    ///
    /// States: `waiting` (no collector has begun), `running`, `done` (all that the exchange gives is there), `failed`
    /// (`detail` says why).
    #[oai(path = "/v1/backfills/:id", method = "get", operation_id = "getBackfill")]
    async fn get(&self, id: Path<BackfillId>) -> Result<RawJson<schema::Backfill>, Refusal> {
        Ok(RawJson::encode(&schema::Backfill::new(&self.0.market.backfill(&id).await?)))
    }
}
