//! Strict validation of query strings. Rejects unknown and repeated names, invalid percent-encoding, and values that no
//! parameter accepts. The meaning of a value is checked where it is used.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use poem_openapi::registry::{MetaOperationParam, MetaParamIn, MetaSchemaRef};

use super::problem::{ParameterProblem, Problem};

/// Maximum length of a parameter value in characters, unless its schema sets another.
const MAX_VALUE_CHARS: usize = 256;

/// Maximum number of errors in one response.
const MAX_ERRORS: usize = 20;

/// Maximum length of an unknown name in an error, in characters.
const MAX_QUOTED_CHARS: usize = 64;

/// The parameters of an operation, from its description in the OpenAPI document.
#[derive(Debug, Default)]
pub struct Parameters(Vec<Parameter>);

#[derive(Debug)]
struct Parameter {
    name: String,
    /// The router's name of a path parameter, which contains its number.
    router_name: Option<String>,
    required: bool,
    example: String,
    max_chars: usize,
}

impl Parameter {
    fn new(described: &MetaOperationParam, router_name: Option<String>) -> Self {
        let schema = match &described.schema {
            MetaSchemaRef::Inline(schema) => Some(schema),
            MetaSchemaRef::Reference(_) => None,
        };
        let example = schema.and_then(|schema| schema.example.as_ref());
        Self {
            name: described.name.clone(),
            router_name,
            required: described.required,
            example: example.map_or_else(String::new, |example| example.as_str().unwrap_or_default().to_owned()),
            max_chars: schema.and_then(|schema| schema.max_length).unwrap_or(MAX_VALUE_CHARS),
        }
    }
}

impl Parameters {
    /// The path and query parameters of an operation.
    pub fn new(described: &[MetaOperationParam]) -> Self {
        let located_in = |location| described.iter().filter(move |parameter| parameter.in_type == location);
        let path = located_in(MetaParamIn::Path);
        let path = path.enumerate().map(|(number, one)| Parameter::new(one, Some(router_name(number))));
        Self(path.chain(located_in(MetaParamIn::Query).map(|one| Parameter::new(one, None))).collect())
    }

    /// Checks the parameters of a request. `path` returns the decoded value of a path parameter by its router name.
    ///
    /// # Errors
    /// `invalid_parameter` with each invalid parameter.
    pub fn check<'a>(&self, query: Option<&'a str>, path: impl Fn(&str) -> Option<&'a str>) -> Result<(), Problem> {
        let mut errors = Vec::new();
        // The router matched, so path parameters are present.
        let mut seen: Vec<bool> = self.0.iter().map(|parameter| parameter.router_name.is_some()).collect();
        for parameter in &self.0 {
            match parameter.router_name.as_deref().map(&path) {
                Some(Some(value)) => parameter.check(value, &mut errors),
                Some(None) => errors.push(error(&parameter.name, "is not UTF-8")),
                None => {}
            }
        }
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(name) = decode(name) else {
                errors.push(error(name, "has invalid percent-encoding in its name"));
                continue;
            };
            let Some(at) = self.0.iter().position(|one| one.router_name.is_none() && one.name == name) else {
                errors.push(error(&name, self.unknown()));
                continue;
            };
            let parameter = &self.0[at];
            match decode(value) {
                None => errors.push(error(&name, "has invalid percent-encoding or is not UTF-8")),
                Some(_) if seen[at] => errors.push(error(&name, "is repeated")),
                Some(value) => parameter.check(&value, &mut errors),
            }
            seen[at] = true;
        }
        for (parameter, seen) in self.0.iter().zip(seen) {
            if parameter.required && !seen {
                errors.push(error(&parameter.name, format!("is missing; example: {}", parameter.example)));
            }
        }
        if errors.is_empty() {
            return Ok(());
        }
        errors.truncate(MAX_ERRORS);
        Err(Problem::invalid_parameters(errors))
    }

    fn unknown(&self) -> String {
        let names: Vec<&str> =
            self.0.iter().filter(|one| one.router_name.is_none()).map(|one| one.name.as_str()).collect();
        if names.is_empty() {
            "is unknown; this operation has no query parameters".to_owned()
        } else {
            format!("is unknown; valid parameters: {}", names.join(", "))
        }
    }
}

impl Parameter {
    fn check(&self, value: &str, errors: &mut Vec<ParameterProblem>) {
        if value.chars().count() > self.max_chars {
            errors.push(error(&self.name, format!("is longer than {} characters", self.max_chars)));
        } else if value.chars().any(char::is_control) {
            errors.push(error(&self.name, "contains a control character"));
        } else if value.is_empty() {
            errors.push(error(&self.name, "is empty; omit it or set a value"));
        }
    }
}

/// The name that poem-openapi gives a path parameter in the router.
pub fn router_name(number: usize) -> String {
    format!("param{number}")
}

fn error(name: &str, detail: impl Into<Cow<'static, str>>) -> ParameterProblem {
    let quoted: String = name.chars().take(MAX_QUOTED_CHARS).collect();
    ParameterProblem { parameter: quoted.into(), detail: detail.into() }
}

/// Decodes percent-encoding strictly, unlike the framework. `None` if it is invalid or the result is not UTF-8.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    let is_escape =
        |tail: &str| tail.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    if !text.split('%').skip(1).all(is_escape) {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str) -> Result<(), Problem> {
        let parameter = |name: &str, required, max_chars| Parameter {
            name: name.to_owned(),
            router_name: None,
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
    fn decodes_names_and_values() {
        assert_eq!(decode("BTC%2fUSDT").as_deref(), Some("BTC/USDT"));
        assert_eq!(decode("2025-11-20T21:00:00+01:00").as_deref(), Some("2025-11-20T21:00:00+01:00"));
        assert!(check("symbol=BTC%2fUSDT&&start=2025-11-20T21:00:00+01:00").is_ok());
        assert!(check("s%79mbol=x").is_ok());
    }

    #[test]
    fn reports_the_name_of_each_invalid_parameter() {
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
    fn limits_the_number_and_length_of_errors() {
        let query = (0..100).map(|n| format!("{}{n}=1", "x".repeat(100))).collect::<Vec<_>>().join("&");
        let problem = check(&query).unwrap_err();
        assert_eq!(problem.errors.len(), MAX_ERRORS);
        assert!(problem.json().len() < 8_000);
    }
}
