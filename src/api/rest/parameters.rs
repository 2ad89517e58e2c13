//! Parameter types of operations, with their descriptions and schemas. Values arrive as text and are validated together
//! where they are used, so that one error lists all invalid parameters.

use std::borrow::Cow;
use std::ops::Deref;

use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseFromParameter, ParseResult, Type};
use serde_json::Value;

use crate::market::{HISTORY_LIMIT, HISTORY_LIMIT_MAX};
use crate::model;

/// Default and maximum number of instruments per page.
pub const INSTRUMENTS_LIMIT: (u32, u32) = (500, 5_000);

/// Maximum length of a list of symbols, in bytes.
const MAX_LIST_BYTES: usize = 8 * 1024;

/// Pattern of parameters: no control characters.
const NO_CONTROLS: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";

/// Pattern of symbols: letters, digits, `.`, `-`, `_`, `/`, `:`, `$` and non-ASCII characters, which some markets have.
const SYMBOL_CHARS: &str = r"^[^\u0000-\u0023\u0025-\u002c\u003b-\u0040\u005b-\u005e\u0060\u007b-\u009f]*$";

/// Declares parameter types. The doc comment becomes the description, the expression the schema.
macro_rules! parameters {
    ($($(#[doc = $doc:literal])+ $name:ident: $schema:expr;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Debug)]
        pub struct $name(String);

        impl Type for $name {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn schema_ref() -> MetaSchemaRef {
                let description = Some(concat!($($doc),+).trim());
                MetaSchemaRef::Inline(Box::new(MetaSchema { description, ..$schema }))
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }

        impl ParseFromParameter for $name {
            fn parse_from_parameter(value: &str) -> ParseResult<Self> {
                Ok(Self(value.to_owned()))
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }
    )+};
}

parameters! {
    /// The id of the exchange. Without it, the first enabled exchange that lists the symbol is used.
    Exchange: text("binance");
    /// The market: `BTC/USDT`, `BTC-USDT` or `BTC_USDT` in upper or lower case, or the exchange's native symbol. A
    /// contract has its settlement asset, `BTC/USDT:USDT`, and a future also its expiry date, `BTC/USDT:USDT-270326`.
    Symbol: symbol("BTC/USDT");
    /// The market, such as `BTC-USDT` or `BTC-USDT:USDT`.
    PathSymbol: symbol("BTC-USDT");
    /// Comma-separated list of markets.
    Symbols: MetaSchema { max_length: Some(MAX_LIST_BYTES), ..text("BTC/USDT,ETH/USDT") };
    /// The candle interval. Case-sensitive: `1m` is one minute, `1M` one month.
    Interval: one_of(&model::Interval::ALL.map(model::Interval::as_str), model::Interval::M1.as_str());
    /// The first open time, inclusive: Unix milliseconds, RFC 3339, or a date in UTC.
    Start: time("2025-11-20T21:00:00Z");
    /// The end of the range, exclusive: Unix milliseconds, RFC 3339, or a date in UTC.
    End: time("2025-11-20T22:00:00Z");
    /// Maximum number of candles per page.
    Limit: count(HISTORY_LIMIT, HISTORY_LIMIT_MAX);
    /// `next_cursor` of the previous page. All other parameters must stay the same.
    Cursor: text("b1763672400000");
    /// How to represent intervals without trades. `none`: no candle. `flat`: a candle at the previous close with zero
    /// volume and `filled` set. No candle is added before the first candle or after a range with unknown data.
    Fill: one_of(&["none", "flat"], "none");
    /// The response format. `array` is the CCXT format `[[timestamp,open,high,low,close,volume],…]`. `csv` and `ndjson`
    /// return the whole range without pagination if `start` and `end` are set and `limit` is not.
    Format: one_of(&["json", "array", "csv", "ndjson"], "json");
    /// Maximum number of ranges per page.
    CoverageLimit: count(HISTORY_LIMIT, HISTORY_LIMIT_MAX);
    /// Maximum number of instruments per page.
    InstrumentsLimit: count(INSTRUMENTS_LIMIT.0, INSTRUMENTS_LIMIT.1);
    /// The `id` of the backfill.
    BackfillId: text("1f0c7a52b9d3e648");
    /// Only markets of this kind: `spot`; `linear`: contracts that settle in the quote asset; `inverse`: contracts that
    /// settle in the base asset.
    Kind: MetaSchema { default: None, ..one_of(&model::MarketKind::ALL.map(model::MarketKind::as_str), "spot") };
    /// Only markets with this base asset.
    Base: text("BTC");
    /// Only markets with this quote asset.
    Quote: text("USDT");
    /// Only markets whose symbol or native symbol contains this text.
    SearchText: text("btc");
}

impl From<PathSymbol> for Symbol {
    fn from(symbol: PathSymbol) -> Self {
        Self(symbol.0)
    }
}

fn text(example: &str) -> MetaSchema {
    MetaSchema {
        min_length: Some(1),
        max_length: Some(256),
        pattern: Some(NO_CONTROLS.to_owned()),
        example: Some(example.into()),
        ..MetaSchema::new("string")
    }
}

fn symbol(example: &str) -> MetaSchema {
    MetaSchema { max_length: Some(model::Symbol::MAX_LENGTH), pattern: Some(SYMBOL_CHARS.to_owned()), ..text(example) }
}

fn one_of(values: &[&str], default: &str) -> MetaSchema {
    let enum_items = values.iter().map(|value| Value::from(*value)).collect();
    MetaSchema { enum_items, default: Some(default.into()), example: Some(default.into()), ..MetaSchema::new("string") }
}

fn time(example: &str) -> MetaSchema {
    let inline = |schema| MetaSchemaRef::Inline(Box::new(schema));
    let millis = MetaSchema { minimum: Some(0.0), ..MetaSchema::new_with_format("integer", "int64") };
    let one_of = vec![inline(millis), inline(MetaSchema::new_with_format("string", "date-time"))];
    MetaSchema { one_of, example: Some(example.into()), ..MetaSchema::ANY }
}

fn count(default: u32, max: u32) -> MetaSchema {
    MetaSchema {
        minimum: Some(1.0),
        maximum: Some(max.into()),
        default: Some(default.into()),
        example: Some(default.into()),
        ..MetaSchema::new("integer")
    }
}
