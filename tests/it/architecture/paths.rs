//! Extracts paths from Rust source: flattens `use` trees, resolves `self` and `super`, ignores comments and strings.

use super::tokens::{Token, TokenKind, tokens};

/// A path that a source uses: `["crate", "model", "Candle"]`, `["sqlx", "query"]`. A glob ends in `*`.
pub type UsedPath = Vec<String>;

/// A path as a source contains it, also one with a single segment.
pub struct SourcePath {
    pub segments: Vec<String>,
    pub line: usize,
    /// The names of the modules `mod name { … }` around it.
    pub scope: Vec<String>,
    /// Set in a `use`.
    pub import: Option<Import>,
}

/// What a `use` makes of a path.
#[derive(Clone)]
pub struct Import {
    /// The name in the importing module; `*` for a glob.
    pub name: String,
    /// Whether it is a re-export: `pub use`, `pub(crate) use`.
    pub is_public: bool,
}

/// All paths in a source file that is `depth` modules below the crate root (`src/lib.rs` 0, `src/store/mod.rs` 1).
/// Paths that reach the root by `super` are returned with `crate` as the first segment.
pub fn used_paths(source: &str, depth: usize) -> Vec<UsedPath> {
    let paths = source_paths(&tokens(source));
    paths.iter().filter_map(|path| resolve(&path.segments, depth + path.scope.len())).collect()
}

/// All paths in the tokens of a source file.
pub fn source_paths(tokens: &[Token]) -> Vec<SourcePath> {
    let mut reader = Reader { tokens, next: 0, scope: Vec::new(), import: None, found: Vec::new() };
    // Whether each open brace is that of a module.
    let mut braces: Vec<bool> = Vec::new();
    while let Some(token) = tokens.get(reader.next) {
        match &token.kind {
            TokenKind::Ident(ident) if ident == "mod" && reader.is(2, '{') => {
                reader.scope.extend(tokens[reader.next + 1].ident().map(str::to_owned));
                braces.push(true);
                reader.next += 3;
            }
            TokenKind::Ident(ident) => {
                reader.import = (ident == "use").then(|| reader.is_public());
                reader.next += usize::from(ident == "use");
                reader.read_tree(&mut Vec::new());
                reader.import = None;
            }
            TokenKind::Other('{') => {
                braces.push(false);
                reader.next += 1;
            }
            TokenKind::Other('}') => {
                if braces.pop() == Some(true) {
                    reader.scope.pop();
                }
                reader.next += 1;
            }
            // A range, or a field or method, whose name is no path.
            TokenKind::Other('.') if reader.is(1, '.') || reader.ident(1).is_some() => reader.next += 2,
            _ => reader.next += 1,
        }
    }
    reader.found
}

struct Reader<'a> {
    tokens: &'a [Token],
    next: usize,
    scope: Vec<String>,
    /// Within a `use`: whether it is public.
    import: Option<bool>,
    found: Vec<SourcePath>,
}

impl Reader<'_> {
    fn is(&self, ahead: usize, sign: char) -> bool {
        self.tokens.get(self.next + ahead).is_some_and(|token| token.is(sign))
    }

    fn ident(&self, ahead: usize) -> Option<&str> {
        self.tokens.get(self.next + ahead).and_then(Token::ident)
    }

    fn is_colons(&self) -> bool {
        self.tokens.get(self.next).is_some_and(|token| token.kind == TokenKind::Colons)
    }

    /// Whether `pub` or `pub(…)` precedes the next token.
    fn is_public(&self) -> bool {
        let before = self.next.checked_sub(1).and_then(|before| self.tokens.get(before));
        before.is_some_and(|before| before.ident() == Some("pub") || before.is(')'))
    }

    fn push(&mut self, segments: &[String], line: usize, alias: Option<String>) {
        let last = segments.iter().rev().find(|segment| *segment != "self").cloned();
        let import = self.import.map(|is_public| Import { name: alias.or(last).unwrap_or_default(), is_public });
        self.found.push(SourcePath { segments: segments.to_vec(), line, scope: self.scope.clone(), import });
    }

    /// Reads a path or a `use` tree that continues `prefix`.
    fn read_tree(&mut self, prefix: &mut UsedPath) {
        let prefix_len = prefix.len();
        let line = self.tokens.get(self.next).map_or(0, |token| token.line);
        loop {
            if let Some(ident) = self.ident(0) {
                prefix.push(ident.to_owned());
                self.next += 1;
                if self.is_colons() {
                    self.next += 1;
                    continue;
                }
                // Outside a `use`, a type follows `as`.
                let is_renamed = self.import.is_some() && self.ident(0) == Some("as");
                let alias = self.ident(1).filter(|_| is_renamed).map(str::to_owned);
                self.next += if alias.is_some() { 2 } else { 0 };
                self.push(prefix, line, alias);
            } else if self.is(0, '*') && !prefix.is_empty() {
                prefix.push("*".to_owned());
                self.next += 1;
                self.push(prefix, line, None);
            } else if self.is(0, '{') {
                self.next += 1;
                while self.next < self.tokens.len() && !self.is(0, '}') {
                    let before = self.next;
                    self.read_tree(prefix);
                    // Skip a comma, or a token that is no part of a tree.
                    if self.is(0, ',') || self.next == before {
                        self.next += 1;
                    }
                }
                self.next += 1;
            } else if self.is_colons() && prefix.is_empty() {
                // `use ::name`
                self.next += 1;
                continue;
            } else if prefix.len() > prefix_len {
                // Generic arguments: paths inside them are read separately.
                self.push(prefix, line, None);
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
