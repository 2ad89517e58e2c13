//! Writes a JSON value as YAML 1.2: blocks for maps and lists, JSON's own literals for everything else.

use serde_json::Value;

/// The document, with a line end.
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, 0);
    out
}

/// Writes what stands after a key or a dash, up to the line end.
fn write(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (at, (key, member)) in members.iter().enumerate() {
                begin(out, at, depth);
                out.push_str(&plain(key));
                out.push(':');
                write_below(out, member, depth + 1);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (at, item) in items.iter().enumerate() {
                begin(out, at, depth);
                out.push('-');
                // A list in a list goes to a line of its own, as it would under a key.
                if is_block(item) && !item.is_array() {
                    out.push(' ');
                    write(out, item, depth + 1);
                } else {
                    write_below(out, item, depth + 1);
                }
            }
        }
        scalar => {
            out.push_str(&scalar.to_string());
            out.push('\n');
        }
    }
}

fn write_below(out: &mut String, value: &Value, depth: usize) {
    out.push(if is_block(value) { '\n' } else { ' ' });
    write(out, value, depth);
}

/// The first entry of a block stands where the pen is if that is not the begin of a line.
fn begin(out: &mut String, at: usize, depth: usize) {
    if at > 0 || out.is_empty() || out.ends_with('\n') {
        out.extend(std::iter::repeat_n("  ", depth));
    }
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(members) => !members.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

/// A key: bare where nobody can take it for anything but a text.
fn plain(key: &str) -> String {
    let bare = key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&key.to_lowercase().as_str());
    if bare { key.to_owned() } else { Value::from(key).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn blocks_are_indented_and_texts_quoted() {
        let value = json!({
            "a": {"200": "x: y", "b-c": [1, {"d": null, "e": []}, [true, "no"]]},
            "f": {},
            "no": "line\nbreak",
        });
        assert_eq!(
            to_string(&value),
            "a:\n  \"200\": \"x: y\"\n  b-c:\n    - 1\n    - d: null\n      e: []\n    -\n      - true\n      - \"no\"\n\
             f: {}\n\"no\": \"line\\nbreak\"\n"
        );
    }
}
