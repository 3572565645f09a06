//! Reads Rust source as tokens: what stands in comments, strings and tests is not code.
//!
//! Not a parser: the checks need paths and attributes only, and a parser would cost more to
//! build than all of this crate.

/// An identifier, `::`, or one sign of punctuation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

impl Token {
    pub(crate) fn is(&self, text: &str) -> bool {
        self.text == text
    }

    pub(crate) fn is_name(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// The tokens of `source`. A literal is one token, `"` for text and its digits for a number.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut reader = Reader { rest: source.chars().collect(), at: 0, line: 1, found: Vec::new() };
    while let Some(c) = reader.peek(0) {
        reader.step(c);
    }
    reader.found
}

struct Reader {
    rest: Vec<char>,
    at: usize,
    line: usize,
    found: Vec<Token>,
}

impl Reader {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.rest.get(self.at + ahead).copied()
    }

    fn advance(&mut self) -> Option<char> {
        let c = self.peek(0)?;
        self.at += 1;
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn push(&mut self, text: impl Into<String>, line: usize) {
        self.found.push(Token { text: text.into(), line });
    }

    fn step(&mut self, c: char) {
        let line = self.line;
        match (c, self.peek(1)) {
            ('/', Some('/')) => {
                while self.peek(0).is_some_and(|c| c != '\n') {
                    self.advance();
                }
            }
            ('/', Some('*')) => self.block_comment(),
            ('"', _) => self.text(line),
            ('\'', _) => self.quote(line),
            (':', Some(':')) => {
                self.at += 2;
                self.push("::", line);
            }
            _ if c.is_alphanumeric() || c == '_' => self.word(line),
            _ => {
                self.advance();
                if !c.is_whitespace() {
                    self.push(c, line);
                }
            }
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while let Some(c) = self.advance() {
            match (c, self.peek(0)) {
                ('/', Some('*')) => depth += 1,
                ('*', Some('/')) => depth -= 1,
                _ => continue,
            }
            self.advance();
            if depth == 0 {
                break;
            }
        }
    }

    fn text(&mut self, line: usize) {
        self.advance();
        while let Some(c) = self.advance() {
            match c {
                '\\' => {
                    self.advance();
                }
                '"' => break,
                _ => {}
            }
        }
        self.push('"', line);
    }

    /// A character, or the tick of a lifetime, whose name then follows as a word.
    fn quote(&mut self, line: usize) {
        self.advance();
        if self.peek(0) == Some('\\') {
            self.advance();
            self.advance();
            while self.advance().is_some_and(|c| c != '\'') {}
            self.push('"', line);
        } else if self.peek(1) == Some('\'') {
            self.advance();
            self.advance();
            self.push('"', line);
        } else {
            self.push('\'', line);
        }
    }

    fn word(&mut self, line: usize) {
        let mut word = String::new();
        while let Some(c) = self.peek(0).filter(|c| c.is_alphanumeric() || *c == '_') {
            word.push(c);
            self.advance();
        }
        let raw = matches!(word.as_str(), "r" | "br" | "cr");
        match self.peek(0) {
            Some('"') if raw => self.raw_text(line),
            Some('#') if raw && self.opens_raw_text() => self.raw_text(line),
            Some('"') if matches!(word.as_str(), "b" | "c") => self.text(line),
            Some('\'') if word == "b" => self.quote(line),
            // `r#name`: the name alone.
            Some('#') if word == "r" => {
                self.advance();
            }
            _ => self.push(word, line),
        }
    }

    fn opens_raw_text(&self) -> bool {
        let mut ahead = 0;
        while self.peek(ahead) == Some('#') {
            ahead += 1;
        }
        self.peek(ahead) == Some('"')
    }

    fn raw_text(&mut self, line: usize) {
        let mut hashes = 0;
        while self.peek(0) == Some('#') {
            hashes += 1;
            self.advance();
        }
        self.advance();
        while let Some(c) = self.advance() {
            if c == '"' && (0..hashes).all(|ahead| self.peek(ahead) == Some('#')) {
                self.at += hashes;
                break;
            }
        }
        self.push('"', line);
    }
}

/// The names in each attribute, with its line: `#[cfg(test)]` gives `cfg` and `test`.
pub(crate) fn attributes(tokens: &[Token]) -> Vec<(usize, Vec<&str>)> {
    let mut found = Vec::new();
    let mut rest = tokens;
    while let [first, tail @ ..] = rest {
        rest = tail;
        let inner = match tail {
            [open, inner @ ..] if first.is("#") && open.is("[") => inner,
            [bang, open, inner @ ..] if first.is("#") && bang.is("!") && open.is("[") => inner,
            _ => continue,
        };
        let length = closing(inner);
        let names = inner.iter().take(length).filter(|token| token.is_name());
        found.push((first.line, names.map(|token| token.text.as_str()).collect()));
    }
    found
}

/// The tokens that are left when every item under `#[cfg(test)]` is taken out.
pub(crate) fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut rest = tokens;
    while let [first, tail @ ..] = rest {
        if let Some(after) = after_test_item(rest) {
            rest = after;
        } else {
            kept.push(first.clone());
            rest = tail;
        }
    }
    kept
}

fn after_test_item(tokens: &[Token]) -> Option<&[Token]> {
    let mut rest = tokens;
    let mut for_tests = false;
    while let [hash, open, inner @ ..] = rest
        && hash.is("#")
        && open.is("[")
    {
        let length = closing(inner);
        let attribute: Vec<_> =
            inner.iter().take(length).map(|token| token.text.as_str()).collect();
        for_tests |= attribute.concat() == "cfg(test)";
        rest = inner.get(length + 1..)?;
    }
    for_tests.then(|| after_item(rest))
}

/// What follows an item (its first `;` or `{…}` outside of brackets), a field or a variant (`,`).
fn after_item(tokens: &[Token]) -> &[Token] {
    let item = tokens.iter().take(4).any(|token| ITEMS.contains(&token.text.as_str()));
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    let rest = tokens.get(at + 1..).unwrap_or_default();
                    // `use a::{b};` goes on to its semicolon.
                    return match rest {
                        [end, after @ ..] if end.is(";") => after,
                        _ => rest,
                    };
                }
            }
            ";" if depth == 0 => return tokens.get(at + 1..).unwrap_or_default(),
            "," if depth == 0 && !item => return tokens.get(at + 1..).unwrap_or_default(),
            _ => {}
        }
    }
    &[]
}

