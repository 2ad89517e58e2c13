//! Query strings, read strictly: a name that is not known, a name given twice, an escape that is none, a value that no
//! parameter can have. What a value means is checked where it is used.

use std::borrow::Cow;

use poem_openapi::registry::{MetaOperationParam, MetaParamIn, MetaSchemaRef};

use super::problem::{Problem, Refused};

/// The longest value of a parameter, in characters, unless its schema says otherwise.
const MAX_VALUE_CHARS: usize = 256;

/// The most refusals that one answer lists.
const MAX_REFUSALS: usize = 20;

/// How much of an unknown name is quoted, in characters.
const MAX_QUOTED_CHARS: usize = 64;

/// What an operation takes, as its description in the document says.
#[derive(Debug, Default)]
pub struct Parameters(Vec<Parameter>);

#[derive(Debug)]
struct Parameter {
    name: String,
    /// Its name in the router where it stands in the path, which is that of its number there.
    in_path: Option<String>,
    required: bool,
    example: String,
    max_chars: usize,
}

impl Parameter {
    fn new(described: &MetaOperationParam, in_path: Option<String>) -> Self {
        let schema = match &described.schema {
            MetaSchemaRef::Inline(schema) => Some(schema),
            MetaSchemaRef::Reference(_) => None,
        };
        let example = schema.and_then(|schema| schema.example.as_ref());
        Self {
            name: described.name.clone(),
            in_path,
            required: described.required,
            example: example.map_or_else(String::new, |example| example.as_str().unwrap_or_default().to_owned()),
            max_chars: schema.and_then(|schema| schema.max_length).unwrap_or(MAX_VALUE_CHARS),
        }
    }
}

impl Parameters {
    /// Those that stand in the path or in the query.
    pub fn new(described: &[MetaOperationParam]) -> Self {
        let of = |place| described.iter().filter(move |one| one.in_type == place);
        let in_path = of(MetaParamIn::Path).enumerate().map(|(at, one)| Parameter::new(one, Some(router_name(at))));
        Self(in_path.chain(of(MetaParamIn::Query).map(|one| Parameter::new(one, None))).collect())
    }

    /// Checks the parameters of a request. Those that stand in the path come decoded from the router.
    ///
    /// # Errors
    /// `invalid_parameter` with each one that is wrong.
    pub fn check<'a>(&self, query: Option<&'a str>, path: impl Fn(&str) -> Option<&'a str>) -> Result<(), Problem> {
        let mut wrong = Vec::new();
        // What stands in the path is always there.
        let mut seen: Vec<bool> = self.0.iter().map(|parameter| parameter.in_path.is_some()).collect();
        for parameter in &self.0 {
            match parameter.in_path.as_deref().map(&path) {
                Some(Some(value)) => parameter.check(value, &mut wrong),
                Some(None) => wrong.push(refused(&parameter.name, "is not UTF-8")),
                None => {}
            }
        }
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(name) = decode(name) else {
                wrong.push(refused(name, "its name has an escape that is not valid"));
                continue;
            };
            let Some(at) = self.0.iter().position(|one| one.in_path.is_none() && one.name == name) else {
                wrong.push(refused(&name, self.unknown()));
                continue;
            };
            let parameter = &self.0[at];
            match decode(value) {
                None => wrong.push(refused(&name, "has an escape that is not valid UTF-8")),
                Some(_) if seen[at] => wrong.push(refused(&name, "is given more than once")),
                Some(value) => parameter.check(&value, &mut wrong),
            }
            seen[at] = true;
        }
        for (parameter, seen) in self.0.iter().zip(seen) {
            if parameter.required && !seen {
                wrong.push(refused(&parameter.name, format!("is missing; an example: {}", parameter.example)));
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        wrong.truncate(MAX_REFUSALS);
        Err(Problem::invalid(wrong))
    }

    fn unknown(&self) -> String {
        let names: Vec<&str> = self.0.iter().filter(|one| one.in_path.is_none()).map(|one| one.name.as_str()).collect();
        if names.is_empty() {
            "is not known; nothing is taken here".to_owned()
        } else {
            format!("is not known; what is taken here: {}", names.join(", "))
        }
    }
}

impl Parameter {
    fn check(&self, value: &str, wrong: &mut Vec<Refused>) {
        if value.chars().count() > self.max_chars {
            wrong.push(refused(&self.name, format!("is longer than {} characters", self.max_chars)));
        } else if value.chars().any(char::is_control) {
            wrong.push(refused(&self.name, "has a control character"));
        } else if value.is_empty() {
            wrong.push(refused(&self.name, "is empty: leave it out, or give a value"));
        }
    }
}

/// How poem-openapi names a path's parameters for the router.
pub fn router_name(number: usize) -> String {
    format!("param{number}")
}

fn refused(name: &str, detail: impl Into<Cow<'static, str>>) -> Refused {
    let quoted: String = name.chars().take(MAX_QUOTED_CHARS).collect();
    Refused { parameter: quoted.into(), detail: detail.into() }
}

/// Undoes percent-encoding where it is valid, which the framework does not ask for.
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

    fn check(query: &str) -> Result<(), Problem> {
        let parameter = |name: &str, required, max_chars| Parameter {
            name: name.to_owned(),
            in_path: None,
            required,
            example: "BTC/USDT".to_owned(),
            max_chars,
        };
        let known =
            [parameter("symbol", true, 256), parameter("start", false, 256), parameter("symbols", false, 8 * 1024)];
        Parameters(known.into()).check(Some(query), |_| None)
    }

    fn names(query: &str) -> Vec<String> {
        let errors = check(query).unwrap_err().errors;
        errors.into_iter().map(|error| error.parameter.into_owned()).collect()
    }

    #[test]
    fn values_are_decoded() {
        assert_eq!(decode("BTC%2fUSDT").as_deref(), Some("BTC/USDT"));
        assert_eq!(decode("2025-11-20T21:00:00+01:00").as_deref(), Some("2025-11-20T21:00:00+01:00"));
        assert!(check("symbol=BTC%2fUSDT&&start=2025-11-20T21:00:00+01:00").is_ok());
        assert!(check("s%79mbol=x").is_ok());
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
        assert!(check(&format!("symbol=a&symbols={}", "A".repeat(1_000))).is_ok());
    }

    #[test]
    fn a_flood_is_answered_shortly() {
        let flood = (0..100).map(|n| format!("{}{n}=1", "x".repeat(100))).collect::<Vec<_>>().join("&");
        let problem = check(&flood).unwrap_err();
        assert_eq!(problem.errors.len(), MAX_REFUSALS);
        assert!(problem.json().len() < 8_000);
    }
}
