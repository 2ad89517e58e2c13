//! The parameters of operations, each with its words for the document. They arrive as text and are checked where they
//! are used, all at once, so that a refusal names everything that is wrong.

use std::borrow::Cow;
use std::ops::Deref;

use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseFromParameter, ParseResult, Type};
use serde_json::Value;

use crate::market::{HISTORY_LIMIT, HISTORY_LIMIT_MAX};
use crate::model;

/// How many instruments a page has when nothing is said, and at most.
pub const INSTRUMENTS_LIMIT: (u32, u32) = (500, 5_000);

/// The longest list of symbols, in bytes.
const MAX_LIST_BYTES: usize = 8 * 1024;

/// No parameter has control characters.
const NO_CONTROLS: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";

/// Letters and digits, `.`, `-`, `_`, `/`, `:`, `$`, and what is not ASCII: exchanges have such markets.
const SYMBOL_CHARS: &str = r"^[^\u0000-\u0023\u0025-\u002c\u003b-\u0040\u005b-\u005e\u0060\u007b-\u009f]*$";

/// Declares types of parameters: the documentation is the parameter's description, the expression its schema.
macro_rules! parameters {
    ($($(#[doc = $words:literal])+ $name:ident: $schema:expr;)+) => {$(
        $(#[doc = $words])+
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
                let description = Some(concat!($($words),+).trim());
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
    /// The id of the exchange. Without it, the first enabled one that lists the symbol answers.
    Exchange: text("binance");
    /// The market: `BTC/USDT`, `BTC-USDT` or `BTC_USDT` in any case, or the exchange's own id.
    Symbol: symbol("BTC/USDT");
    /// The market: `BTC-USDT`.
    PathSymbol: symbol("BTC-USDT");
    /// The markets, with commas between them.
    Symbols: MetaSchema { max_length: Some(MAX_LIST_BYTES), ..text("BTC/USDT,ETH/USDT") };
    /// How long a candle lasts; case matters: `1m` is a minute, `1M` a month.
    Interval: one_of(&model::Interval::ALL.map(model::Interval::as_str), model::Interval::M1.as_str());
    /// The first open time, inclusive: Unix milliseconds, RFC 3339, or a date in UTC.
    Start: time("2025-11-20T21:00:00Z");
    /// Where the range ends, exclusive: Unix milliseconds, RFC 3339, or a date in UTC.
    End: time("2025-11-20T22:00:00Z");
    /// How many candles a page has at most.
    Limit: count(HISTORY_LIMIT, HISTORY_LIMIT_MAX);
    /// `next_cursor` of the page before, with all other parameters as they were.
    Cursor: text("b1763672400000");
    /// What stands for times in which nobody traded: nothing (`none`), or a candle at the close of the one before, with no
    /// volume and `filled` set (`flat`). Nothing is made up before the first candle, nor behind what is unknown.
    Fill: one_of(&["none", "flat"], "none");
    /// How candles are written. `array` is CCXT's `[[timestamp,open,high,low,close,volume],…]`. `csv` and `ndjson` give
    /// the whole range without pages when `start` and `end` are given and `limit` is not.
    Format: one_of(&["json", "array", "csv", "ndjson"], "json");
    /// How many ranges a page has at most.
    CoverageLimit: count(HISTORY_LIMIT, HISTORY_LIMIT_MAX);
    /// How many instruments a page has at most.
    InstrumentsLimit: count(INSTRUMENTS_LIMIT.0, INSTRUMENTS_LIMIT.1);
    /// The `id` that the backfill was given.
    BackfillId: text("1f0c7a52b9d3e648");
    /// Only those of this base asset.
    Base: text("BTC");
    /// Only those of this quote asset.
    Quote: text("USDT");
    /// Only those whose symbol or own id has this in it.
    Part: text("btc");
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
