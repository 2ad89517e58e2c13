//! Parses listings row by row: an invalid row never affects the others.

use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::Deserializer;
use serde_json::Value;
use serde_json::value::RawValue;

use super::codec;
use super::response::RestError;
use crate::model::{Instrument, parse_decimal};

/// The listing of an exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The spot markets.
    pub instruments: Vec<Instrument>,
    /// Rows that do not match the documentation.
    pub issues: Vec<ListingIssue>,
}

/// A row of a listing that does not match the documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListingIssue {
    /// The native id of the market if the row has one, otherwise the number of the row.
    pub name: String,
    /// What is wrong with the row.
    pub reason: String,
    /// Whether the market is left out; otherwise only a step is missing.
    pub left_out: bool,
    /// Whether `name` is a native id.
    pub has_id: bool,
}

impl std::ops::Deref for Listing {
    type Target = Vec<Instrument>;
    fn deref(&self) -> &Vec<Instrument> {
        &self.instruments
    }
}

impl IntoIterator for Listing {
    type Item = Instrument;
    type IntoIter = std::vec::IntoIter<Instrument>;
    fn into_iter(self) -> Self::IntoIter {
        self.instruments.into_iter()
    }
}

/// Maximum length of a native id, in bytes. The longest one seen has 24.
const MAX_ID_BYTES: usize = 100;

/// The first issue of a row whose market is usable.
#[derive(Debug, Default)]
pub(super) struct RowIssue(Option<String>);

impl RowIssue {
    /// Records an issue, unless one is already recorded.
    pub fn record(&mut self, reason: impl FnOnce() -> String) {
        self.0.get_or_insert_with(reason);
    }

    /// A step; `None` if it is missing or invalid. An invalid step is recorded.
    pub fn step(&mut self, name: &str, step: Step) -> Option<Decimal> {
        match step {
            Step::Missing => None,
            Step::Known(step) => Some(step),
            Step::Invalid(text) => {
                self.record(|| format!("{name} is `{text}`"));
                None
            }
        }
    }
}

/// The step of a price or an amount. Deserialization never fails, so that an invalid step does not invalidate its row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Step {
    /// Absent, null, empty or zero.
    #[default]
    Missing,
    Known(Decimal),
    /// The beginning of a value that is not a positive decimal number.
    Invalid(String),
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(raw) = Option::<&RawValue>::deserialize(deserializer)?.map(RawValue::get) else {
            return Ok(Self::Missing);
        };
        let text = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
        Ok(match parse_decimal(text) {
            _ if text.is_empty() => Self::Missing,
            Ok(step) if step.is_zero() => Self::Missing,
            Ok(step) if step.is_sign_positive() => Self::Known(step),
            _ => Self::Invalid(truncated(text)),
        })
    }
}

/// Like [`parse_rows`], for rows without keys.
pub(super) fn parse_list<'a, R: Deserialize<'a>>(
    rows: Vec<&'a RawValue>,
    id: &str,
    parse: impl Fn(R, &mut RowIssue) -> Result<Option<Instrument>, String>,
) -> Result<Listing, RestError> {
    parse_rows(rows.into_iter().map(|row| (None, row)), id, parse)
}

