//! Validates JSON values against JSON schemas. Supports only the keywords that the project's documents use.

use serde_json::Value;

/// The supported keywords.
const KEYWORDS: [&str; 14] = [
    "title",
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "const",
    "oneOf",
    "description",
    "format",
    "minimum",
    "maximum",
    "default",
];

/// Validates a value against a schema.
///
/// # Errors
///
/// The first violation, or the first unsupported keyword.
pub fn check(schema: &Value, value: &Value) -> Result<(), String> {
    let fail = |reason: &str| Err(format!("{reason}: {value} against {schema}"));
    for keyword in schema.as_object().into_iter().flatten().map(|(keyword, _)| keyword.as_str()) {
        if !KEYWORDS.contains(&keyword) {
            return fail(&format!("unsupported keyword `{keyword}`"));
        }
    }
    if schema.get("const").is_some_and(|wanted| wanted != value) {
        return fail("not the `const` value");
    }
    if schema.get("enum").and_then(Value::as_array).is_some_and(|all| !all.contains(value)) {
        return fail("not an `enum` value");
    }
    if let Some(all) = schema.get("oneOf").and_then(Value::as_array)
        && all.iter().filter(|one| check(one, value).is_ok()).count() != 1
    {
        return fail("not exactly one `oneOf` schema matches");
    }
    let type_matches = match &schema["type"] {
        Value::String(name) => has_type(value, name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(|name| has_type(value, name)),
        _ => true,
    };
    if !type_matches {
        return fail("wrong type");
    }
    if let Some(object) = value.as_object() {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                return fail(&format!("`{name}` is missing"));
            }
        }
        for (name, member) in object {
            match schema["properties"].get(name) {
                Some(schema) => check(schema, member)?,
                None if schema["additionalProperties"] == false => return fail(&format!("unexpected `{name}`")),
                None => {}
            }
        }
    }
    if let (Some(items), Some(array)) = (schema.get("items"), value.as_array()) {
        array.iter().try_for_each(|item| check(items, item))?;
    }
    Ok(())
}

fn has_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}
