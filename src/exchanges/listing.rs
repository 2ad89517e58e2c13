//! Reads listings row by row: an unreadable row never affects the others.

use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::Deserializer;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{ReplyError, codec};
use crate::model::{Instrument, parse_decimal};

/// What an exchange lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The spot markets.
    pub instruments: Vec<Instrument>,
    /// Rows that could not be read as documented.
    pub odd: Vec<OddRow>,
}

/// A row of a listing that could not be read as documented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OddRow {
    /// The exchange's id of the market where the row has one, else the row's number.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
    /// Whether the market is left out; otherwise only a step is missing.
    pub left_out: bool,
    /// Whether `name` is an id of the exchange.
    pub is_named: bool,
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

/// The longest id of a market, in bytes. The longest that was seen has 24.
const MAX_ID_BYTES: usize = 100;

/// What is wrong with a row although its market can be used.
#[derive(Debug, Default)]
pub(super) struct Notes(Option<String>);

impl Notes {
    /// Remembers the first thing that is wrong.
    pub fn note(&mut self, what: impl FnOnce() -> String) {
        self.0.get_or_insert_with(what);
    }

    /// A step; `None` where it is not given or not readable, and the latter is noted.
    pub fn step(&mut self, name: &str, step: Step) -> Option<Decimal> {
        match step {
            Step::Missing => None,
            Step::Known(step) => Some(step),
            Step::Odd(text) => {
                self.note(|| format!("{name} is `{text}`"));
                None
            }
        }
    }
}

/// The step of a price or an amount. Reading it never fails, so that a strange one costs no row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Step {
    /// None, null, empty or zero.
    #[default]
    Missing,
    Known(Decimal),
    /// Not a positive decimal number; its beginning.
    Odd(String),
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let text = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
        Ok(match parse_decimal(text) {
            _ if text.is_empty() || raw == "null" => Self::Missing,
            Ok(step) if step.is_zero() => Self::Missing,
            Ok(step) if step.is_sign_positive() => Self::Known(step),
            _ => Self::Odd(shortened(text)),
        })
    }
}

/// Reads the rows of a listing, each with its name where it has one outside. `id` is the member that names a market.
/// `read` gives `None` for what is no spot market, and says why a row must be left out.
///
/// # Errors
/// `Malformed` if there are rows, and none of them can be read.
pub(super) fn read<'a, R: Deserialize<'a>>(
    rows: impl Iterator<Item = (Option<&'a str>, &'a RawValue)>,
    id: &str,
    read: impl Fn(R, &mut Notes) -> Result<Option<Instrument>, String>,
) -> Result<Listing, ReplyError> {
    let mut listing = Listing::default();
    let mut is_readable = false;
    for (number, (name, raw)) in rows.enumerate() {
        let mut notes = Notes::default();
        let row = serde_json::from_str(raw.get()).map_err(|error| error.to_string());
        let odd = match row.and_then(|row| read(row, &mut notes)) {
            Ok(Some(instrument)) if instrument.native.len() > MAX_ID_BYTES => Some(("its id is too long".into(), true)),
            Ok(instrument) => {
                is_readable = true;
                listing.instruments.extend(instrument);
                notes.0.map(|note| (note, false))
            }
            Err(reason) => Some((reason, true)),
        };
        if let Some((reason, left_out)) = odd {
            let name = named(raw, id).or(name.map(str::to_owned));
            let is_named = name.is_some();
            let name = shortened(&name.unwrap_or_else(|| format!("row {}", number + 1)));
            listing.odd.push(OddRow { name, reason: shortened(&reason), left_out, is_named });
        }
    }
    match listing.odd.first() {
        Some(odd) if !is_readable => {
            let what = format!("none of {} rows can be read: {}", listing.odd.len(), odd.reason);
            Err(codec::malformed(what, odd.name.as_bytes()))
        }
        _ => Ok(listing),
    }
}

/// The id that a row gives itself.
fn named(raw: &RawValue, id: &str) -> Option<String> {
    let row: Value = serde_json::from_str(raw.get()).ok()?;
    row.get(id)?.as_str().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// For the log.
fn shortened(text: &str) -> String {
    text.chars().take(MAX_ID_BYTES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchanges::{ReplyErrorKind, testing};
    use crate::model::ExchangeId;
    use proptest::prelude::*;

    #[derive(Deserialize)]
    struct Row<'a> {
        id: &'a str,
        #[serde(default)]
        step: Step,
    }

    fn listing(rows: &str) -> Result<Listing, ReplyError> {
        let rows: Vec<&RawValue> = serde_json::from_str(rows).unwrap();
        read(rows.into_iter().map(|raw| (None, raw)), "id", |row: Row<'_>, notes| {
            let price_step = notes.step("step", row.step);
            let instrument = testing::instrument(ExchangeId::Okx, "BTC/USDT", "", None);
            match row.id {
                "other" => Ok(None),
                "bad" => Err("no assets".to_owned()),
                id => Ok(Some(Instrument { native: id.to_owned(), price_step, ..instrument })),
            }
        })
    }

    #[test]
    fn an_odd_row_is_left_out_and_an_odd_step_is_null() {
        let listed = listing(
            r#"[{"id":"a","step":"0.10"},{"id":"b","step":"0.0000000000000000000000000000001"},{"id":"c","step":""},
                {"id":"bad"},{"id":"other"},{"id":null},7,{"id":"d","step":"-1"},{"id":"e","step":{}},{"id":"f","step":null}]"#,
        )
        .unwrap();
        let steps: Vec<_> =
            listed.iter().map(|one| (&*one.native, one.price_step.map(|step| step.to_string()))).collect();
        let none = |id| (id, None);
        assert_eq!(steps, [("a", Some("0.1".into())), none("b"), none("c"), none("d"), none("e"), none("f")]);
        let odd: Vec<_> = listed.odd.iter().map(|row| (&*row.name, row.left_out)).collect();
        let expected = [("b", false), ("bad", true), ("row 6", true), ("row 7", true), ("d", false), ("e", false)];
        assert_eq!(odd, expected);
    }

    #[test]
    fn a_listing_without_any_readable_row_is_malformed() {
        assert_eq!(listing("[7,{}]").unwrap_err().kind, ReplyErrorKind::Malformed);
        assert_eq!(listing("[]").unwrap(), Listing::default());
        assert!(listing(r#"[{"id":"other"},7]"#).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn a_step_is_read_whatever_it_is(text in "\\PC{0,60}") {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert!(serde_json::from_str::<Step>(&json).is_ok());
        }
    }
}
