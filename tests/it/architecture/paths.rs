//! Extracts paths from Rust source: flattens `use` trees, resolves `self` and `super`, ignores comments and strings.

/// A path that a source uses: `["crate", "model", "Candle"]`, `["sqlx", "query"]`. A glob ends in `*`.
pub type UsedPath = Vec<String>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Ident(String),
    /// `::`
    Colons,
    Other(char),
}

/// All paths in a source file that is `depth` modules below the crate root (`src/lib.rs` 0, `src/store/mod.rs` 1).
/// Paths that reach the root by `super` are returned with `crate` as the first segment.
pub fn used_paths(source: &str, depth: usize) -> Vec<UsedPath> {
    let mut reader = Reader { tokens: tokens(source), next: 0, in_use: false, found: Vec::new() };
    // The module depth that each open brace adds.
    let mut braces: Vec<usize> = Vec::new();
    while let Some(token) = reader.tokens.get(reader.next).cloned() {
        let opens_module = matches!(&token, Token::Ident(ident) if ident == "mod") && reader.is(2, '{');
        match token {
            _ if opens_module => {
                braces.push(1);
                reader.next += 3;
            }
            Token::Other('{') => {
                braces.push(0);
                reader.next += 1;
            }
            Token::Other('}') => {
                braces.pop();
                reader.next += 1;
            }
            Token::Ident(ident) => {
                reader.in_use = ident == "use";
                reader.next += usize::from(reader.in_use);
                reader.read_tree(&mut Vec::new(), depth + braces.iter().sum::<usize>());
            }
            _ => reader.next += 1,
        }
    }
    reader.found
}

struct Reader {
    tokens: Vec<Token>,
    next: usize,
    /// Within a `use`, where a name follows `as`. Elsewhere a type follows it.
    in_use: bool,
    found: Vec<UsedPath>,
}

impl Reader {
    fn is(&self, ahead: usize, sign: char) -> bool {
        self.tokens.get(self.next + ahead) == Some(&Token::Other(sign))
    }

    /// Reads a path or a `use` tree that continues `prefix`.
    fn read_tree(&mut self, prefix: &mut UsedPath, depth: usize) {
        let prefix_len = prefix.len();
        loop {
            match self.tokens.get(self.next) {
                Some(Token::Ident(ident)) => {
                    prefix.push(ident.clone());
                    self.next += 1;
                    if self.tokens.get(self.next) == Some(&Token::Colons) {
                        self.next += 1;
                        continue;
                    }
                    if self.in_use && matches!(self.tokens.get(self.next), Some(Token::Ident(ident)) if ident == "as") {
                        self.next += 2;
                    }
                    self.found.extend(resolve(prefix, depth));
                }
                Some(Token::Other('*')) if !prefix.is_empty() => {
                    prefix.push("*".to_owned());
                    self.next += 1;
                    self.found.extend(resolve(prefix, depth));
                }
                Some(Token::Other('{')) => {
                    self.next += 1;
                    while self.next < self.tokens.len() && !self.is(0, '}') {
                        let before = self.next;
                        self.read_tree(prefix, depth);
                        // Skip a comma, or a token that is no part of a tree.
                        if self.is(0, ',') || self.next == before {
                            self.next += 1;
                        }
                    }
                    self.next += 1;
                }
                // `use ::name`
                Some(Token::Colons) if prefix.is_empty() => {
                    self.next += 1;
                    continue;
                }
                // Generic arguments: paths inside them are read separately.
                _ if prefix.len() > prefix_len => self.found.extend(resolve(prefix, depth)),
                _ => {}
            }
            prefix.truncate(prefix_len);
            return;
        }
    }
}

/// The path from the crate root or from another crate; `None` if it stays within its own module.
fn resolve(path: &[String], depth: usize) -> Option<UsedPath> {
    let leading = path.iter().take_while(|part| *part == "super" || *part == "self").count();
    let supers = path[..leading].iter().filter(|part| *part == "super").count();
    if leading == 0 {
        return Some(path.to_vec());
    }
    (supers >= depth && supers > 0 || depth == 0)
        .then(|| std::iter::once("crate".to_owned()).chain(path[leading..].iter().cloned()).collect())
}

/// The tokens of a source without comments, strings and lifetimes.
fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let is_ident_char = |sign: char| sign.is_alphanumeric() || sign == '_';
    let (mut tokens, mut i) = (Vec::new(), 0);
    while i < chars.len() {
        match at(i) {
            '/' if at(i + 1) == '/' => i = skip_line(&chars, i),
            '/' if at(i + 1) == '*' => i = skip_block(&chars, i),
            '"' => i = skip_string(&chars, i),
            // `'a'` and `'\n'` are characters; `'a` is a lifetime.
            '\'' if at(i + 1) == '\\' => {
                i = (i + 3..chars.len()).find(|j| at(*j) == '\'').map_or(chars.len(), |j| j + 1);
            }
            '\'' if at(i + 2) == '\'' => i += 3,
            '\'' => i = (i + 1..=chars.len()).find(|j| !is_ident_char(at(*j))).unwrap_or(chars.len()),
            sign if is_ident_char(sign) => {
                let end = (i..=chars.len()).find(|j| !is_ident_char(at(*j))).unwrap_or(chars.len());
                let ident: String = chars[i..end].iter().collect();
                let raw = matches!(ident.as_str(), "r" | "br" | "cr");
                match at(end) {
                    '"' if raw => i = skip_raw_string(&chars, end),
                    '#' if raw && matches!(at(end + 1), '"' | '#') => i = skip_raw_string(&chars, end),
                    // `r#name`
                    '#' if ident == "r" => i = end + 1,
                    _ => {
                        tokens.push(Token::Ident(ident));
                        i = end;
                    }
                }
            }
            ':' if at(i + 1) == ':' => {
                tokens.push(Token::Colons);
                i += 2;
            }
            sign => {
                if !sign.is_whitespace() {
                    tokens.push(Token::Other(sign));
                }
                i += 1;
            }
        }
    }
    tokens
}

