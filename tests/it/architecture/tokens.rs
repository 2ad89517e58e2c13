//! Splits Rust source into tokens.

/// A token of a source, and the number of its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: TokenKind,
    pub line: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenKind {
    Ident(String),
    /// `::`
    Colons,
    Other(char),
}

impl Token {
    /// The text of an identifier or keyword.
    pub fn ident(&self) -> Option<&str> {
        match &self.kind {
            TokenKind::Ident(ident) => Some(ident),
            _ => None,
        }
    }

    pub fn is(&self, sign: char) -> bool {
        self.kind == TokenKind::Other(sign)
    }
}

/// The tokens of a source without comments, strings and lifetimes.
pub fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let is_ident_char = |sign: char| sign.is_alphanumeric() || sign == '_';
    let (mut tokens, mut i, mut line, mut counted) = (Vec::new(), 0, 1, 0);
    while i < chars.len() {
        line += chars[counted..i].iter().filter(|sign| **sign == '\n').count();
        counted = i;
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
                        tokens.push(Token { kind: TokenKind::Ident(ident), line });
                        i = end;
                    }
                }
            }
            ':' if at(i + 1) == ':' => {
                tokens.push(Token { kind: TokenKind::Colons, line });
                i += 2;
            }
            sign => {
                if !sign.is_whitespace() {
                    tokens.push(Token { kind: TokenKind::Other(sign), line });
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

#[test]
fn counts_lines() {
    let source = "a\n/* \n */ b \"\n\" c\n\n// d\ne";
    let lines: Vec<(String, usize)> =
        tokens(source).into_iter().filter_map(|token| Some((token.ident()?.to_owned(), token.line))).collect();
    let expected = [("a", 1), ("b", 3), ("c", 4), ("e", 7)];
    assert_eq!(lines, expected.map(|(ident, line)| (ident.to_owned(), line)));
}
