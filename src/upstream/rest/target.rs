//! Request targets: path and query.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// All but the unreserved characters of <https://www.rfc-editor.org/rfc/rfc3986#section-2.3>.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Joins path and query, percent-encoded.
pub(super) fn target(path: &str, query: &[(&str, String)]) -> String {
    let mut target = path.to_owned();
    for (index, (name, value)) in query.iter().enumerate() {
        target.push(if index == 0 { '?' } else { '&' });
        target.extend(utf8_percent_encode(name, RESERVED));
        target.push('=');
        target.extend(utf8_percent_encode(value, RESERVED));
    }
    target
}

/// The path of a target.
pub(super) fn path_of(target: &str) -> &str {
    target.split_once('?').map_or(target, |(path, _)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_is_percent_encoded() {
        assert_eq!(target("/a", &[]), "/a");
        let query = [("symbols", r#"["A","B"]"#.to_owned()), ("x", "ü&= ~".to_owned())];
        assert_eq!(target("/a", &query), "/a?symbols=%5B%22A%22%2C%22B%22%5D&x=%C3%BC%26%3D%20~");
        assert_eq!(path_of("/a?x=1"), "/a");
    }
}
