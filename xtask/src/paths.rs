//! Finds the paths that Rust code names, in `use` and elsewhere, and makes them absolute.

use crate::code::Token;

/// One path that the code names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Import {
    /// Begins with `crate` or with the name of another crate.
    pub(crate) path: Vec<String>,
    /// The name that a `use` makes known.
    pub(crate) name: Option<String>,
    pub(crate) line: usize,
}

/// Every path in `tokens` with at least two parts, `self` and `super` resolved against `module`.
pub(crate) fn imports(tokens: &[Token], module: &[String]) -> Vec<Import> {
    let mut found = Vec::new();
    // Inline modules: their name, and the depth of braces that they were opened at.
    let mut inline: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    let mut before: Option<&Token> = None;
    let mut rest = tokens;
    while let [token, tail @ ..] = rest {
        let here: Vec<_> =
            module.iter().cloned().chain(inline.iter().map(|(name, _)| name.clone())).collect();
        rest = tail;
        match (token.text.as_str(), tail) {
            ("mod", [name, open, after @ ..]) if open.is("{") => {
                inline.push((name.text.clone(), depth));
                depth += 1;
                rest = after;
            }
            ("{", _) => depth += 1,
            ("}", _) => {
                depth = depth.saturating_sub(1);
                inline.pop_if(|(_, opened)| *opened == depth);
            }
            // `use<'a>` is a bound, no import.
            ("use", [next, ..]) if !next.is("<") => {
                let mut leaves = Vec::new();
                rest = use_tree(tail, &[], &mut leaves);
                found.extend(leaves.into_iter().map(|leaf| resolved(leaf, &here)));
            }
            (_, [colons, ..])
                if token.is_name()
                    && colons.is("::")
                    && !before.is_some_and(|token| token.is("::") || token.is(".")) =>
            {
                let (path, after) = plain_path(rest_with(token, tokens, tail));
                rest = after;
                let import = Import { path, name: None, line: token.line };
                found.push(resolved(import, &here));
            }
            _ => {}
        }
        before = Some(token);
    }
    found
}

/// The tokens from `token` on, of which `tail` is what follows it.
fn rest_with<'a>(token: &'a Token, tokens: &'a [Token], tail: &'a [Token]) -> &'a [Token] {
    let at = tokens.len().saturating_sub(tail.len() + 1);
    tokens.get(at..).unwrap_or(std::slice::from_ref(token))
}

/// Reads `a::b::c` up to what is no part of the path, such as `::<` or `::{`.
fn plain_path(tokens: &[Token]) -> (Vec<String>, &[Token]) {
    let mut path = Vec::new();
    let mut rest = tokens;
    while let [name, tail @ ..] = rest
        && name.is_name()
    {
        path.push(name.text.clone());
        rest = tail;
        let [colons, next, ..] = tail else { break };
        if !colons.is("::") || !next.is_name() {
            break;
        }
        rest = tail.get(1..).unwrap_or_default();
    }
    (path, rest)
}

/// Reads one branch of a `use` up to its `,`, `}` or `;`, and returns what follows that.
fn use_tree<'a>(tokens: &'a [Token], prefix: &[String], found: &mut Vec<Import>) -> &'a [Token] {
    let mut path = prefix.to_vec();
    let mut name = None;
    let mut rest = tokens;
    let mut line = tokens.first().map_or(0, |token| token.line);
    while let [token, tail @ ..] = rest {
        rest = tail;
        match token.text.as_str() {
            "::" => {}
            "{" => {
                while let [next, ..] = rest
                    && !next.is("}")
                {
                    rest = use_tree(rest, &path, found);
                }
                path.clear();
                rest = rest.get(1..).unwrap_or_default();
            }
            "as" => {
                name = tail.first().map(|token| token.text.clone());
                rest = tail.get(1..).unwrap_or_default();
            }
            // The closing brace belongs to the branch around this one.
            "}" => {
                rest = tokens.get(tokens.len() - tail.len() - 1..).unwrap_or_default();
                break;
            }
            "," | ";" => break,
            text => {
                line = token.line;
                path.push(text.to_owned());
            }
        }
    }
    if let Some(last) = path.last().cloned() {
        // `a::{self}` is `a`.
        if last == "self" && path.len() > 1 {
            path.pop();
        }
        let name = name.or_else(|| path.last().cloned());
        found.push(Import { path, name, line });
    }
    rest
}

/// Makes `self` and `super` absolute; a glob names what it is taken from.
fn resolved(mut import: Import, here: &[String]) -> Import {
    if import.path.last().is_some_and(|last| last == "*") {
        import.path.pop();
    }
    let mut base = here.to_vec();
    let relative = import.path.iter().take_while(|part| matches!(part.as_str(), "self" | "super"));
    let relative: Vec<_> = relative.cloned().collect();
    if relative.is_empty() {
        return import;
    }
    for part in &relative {
        if part == "super" {
            base.pop();
        }
    }
    let rest = import.path.iter().skip(relative.len()).cloned();
    import.path = std::iter::once("crate".to_owned()).chain(base).chain(rest).collect();
    import
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::tokens;

    fn of(source: &str, module: &[&str]) -> Vec<String> {
        let module: Vec<_> = module.iter().map(|part| (*part).to_owned()).collect();
        imports(&tokens(source), &module).iter().map(|import| import.path.join("::")).collect()
    }

    #[test]
    fn branches_of_a_use_are_told_apart() {
        assert_eq!(
            of("pub use a::{b::{c, d as e}, self, f::*, }; use g;", &[]),
            ["a::b::c", "a::b::d", "a", "a::f", "g"]
        );
    }

    #[test]
    fn names_made_known_are_kept() {
        let found = imports(&tokens("use a::{b as c, d};"), &[]);
        let names: Vec<_> = found.iter().map(|import| import.name.as_deref()).collect();
        assert_eq!(names, [Some("c"), Some("d")]);
    }

    #[test]
    fn relative_paths_are_made_absolute() {
        let here = ["engine", "append"];
        assert_eq!(of("use super::cache::C;", &here), ["crate::engine::cache::C"]);
        assert_eq!(of("use self::batch::B;", &here), ["crate::engine::append::batch::B"]);
        assert_eq!(
            of("mod m { use super::B; } use super::D;", &here),
            ["crate::engine::append::B", "crate::engine::D"]
        );
    }

    #[test]
    fn paths_outside_of_use_are_found() {
        assert_eq!(of("fn f(a: b::C) { d.e::<F>(); g::h::<I>() }", &[]), ["b::C", "g::h"]);
        assert_eq!(of("fn f() -> impl Sized + use<'a> { 1 }", &[]), Vec::<String>::new());
    }
}
