use std::collections::BTreeSet;

use serde_json::Map;

use super::*;
use crate::api::access::policy::ACCESS_POLICIES;

fn visit_objects(value: &Value, visitor: &mut impl FnMut(&Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            visitor(object);
            object.values().for_each(|inner| visit_objects(inner, visitor));
        }
        Value::Array(list) => list.iter().for_each(|inner| visit_objects(inner, visitor)),
        _ => {}
    }
}

#[test]
fn document_is_valid_openapi_3_1() {
    let document = openapi_document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut references = 0;
    visit_objects(&document, &mut |object| {
        if let Some(reference) = object.get("$ref") {
            let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference} has no target");
            references += 1;
        }
        assert!(!object.contains_key("nullable"), "OpenAPI 3.0 syntax in {object:?}");
        assert!(!object.keys().any(|key| key.contains("charset")), "{object:?}");
        assert!(!object.get("exclusiveMinimum").is_some_and(Value::is_boolean), "{object:?}");
    });
    assert!(references > 50);
}

#[test]
fn every_operation_is_fully_described() {
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
                let is_problem = contents.is_some_and(|contents| contents.contains_key(PROBLEM_JSON));
                assert_eq!(is_problem, status.as_str() >= "400", "{path} {status}");
                if is_problem {
                    let examples = response["content"][PROBLEM_JSON]["examples"].as_object().unwrap();
                    let status: u16 = status.parse().unwrap();
                    assert!(!examples.is_empty(), "{path} {status}");
                    assert!(examples.values().all(|example| example["value"]["status"] == status), "{path} {status}");
                    let is_temporary = matches!(status, 429 | 503);
                    assert_eq!(response["headers"]["Retry-After"].is_object(), is_temporary, "{path} {status}");
                    let has_challenge = matches!(status, 401 | 403);
                    assert_eq!(response["headers"]["WWW-Authenticate"].is_object(), has_challenge, "{path} {status}");
                }
            }
            let path_parameters: BTreeSet<&str> =
                path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
            assert!(operation.get("parameters").is_none_or(Value::is_array), "{path}");
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let in_path = parameters.filter(|parameter| parameter["in"] == "path");
            assert_eq!(
                in_path.map(|parameter| parameter["name"].as_str().unwrap()).collect::<BTreeSet<_>>(),
                path_parameters
            );
        }
    }
    assert_eq!(ids.len(), 23);
    let streams = ["stream", "events", "wsSubscribe", "wsRealtime"];
    let with_policy: BTreeSet<&str> = ACCESS_POLICIES.into_iter().map(|(operation, ..)| operation).collect();
    assert_eq!(with_policy, ids.into_iter().chain(streams).collect(), "every operation has an access policy");
}

#[test]
fn optional_members_are_nullable_or_omitted() {
    let document = openapi_document();
    let ticker = &document["components"]["schemas"]["Ticker"];
    assert_eq!(ticker["properties"]["last"]["type"], json!(["number", "null"]));
    assert!(ticker["required"].as_array().unwrap().contains(&json!("last")));
    for (schema, member) in OMITTED_MEMBERS {
        let schema = &document["components"]["schemas"][schema];
        assert!(!schema["required"].as_array().unwrap().contains(&json!(member)), "{schema}");
        let property = &schema["properties"][member];
        assert!(!property["type"].is_null() || property["oneOf"].is_array(), "{schema}");
    }
}

#[test]
fn docs_page_loads_no_external_resources() {
    let html = openapi_page();
    assert!(html.contains("\"operationId\":\"getTicker\""), "the document is embedded");
    assert!(html.contains("SwaggerUIBundle="), "the script is embedded");
    for loads in ["src=\"http", "src='http", "href=\"http", "@import", "unpkg.com", "jsdelivr"] {
        let head = html.split("<body>").next().unwrap();
        let outside_of_script =
            head.split("<script").next().unwrap().to_owned() + html.rsplit("</script>").next().unwrap();
        assert!(!outside_of_script.contains(loads), "{loads}");
    }
}

#[test]
fn yaml_equals_json() {
    let yaml = openapi_yaml();
    assert!(yaml.starts_with("components:\n"));
    assert_eq!(serde_norway::from_str::<Value>(&yaml).unwrap(), openapi_document());
}
