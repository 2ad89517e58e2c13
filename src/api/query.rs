//! Query strings, read strictly: a name that is not known, a name given twice, an escape that is none, a value that no
//! parameter can have. What a value means is checked where it is used.

use std::borrow::Cow;

use super::operation::{Parameter, Place};
use super::problem::{Problem, Refused};

/// The longest value of a parameter, in bytes, unless it takes a list.
pub const MAX_VALUE_BYTES: usize = 256;

/// The longest value of a parameter that takes a list, in bytes.
pub const MAX_LIST_BYTES: usize = 8 * 1024;

/// The most refusals that one answer lists.
const MAX_REFUSALS: usize = 20;

/// How much of an unknown name is quoted, in characters.
const MAX_QUOTED_CHARS: usize = 64;

/// The checked parameters of a request.
#[derive(Debug, Default)]
pub struct Values<'a>(Vec<(&'static str, Cow<'a, str>)>);

impl<'a> Values<'a> {
    /// Reads the parameters of an operation. Those that stand in the path come decoded from the router.
    ///
    /// # Errors
    /// `invalid_parameter` with each one that is wrong.
    pub fn read(
        known: &'static [Parameter],
        query: Option<&'a str>,
        path: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Self, Problem> {
        let mut values = Self(Vec::with_capacity(known.len()));
        let mut wrong = Vec::new();
        for parameter in known.iter().filter(|parameter| parameter.place == Place::Path) {
            match path(parameter.name) {
                Some(value) => values.take(parameter, Cow::Borrowed(value), &mut wrong),
                None => wrong.push(refused(parameter.name, "is not UTF-8")),
            }
        }
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(name) = decode(name) else {
                wrong.push(refused(quoted(name), "its name has an escape that is not valid"));
                continue;
            };
            let is_it = |parameter: &&Parameter| parameter.place == Place::Query && parameter.name == name;
            match (known.iter().find(is_it), decode(value)) {
                (None, _) => wrong.push(refused(quoted(&name), unknown(known))),
                (Some(one), None) => wrong.push(refused(one.name, "has an escape that is not valid UTF-8")),
                (Some(one), Some(_)) if values.get(one.name).is_some() => {
                    wrong.push(refused(one.name, "is given more than once"));
                }
                (Some(one), Some(value)) => values.take(one, value, &mut wrong),
            }
        }
        for parameter in known.iter().filter(|parameter| parameter.required) {
            if values.get(parameter.name).is_none() && !wrong.iter().any(|one| one.parameter == parameter.name) {
                let detail = format!("is missing; an example: {}", parameter.example);
                wrong.push(refused(parameter.name, detail));
            }
        }
        if wrong.is_empty() {
            return Ok(values);
        }
        wrong.truncate(MAX_REFUSALS);
        Err(Problem::invalid(wrong))
    }

    fn take(&mut self, parameter: &Parameter, value: Cow<'a, str>, wrong: &mut Vec<Refused>) {
        let limit = if parameter.is_list() { MAX_LIST_BYTES } else { MAX_VALUE_BYTES };
        if value.len() > limit {
            wrong.push(refused(parameter.name, format!("is longer than {limit} bytes")));
        } else if value.chars().any(char::is_control) {
            wrong.push(refused(parameter.name, "has a control character"));
        } else if value.is_empty() {
            wrong.push(refused(parameter.name, "is empty: leave it out, or give a value"));
        } else {
            self.0.push((parameter.name, value));
        }
    }

    /// A parameter's value, if it was given.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
    }

    /// The value of a required parameter.
    #[must_use]
    pub fn required(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }
}

fn refused(parameter: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Refused {
    Refused { parameter: parameter.into(), detail: detail.into() }
}

fn quoted(name: &str) -> String {
    name.chars().take(MAX_QUOTED_CHARS).collect()
}

fn unknown(known: &[Parameter]) -> String {
    let names: Vec<&str> =
        known.iter().filter(|parameter| parameter.place == Place::Query).map(|parameter| parameter.name).collect();
    if names.is_empty() {
        "is not known; nothing is taken here".to_owned()
    } else {
        format!("is not known; what is taken here: {}", names.join(", "))
    }
}

/// Undoes percent-encoding. A plus stays a plus: none of our values has a space, but times have offsets.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = (digit()?, digit()?);
        decoded.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::operation::Kind;

    const KNOWN: &[Parameter] = &[
        Parameter { required: true, ..Parameter::query("symbol", Kind::Text, "A market.", "BTC/USDT") },
        Parameter::query("start", Kind::Time, "From when on.", "0"),
        Parameter::query("symbols", Kind::List, "Several.", "a,b"),
    ];

    fn read(query: &str) -> Result<Values<'_>, Problem> {
        Values::read(KNOWN, Some(query), |_| None)
    }

    fn names(query: &str) -> Vec<String> {
        let errors = read(query).unwrap_err().errors;
        errors.into_iter().map(|error| error.parameter.into_owned()).collect()
    }

    #[test]
    fn values_are_decoded() {
        let values = read("symbol=BTC%2fUSDT&&start=2025-11-20T21:00:00+01:00").unwrap();
        assert_eq!(values.get("symbol"), Some("BTC/USDT"));
        assert_eq!(values.get("start"), Some("2025-11-20T21:00:00+01:00"));
        assert_eq!(values.get("symbols"), None);
    }

    #[test]
    fn whatever_is_wrong_is_named() {
        assert_eq!(names(""), ["symbol"]);
        assert_eq!(names("symbol="), ["symbol"]);
        assert_eq!(names("symbol"), ["symbol"]);
        assert_eq!(names("symbol=a&Symbol=b"), ["Symbol"]);
        assert_eq!(names("symbol=a&symbol=a"), ["symbol"]);
        assert_eq!(names("symbol=a%00b"), ["symbol"]);
        assert_eq!(names("symbol=a&x%zz=1&start=%ff"), ["x%zz", "start"]);
        assert_eq!(names("symbol=%4"), ["symbol"]);
        assert_eq!(names(&format!("symbol={}", "A".repeat(10_000))), ["symbol"]);
        assert!(read(&format!("symbol=a&symbols={}", "A".repeat(1_000))).is_ok());
    }

    #[test]
    fn a_flood_is_answered_shortly() {
        let flood = (0..100).map(|n| format!("{}{n}=1", "x".repeat(100))).collect::<Vec<_>>().join("&");
        let problem = read(&flood).unwrap_err();
        assert_eq!(problem.errors.len(), MAX_REFUSALS);
        assert!(problem.json().len() < 8_000);
    }
}
