//! Origins and what replies say.

use super::*;

#[test]
fn a_target_is_percent_encoded() {
    assert_eq!(target("/a", &[]), "/a");
    let query = [("symbols", r#"["A","B"]"#.to_owned()), ("x", "ü&= ~".to_owned())];
    assert_eq!(target("/a", &query), "/a?symbols=%5B%22A%22%2C%22B%22%5D&x=%C3%BC%26%3D%20~");
}

#[test]
fn an_origin_has_no_path() {
    assert_eq!(&*parse_origin("https://api.example.com/").unwrap().url, "https://api.example.com");
    assert_eq!(&*parse_origin("http://127.0.0.1:8001").unwrap().url, "http://127.0.0.1:8001");
    for bad in ["", "api.example.com", "ftp://a", "https://a/b", "https://a?x", "https://u:p@a"] {
        assert!(parse_origin(bad).is_err(), "{bad}");
    }
}
