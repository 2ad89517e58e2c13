//! Reads a page: candles and coverage of one snapshot.

use sqlx::Sqlite;

use super::store::SqliteStore;
use crate::model::{Coverage, Series, TimeRange};
use crate::store::candles::{StoredPage, Take, page_range};
use crate::store::error::StoreError;
use crate::store::sql::{candles, store_error};

/// Both queries run in one transaction, which reads one snapshot of the write-ahead log.
pub(super) async fn page(
    store: &SqliteStore,
    series: &Series,
    range: TimeRange,
    take: Take,
) -> Result<StoredPage, StoreError> {
    let mut snapshot = store.readers.begin().await.map_err(store_error)?;
    let Some(id) = candles::series_id(store, &mut snapshot, series).await? else { return Ok(StoredPage::default()) };
    let rows = candles::read_candles::<Sqlite>(&mut snapshot, (series, id), range, take).await?;
    let known = page_range(&rows, range, take);
    let ranges = candles::read_ranges::<Sqlite>(&mut snapshot, id, known, candles::NO_LIMIT).await?;
    snapshot.commit().await.map_err(store_error)?;
    let coverage: Coverage = ranges.into_iter().collect();
    Ok(StoredPage { candles: rows, coverage: coverage.within(known) })
}
