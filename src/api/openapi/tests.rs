use std::collections::BTreeSet;

use serde_json::Map;

use super::*;
use crate::api::access::TERMS;

fn visit(value: &Value, see: &mut impl FnMut(&Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            see(object);
            object.values().for_each(|inner| visit(inner, see));
        }
        Value::Array(list) => list.iter().for_each(|inner| visit(inner, see)),
        _ => {}
    }
}

#[test]
fn the_document_is_one_of_openapi_3_1() {
    let document = openapi_document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut references = 0;
    visit(&document, &mut |object| {
        if let Some(reference) = object.get("$ref") {
            let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
            references += 1;
        }
        assert!(!object.contains_key("nullable"), "OpenAPI 3.0 in {object:?}");
        assert!(!object.keys().any(|key| key.contains("charset")), "{object:?}");
        assert!(!object.get("exclusiveMinimum").is_some_and(Value::is_boolean), "{object:?}");
    });
    assert!(references > 50);
}

#[test]
fn every_operation_says_all_that_a_client_needs() {
    let document = openapi_document();
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{path}");
            for member in ["summary", "description"] {
                assert!(operation[member].as_str().is_some_and(|text| text.len() > 5), "{member} of {path}");
            }
            let responses = operation["responses"].as_object().unwrap();
            assert!(
                (responses.contains_key("200") || responses.contains_key("201"))
                    && responses.contains_key("400")
                    && responses.contains_key("500"),
                "{path}"
            );
            for (status, response) in responses {
                assert!(response["headers"]["X-Request-Id"].is_object(), "{path} {status}");
                let contents = response["content"].as_object();
                assert_eq!(contents.is_none(), status == "304", "{path} {status}");
                let refusal = contents.is_some_and(|contents| contents.contains_key(PROBLEM_JSON));
                assert_eq!(refusal, status.as_str() >= "400", "{path} {status}");
                if refusal {
                    let examples = response["content"][PROBLEM_JSON]["examples"].as_object().unwrap();
                    let status: u16 = status.parse().unwrap();
                    assert!(!examples.is_empty(), "{path} {status}");
                    assert!(examples.values().all(|example| example["value"]["status"] == status), "{path} {status}");
                    let passes = matches!(status, 429 | 503);
                    assert_eq!(response["headers"]["Retry-After"].is_object(), passes, "{path} {status}");
                    let asks = matches!(status, 401 | 403);
                    assert_eq!(response["headers"]["WWW-Authenticate"].is_object(), asks, "{path} {status}");
                }
            }
            let braces: BTreeSet<&str> =
                path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
            assert!(operation.get("parameters").is_none_or(Value::is_array), "{path}");
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let in_path = parameters.filter(|parameter| parameter["in"] == "path");
            assert_eq!(in_path.map(|parameter| parameter["name"].as_str().unwrap()).collect::<BTreeSet<_>>(), braces);
        }
    }
    assert_eq!(ids.len(), 23);
    let streams = ["stream", "events", "wsSubscribe", "wsRealtime"];
    let with_terms: BTreeSet<&str> = TERMS.into_iter().map(|(operation, ..)| operation).collect();
    assert_eq!(with_terms, ids.into_iter().chain(streams).collect(), "every operation has terms");
}

#[test]
fn a_value_that_may_be_missing_is_null() {
    let document = openapi_document();
    let ticker = &document["components"]["schemas"]["Ticker"];
    assert_eq!(ticker["properties"]["last"]["type"], json!(["number", "null"]));
    assert!(ticker["required"].as_array().unwrap().contains(&json!("last")));
    for (schema, left_out) in LEFT_OUT {
        let schema = &document["components"]["schemas"][schema];
        assert!(!schema["required"].as_array().unwrap().contains(&json!(left_out)), "{schema}");
        let property = &schema["properties"][left_out];
        assert!(!property["type"].is_null() || property["oneOf"].is_array(), "{schema}");
    }
}

#[test]
fn the_page_needs_no_network() {
    let html = &PAGES.html;
    assert!(html.contains("\"operationId\":\"getTicker\""), "our document is in it");
    assert!(html.contains("SwaggerUIBundle="), "the script is in it");
    for loads in ["src=\"http", "src='http", "href=\"http", "@import", "unpkg.com", "jsdelivr"] {
        let head = html.split("<body>").next().unwrap();
        let outside_of_script =
            head.split("<script").next().unwrap().to_owned() + html.rsplit("</script>").next().unwrap();
        assert!(!outside_of_script.contains(loads), "{loads}");
    }
}

#[test]
fn yaml_says_the_same() {
    let yaml = openapi_yaml();
    assert!(yaml.starts_with("components:\n"));
    assert_eq!(serde_yaml::from_str::<Value>(&yaml).unwrap(), openapi_document());
}