fn skip_line(chars: &[char], from: usize) -> usize {
    (from..chars.len()).find(|i| chars[*i] == '\n').unwrap_or(chars.len())
}

/// Block comments may be nested.
fn skip_block(chars: &[char], from: usize) -> usize {
    let (mut i, mut open) = (from, 0usize);
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (i, open) = (i + 2, open + 1),
            ('*', Some('/')) => (i, open) = (i + 2, open - 1),
            _ => i += 1,
        }
        if open == 0 {
            break;
        }
    }
    i
}

fn skip_string(chars: &[char], from: usize) -> usize {
    let mut i = from + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

/// Starts at the first `#` or `"` of `r#"…"#`.
fn skip_raw_string(chars: &[char], from: usize) -> usize {
    let hashes = chars[from..].iter().take_while(|sign| **sign == '#').count();
    let ends = |i: &usize| {
        chars[*i] == '"' && chars[*i + 1..].iter().take(hashes).filter(|sign| **sign == '#').count() == hashes
    };
    (from + hashes + 1..chars.len()).find(ends).map_or(chars.len(), |i| i + 1 + hashes)
}

/// The paths of a source as text, without those of a single segment.
#[cfg(test)]
fn joined_paths(source: &str, depth: usize) -> Vec<String> {
    used_paths(source, depth).into_iter().filter(|path| path.len() > 1).map(|path| path.join("::")).collect()
}

#[test]
fn flattens_use_trees() {
    let source = "use crate::{model::{Candle, wire::{self, decimal}}, clock::Clock as C, cache::*}; use ::sqlx::query;";
    let expected = [
        "crate::model::Candle",
        "crate::model::wire::self",
        "crate::model::wire::decimal",
        "crate::clock::Clock",
        "crate::cache::*",
        "sqlx::query",
    ];
    assert_eq!(joined_paths(source, 1), expected);
    assert_eq!(joined_paths("pub use {crate::api::X, tokio::sync::mpsc};", 1), ["crate::api::X", "tokio::sync::mpsc"]);
    assert_eq!(joined_paths("use\n  crate ::\n  api /* here */ :: X ;", 1), ["crate::api::X"]);
}

#[test]
fn finds_paths_outside_use() {
    let source = "fn f(x: &'a crate::api::X<'a>) -> Vec<crate::hub::Y> { crate::market::ask::<crate::app::Z>(x); m!(crate::store::S) }
        #[tokio::main] impl From<reqwest::Error> for E {} static A: ::poem::B = <crate::cli::C as D>::E; x as crate::simulator::T";
    let expected = [
        "crate::api::X",
        "crate::hub::Y",
        "crate::market::ask",
        "crate::app::Z",
        "crate::store::S",
        "tokio::main",
        "reqwest::Error",
        "poem::B",
        "crate::cli::C",
        "crate::simulator::T",
    ];
    assert_eq!(joined_paths(source, 1), expected);
}

#[test]
fn resolves_super_to_crate_root() {
    assert_eq!(joined_paths("use super::model::X;", 1), ["crate::model::X"]);
    assert_eq!(joined_paths("use super::{api::X, self::Y};", 1), ["crate::api::X", "crate::Y"]);
    assert_eq!(joined_paths("use super::super::model::X; use super::Y; use self::Z;", 2), ["crate::model::X"]);
    assert_eq!(joined_paths("mod tests { use super::super::api::X; use super::*; }", 1), ["crate::api::X"]);
    assert_eq!(
        joined_paths("mod tests { mod deep { use super::super::api::X; } } use super::api::Y;", 1),
        ["crate::api::Y"]
    );
    assert_eq!(joined_paths("use self::api::X;", 0), ["crate::api::X"]);
}

#[test]
fn ignores_comments_and_strings() {
    let source = r##"
        //! [`crate::api::X`]
        /// crate::api::X
        /* crate::api::X /* nested */ crate::api::X */
        const A: &str = "crate::api::X \" crate::api::X";
        const B: &str = r#"crate::api::X " crate::api::X"#;
        const C: [char; 4] = ['"', '\'', '\\', '"'];
        fn f<'a>(x: &'a str) { crate::model::Y; }
    "##;
    assert_eq!(joined_paths(source, 1), ["crate::model::Y"]);
}
