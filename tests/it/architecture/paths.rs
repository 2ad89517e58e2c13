//! Reads the paths out of Rust source: `use` trees flattened, `self` and `super` resolved, comments and texts left out.

/// One path that a source uses: `["crate", "model", "Candle"]`, `["sqlx", "query"]`. A glob ends in `*`.
pub type UsedPath = Vec<String>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`
    Colons,
    Other(char),
}

/// All paths of a source that lies `depth` modules below the root of its crate (`src/lib.rs` 0, `src/store/mod.rs` 1).
/// Paths that climb to the root by `super` begin with `crate`, as those that say so.
pub fn used_paths(source: &str, depth: usize) -> Vec<UsedPath> {
    let mut reader = Reader { tokens: tokens(source), next: 0, in_use: false, found: Vec::new() };
    // What each open brace adds to the depth.
    let mut braces: Vec<usize> = Vec::new();
    while let Some(token) = reader.tokens.get(reader.next).cloned() {
        let opens_module = matches!(&token, Token::Word(word) if word == "mod") && reader.is(2, '{');
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
            Token::Word(word) => {
                reader.in_use = word == "use";
                reader.next += usize::from(reader.in_use);
                reader.tree(&mut Vec::new(), depth + braces.iter().sum::<usize>());
            }
            _ => reader.next += 1,
        }
    }
    reader.found
}

struct Reader {
    tokens: Vec<Token>,
    next: usize,
    /// In a `use`, where `as` gives a new name; elsewhere a type follows it.
    in_use: bool,
    found: Vec<UsedPath>,
}

impl Reader {
    fn is(&self, ahead: usize, sign: char) -> bool {
        self.tokens.get(self.next + ahead) == Some(&Token::Other(sign))
    }

    /// Reads one path, or a tree of them, that continues `prefix`.
    fn tree(&mut self, prefix: &mut UsedPath, depth: usize) {
        let kept = prefix.len();
        loop {
            match self.tokens.get(self.next) {
                Some(Token::Word(word)) => {
                    prefix.push(word.clone());
                    self.next += 1;
                    if self.tokens.get(self.next) == Some(&Token::Colons) {
                        self.next += 1;
                        continue;
                    }
                    if self.in_use && matches!(self.tokens.get(self.next), Some(Token::Word(word)) if word == "as") {
                        self.next += 2;
                    }
                    self.found.extend(resolved(prefix, depth));
                }
                Some(Token::Other('*')) if !prefix.is_empty() => {
                    prefix.push("*".to_owned());
                    self.next += 1;
                    self.found.extend(resolved(prefix, depth));
                }
                Some(Token::Other('{')) => {
                    self.next += 1;
                    while self.next < self.tokens.len() && !self.is(0, '}') {
                        let before = self.next;
                        self.tree(prefix, depth);
                        // A comma, or something that does not belong into a tree.
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
                // Generic arguments: what lies inside them are paths of their own.
                _ if prefix.len() > kept => self.found.extend(resolved(prefix, depth)),
                _ => {}
            }
            prefix.truncate(kept);
            return;
        }
    }
}

/// A path from the root of the crate, or from another crate; `None` for what stays in its own module.
fn resolved(path: &[String], depth: usize) -> Option<UsedPath> {
    let climbs = path.iter().take_while(|part| *part == "super" || *part == "self").count();
    let supers = path[..climbs].iter().filter(|part| *part == "super").count();
    if climbs == 0 {
        return Some(path.to_vec());
    }
    (supers >= depth && supers > 0 || depth == 0)
        .then(|| std::iter::once("crate".to_owned()).chain(path[climbs..].iter().cloned()).collect())
}

/// The tokens of a source without comments, texts and lifetimes.
fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let is_word = |sign: char| sign.is_alphanumeric() || sign == '_';
    let (mut tokens, mut i) = (Vec::new(), 0);
    while i < chars.len() {
        match at(i) {
            '/' if at(i + 1) == '/' => i = skip_line(&chars, i),
            '/' if at(i + 1) == '*' => i = skip_block(&chars, i),
            '"' => i = skip_text(&chars, i),
            // `'a'` and `'\n'` are characters, `'a` is a lifetime.
            '\'' if at(i + 1) == '\\' => {
                i = (i + 3..chars.len()).find(|j| at(*j) == '\'').map_or(chars.len(), |j| j + 1);
            }
            '\'' if at(i + 2) == '\'' => i += 3,
            '\'' => i = (i + 1..=chars.len()).find(|j| !is_word(at(*j))).unwrap_or(chars.len()),
            sign if is_word(sign) => {
                let end = (i..=chars.len()).find(|j| !is_word(at(*j))).unwrap_or(chars.len());
                let word: String = chars[i..end].iter().collect();
                let raw = matches!(word.as_str(), "r" | "br" | "cr");
                match at(end) {
                    '"' if raw => i = skip_raw_text(&chars, end),
                    '#' if raw && matches!(at(end + 1), '"' | '#') => i = skip_raw_text(&chars, end),
                    // `r#name`
                    '#' if word == "r" => i = end + 1,
                    _ => {
                        tokens.push(Token::Word(word));
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

fn skip_text(chars: &[char], from: usize) -> usize {
    let mut i = from + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

/// From the first `#` or `"` of `r#"…"#`.
fn skip_raw_text(chars: &[char], from: usize) -> usize {
    let hashes = chars[from..].iter().take_while(|sign| **sign == '#').count();
    let ends = |i: &usize| {
        chars[*i] == '"' && chars[*i + 1..].iter().take(hashes).filter(|sign| **sign == '#').count() == hashes
    };
    (from + hashes + 1..chars.len()).find(ends).map_or(chars.len(), |i| i + 1 + hashes)
}

/// The paths of a source as text, those of one part left out.
#[cfg(test)]
fn written(source: &str, depth: usize) -> Vec<String> {
    used_paths(source, depth).into_iter().filter(|path| path.len() > 1).map(|path| path.join("::")).collect()
}

#[test]
fn trees_are_flattened() {
    let source = "use crate::{model::{Candle, wire::{self, decimal}}, clock::Clock as C, cache::*}; use ::sqlx::query;";
    let expected = [
        "crate::model::Candle",
        "crate::model::wire::self",
        "crate::model::wire::decimal",
        "crate::clock::Clock",
        "crate::cache::*",
        "sqlx::query",
    ];
    assert_eq!(written(source, 1), expected);
    assert_eq!(written("pub use {crate::api::X, tokio::sync::mpsc};", 1), ["crate::api::X", "tokio::sync::mpsc"]);
    assert_eq!(written("use\n  crate ::\n  api /* here */ :: X ;", 1), ["crate::api::X"]);
}

#[test]
fn paths_outside_of_use_are_found() {
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
    assert_eq!(written(source, 1), expected);
}

#[test]
fn climbing_to_the_root_is_seen() {
    assert_eq!(written("use super::model::X;", 1), ["crate::model::X"]);
    assert_eq!(written("use super::{api::X, self::Y};", 1), ["crate::api::X", "crate::Y"]);
    assert_eq!(written("use super::super::model::X; use super::Y; use self::Z;", 2), ["crate::model::X"]);
    assert_eq!(written("mod tests { use super::super::api::X; use super::*; }", 1), ["crate::api::X"]);
    assert_eq!(
        written("mod tests { mod deep { use super::super::api::X; } } use super::api::Y;", 1),
        ["crate::api::Y"]
    );
    assert_eq!(written("use self::api::X;", 0), ["crate::api::X"]);
}

#[test]
fn comments_and_texts_are_no_imports() {
    let source = r##"
        //! [`crate::api::X`]
        /// crate::api::X
        /* crate::api::X /* nested */ crate::api::X */
        const A: &str = "crate::api::X \" crate::api::X";
        const B: &str = r#"crate::api::X " crate::api::X"#;
        const C: [char; 4] = ['"', '\'', '\\', '"'];
        fn f<'a>(x: &'a str) { crate::model::Y; }
    "##;
    assert_eq!(written(source, 1), ["crate::model::Y"]);
}