/// Parses the rows of a listing, each with its key if the rows are members of an object. `id` is the member with the
/// native id. `parse` returns `None` for a market that is not a spot market, and an error for a row to leave out.
///
/// # Errors
/// `Malformed` if there are rows and none of them is valid.
pub(super) fn parse_rows<'a, R: Deserialize<'a>>(
    rows: impl Iterator<Item = (Option<&'a str>, &'a RawValue)>,
    id: &str,
    parse: impl Fn(R, &mut RowIssue) -> Result<Option<Instrument>, String>,
) -> Result<Listing, RestError> {
    let mut listing = Listing::default();
    let mut any_valid = false;
    for (number, (key, raw)) in rows.enumerate() {
        let mut issue = RowIssue::default();
        let row = serde_json::from_str(raw.get()).map_err(|error| error.to_string());
        let issue = match row.and_then(|row| parse(row, &mut issue)) {
            Ok(Some(instrument)) if instrument.native.len() > MAX_ID_BYTES => Some(("its id is too long".into(), true)),
            Ok(instrument) => {
                any_valid = true;
                listing.instruments.extend(instrument);
                issue.0.map(|reason| (reason, false))
            }
            Err(reason) => Some((reason, true)),
        };
        if let Some((reason, left_out)) = issue {
            let name = row_id(raw, id).or(key.map(str::to_owned));
            let has_id = name.is_some();
            let name = truncated(&name.unwrap_or_else(|| format!("row {}", number + 1)));
            listing.issues.push(ListingIssue { name, reason: truncated(&reason), left_out, has_id });
        }
    }
    match listing.issues.first() {
        Some(issue) if !any_valid => {
            let what = format!("none of {} rows is valid: {}", listing.issues.len(), issue.reason);
            Err(codec::malformed(what, issue.name.as_bytes()))
        }
        _ => Ok(listing),
    }
}

/// The native id in a row.
fn row_id(raw: &RawValue, id: &str) -> Option<String> {
    let row: Value = serde_json::from_str(raw.get()).ok()?;
    row.get(id)?.as_str().filter(|id| !id.is_empty()).map(str::to_owned)
}

fn truncated(text: &str) -> String {
    text.chars().take(MAX_ID_BYTES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchanges::response::RestErrorKind;
    use crate::exchanges::testing;
    use crate::model::ExchangeId;
    use proptest::prelude::*;

    #[derive(Deserialize)]
    struct Row<'a> {
        id: &'a str,
        #[serde(default)]
        step: Step,
    }

    fn listing(rows: &str) -> Result<Listing, RestError> {
        let rows: Vec<&RawValue> = serde_json::from_str(rows).unwrap();
        parse_rows(rows.into_iter().map(|raw| (None, raw)), "id", |row: Row<'_>, issue| {
            let price_step = issue.step("step", row.step);
            let instrument = testing::instrument(ExchangeId::KRAKEN, "BTC/USDT", "", None);
            match row.id {
                "other" => Ok(None),
                "bad" => Err("no assets".to_owned()),
                id => Ok(Some(Instrument { native: id.to_owned(), price_step, ..instrument })),
            }
        })
    }

    #[test]
    fn leaves_out_invalid_rows_and_nulls_invalid_steps() {
        let listed = listing(
            r#"[{"id":"a","step":"0.10"},{"id":"b","step":"0.0000000000000000000000000000001"},{"id":"c","step":""},
                {"id":"bad"},{"id":"other"},{"id":null},7,{"id":"d","step":"-1"},{"id":"e","step":{}},{"id":"f","step":null}]"#,
        )
        .unwrap();
        let steps: Vec<_> =
            listed.iter().map(|one| (&*one.native, one.price_step.map(|step| step.to_string()))).collect();
        let none = |id| (id, None);
        assert_eq!(steps, [("a", Some("0.1".into())), none("b"), none("c"), none("d"), none("e"), none("f")]);
        let issues: Vec<_> = listed.issues.iter().map(|row| (&*row.name, row.left_out)).collect();
        let expected = [("b", false), ("bad", true), ("row 6", true), ("row 7", true), ("d", false), ("e", false)];
        assert_eq!(issues, expected);
    }

    #[test]
    fn rejects_listing_without_valid_rows() {
        assert_eq!(listing("[7,{}]").unwrap_err().kind, RestErrorKind::Malformed);
        assert_eq!(listing("[]").unwrap(), Listing::default());
        assert!(listing(r#"[{"id":"other"},7]"#).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn step_deserialization_never_fails(text in "\\PC{0,60}") {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert!(serde_json::from_str::<Step>(&json).is_ok());
        }
    }
}
