//! Holds JSON values against JSON schemas: the keywords that our documents use, and no others.

use serde_json::Value;

/// What is wrong with a value, if anything.
pub fn check(schema: &Value, value: &Value) -> Result<(), String> {
    let refuse = |why: &str| Err(format!("{why}: {value} against {schema}"));
    for keyword in schema.as_object().into_iter().flatten().map(|(keyword, _)| keyword.as_str()) {
        let known = [
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
        if !known.contains(&keyword) {
            return refuse(&format!("the keyword `{keyword}` is not known here"));
        }
    }
    if schema.get("const").is_some_and(|wanted| wanted != value) {
        return refuse("another constant");
    }
    if schema.get("enum").and_then(Value::as_array).is_some_and(|all| !all.contains(value)) {
        return refuse("none of these");
    }
    if let Some(all) = schema.get("oneOf").and_then(Value::as_array)
        && all.iter().filter(|one| check(one, value).is_ok()).count() != 1
    {
        return refuse("not exactly one of these");
    }
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    let fits = match &schema["type"] {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        _ => true,
    };
    if !fits {
        return refuse("another type");
    }
    if let Some(object) = value.as_object() {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                return refuse(&format!("`{name}` is missing"));
            }
        }
        for (name, member) in object {
            match schema["properties"].get(name) {
                Some(schema) => check(schema, member)?,
                None if schema["additionalProperties"] == false => return refuse(&format!("`{name}` is too much")),
                None => {}
            }
        }
    }
    if let (Some(items), Some(array)) = (schema.get("items"), value.as_array()) {
        array.iter().try_for_each(|item| check(items, item))?;
    }
    Ok(())
}