const ITEMS: &[&str] =
    &["fn", "impl", "mod", "use", "struct", "enum", "const", "static", "trait", "type", "let"];

/// How many tokens stand before the bracket that closes the one just opened.
fn closing(tokens: &[Token]) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "[" | "(" | "{" => depth += 1,
            "]" | ")" | "}" if depth == 0 => return at,
            "]" | ")" | "}" => depth -= 1,
            _ => {}
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        tokens(source).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        let source = r####"a /* b /* c */ d */ e // f
            "g \" h" r#"i " j"# b"k" 'l' '\'' '\u{6d}' b'n' br##"o"# p"## q"####;
        assert_eq!(words(source), ["a", "e", "\"", "\"", "\"", "\"", "\"", "\"", "\"", "\"", "q"]);
    }

    #[test]
    fn lifetimes_and_raw_names_stay() {
        assert_eq!(words("&'a str r#type"), ["&", "'", "a", "str", "type"]);
        assert_eq!(words("a::b"), ["a", "::", "b"]);
    }

    #[test]
    fn lines_count_through_literals() {
        let found = tokens("a\n\"x\ny\"\nb");
        assert_eq!(found.last().unwrap(), &Token { text: "b".to_owned(), line: 4 });
    }

    #[test]
    fn attributes_are_listed_with_their_names() {
        let found = tokens("#[derive(Debug)]\nstruct A;\n#[cfg_attr(x, test)] #![deny(y)]");
        let names = attributes(&found);
        assert_eq!(
            names,
            [
                (1, vec!["derive", "Debug"]),
                (3, vec!["cfg_attr", "x", "test"]),
                (3, vec!["deny", "y"])
            ]
        );
    }

    #[test]
    fn items_for_tests_are_taken_out() {
        let source = "a; #[cfg(test)] #[x] mod tests { fn b<T, U>(c: [u8; 3]) {} } d \
                      #[cfg(test)] fn i<T, U>(c: T) { j } #[cfg(test)] pub k: l<m>, n \
                      #[cfg(test)] use e::{f, g}; #[cfg(not(test))] h;";
        let kept = without_tests(&tokens(source));
        let kept: Vec<_> = kept.iter().map(|token| token.text.as_str()).collect();
        assert_eq!(kept.join(" "), "a ; d n # [ cfg ( not ( test ) ) ] h ;");
    }
}
