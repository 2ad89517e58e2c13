//! The modules of the crate, and the files that define their items.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::paths::{SourcePath, source_paths};
use super::tokens::{Token, tokens};

/// Keywords that precede the name of an item.
const ITEMS: [&str; 7] = ["struct", "enum", "trait", "fn", "const", "static", "type"];

/// The modules of a crate without its unit tests.
pub struct Modules(Vec<Module>);

/// A file, or a `mod name { … }` in one.
struct Module {
    file: String,
    parent: Option<usize>,
    children: HashMap<String, usize>,
    /// Names of the items that it defines.
    items: HashSet<String>,
    /// Paths of imported names.
    imports: HashMap<String, Vec<String>>,
    /// Modules that it imports everything from.
    globs: Vec<Vec<String>>,
    /// Paths that its code uses.
    paths: Vec<(Vec<String>, usize)>,
}

/// What a path leads to.
#[derive(Clone, Copy)]
enum Target {
    Module(usize),
    /// An item of this module.
    Item(usize),
}

/// A use of another file's item.
#[derive(Debug)]
pub struct Dependency {
    pub from: String,
    pub to: String,
    /// The line and the path in `from`.
    pub line: usize,
    pub path: String,
}

impl Modules {
    /// Reads the modules from the root file on. `sources` are the sources by file name.
    pub fn read(root: &str, sources: &BTreeMap<String, String>) -> Self {
        let mut modules = Self(Vec::new());
        modules.add_file(root, None, sources);
        modules
    }

    /// The dependencies between files, several for the same two files. A module that only declares its children or
    /// re-exports their items does not depend on them. An import of a module is no dependency: the use of its items is.
    pub fn dependencies(&self) -> Vec<Dependency> {
        let mut found = Vec::new();
        for (index, module) in self.0.iter().enumerate() {
            for (path, line) in &module.paths {
                let Some(Target::Item(target)) = self.resolve(index, path, &mut HashSet::new()) else { continue };
                let (from, to) = (module.file.clone(), self.0[target].file.clone());
                if from != to {
                    found.push(Dependency { from, to, line: *line, path: path.join("::") });
                }
            }
        }
        found
    }

    fn add(&mut self, file: &str, parent: Option<usize>) -> usize {
        self.0.push(Module {
            file: file.to_owned(),
            parent,
            children: HashMap::new(),
            items: HashSet::new(),
            imports: HashMap::new(),
            globs: Vec::new(),
            paths: Vec::new(),
        });
        self.0.len() - 1
    }

    fn add_file(&mut self, file: &str, parent: Option<usize>, sources: &BTreeMap<String, String>) -> usize {
        let root = self.add(file, parent);
        let tokens = without_tests(&tokens(&sources[file]));
        let folder = match file.rsplit_once('/') {
            Some((folder, "lib.rs" | "mod.rs")) => folder,
            _ => file.trim_end_matches(".rs"),
        };
        self.add_declarations(&tokens, root, folder, sources);
        for path in source_paths(&tokens) {
            let inner = |module: usize, name: &String| self.0[module].children.get(name).copied().unwrap_or(module);
            let module = path.scope.iter().fold(root, inner);
            self.0[module].add_path(path);
        }
        root
    }

    /// Adds the items and child modules that are declared in the tokens of a module.
    fn add_declarations(&mut self, tokens: &[Token], module: usize, folder: &str, sources: &BTreeMap<String, String>) {
        let mut next = 0;
        while let Some(token) = tokens.get(next) {
            let name = tokens.get(next + 1).and_then(Token::ident);
            let is_followed_by = |sign| tokens.get(next + 2).is_some_and(|token| token.is(sign));
            match (token.ident(), name) {
                (Some("mod"), Some(name)) if is_followed_by(';') => {
                    let path = format!("{folder}/{name}");
                    let files = [format!("{path}.rs"), format!("{path}/mod.rs")];
                    let file = files.iter().find(|file| sources.contains_key(*file));
                    let file = file.unwrap_or_else(|| panic!("{} declares `{name}`", self.0[module].file));
                    let child = self.add_file(file, Some(module), sources);
                    self.0[module].children.insert(name.to_owned(), child);
                }
                (Some("mod"), Some(name)) if is_followed_by('{') => {
                    let file = self.0[module].file.clone();
                    let child = self.add(&file, Some(module));
                    self.0[module].children.insert(name.to_owned(), child);
                    let end = end_of_group(tokens, next + 2);
                    self.add_declarations(&tokens[next + 3..end - 1], child, &format!("{folder}/{name}"), sources);
                    next = end;
                    continue;
                }
                (Some("macro_rules"), None) => {
                    self.0[module].items.extend(tokens.get(next + 2).and_then(Token::ident).map(str::to_owned));
                }
                (Some(keyword), Some(name)) if ITEMS.contains(&keyword) && name != "fn" => {
                    self.0[module].items.insert(name.to_owned());
                }
                _ => {}
            }
            next = if opens_group(token) { end_of_group(tokens, next) } else { next + 1 };
        }
    }

    /// What a path leads to, seen from a module. `visited` ends circular imports.
    fn resolve(&self, from: usize, path: &[String], visited: &mut HashSet<(usize, String)>) -> Option<Target> {
        let (mut module, mut is_ours) = (from, false);
        for (index, name) in path.iter().enumerate() {
            let next = match name.as_str() {
                "crate" if index == 0 => Some(Target::Module(0)),
                "self" => Some(Target::Module(module)),
                "super" => self.0[module].parent.map(Target::Module),
                _ => self.find(module, name, visited),
            };
            match next {
                Some(Target::Module(found)) => (module, is_ours) = (found, true),
                Some(item) => return Some(item),
                // A name that a macro defines, if the path leads into a module of this crate.
                None => return is_ours.then_some(Target::Item(module)),
            }
        }
        Some(Target::Module(module))
    }

    /// What a name means in a module.
    fn find(&self, module: usize, name: &str, visited: &mut HashSet<(usize, String)>) -> Option<Target> {
        if !visited.insert((module, name.to_owned())) {
            return None;
        }
        let Module { children, items, imports, globs, .. } = &self.0[module];
        if let Some(child) = children.get(name) {
            return Some(Target::Module(*child));
        }
        if items.contains(name) {
            return Some(Target::Item(module));
        }
        if let Some(path) = imports.get(name) {
            return self.resolve(module, path, visited);
        }
        globs.iter().find_map(|glob| match self.resolve(module, glob, visited)? {
            Target::Module(found) => self.find(found, name, visited),
            Target::Item(_) => None,
        })
    }
}

impl Module {
    fn add_path(&mut self, SourcePath { mut segments, line, import, .. }: SourcePath) {
        let Some(import) = import else {
            self.paths.push((segments, line));
            return;
        };
        if import.name == "*" {
            segments.pop();
            self.globs.push(segments);
            return;
        }
        if !import.is_public {
            self.paths.push((segments.clone(), line));
        }
        self.imports.insert(import.name, segments);
    }
}

fn opens_group(token: &Token) -> bool {
    ['{', '(', '['].into_iter().any(|sign| token.is(sign))
}

/// The index after the bracket that closes the one at `start`.
fn end_of_group(tokens: &[Token], start: usize) -> usize {
    let mut open = 0;
    for (index, token) in tokens.iter().enumerate().skip(start) {
        if opens_group(token) {
            open += 1;
        } else if ['}', ')', ']'].into_iter().any(|sign| token.is(sign)) {
            open -= 1;
            if open == 0 {
                return index + 1;
            }
        }
    }
    tokens.len()
}

/// The tokens without the items that have `#[cfg(test)]`.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let (mut rest, mut next) = (Vec::new(), 0);
    while let Some(token) = tokens.get(next) {
        let texts: Vec<&str> = tokens[next..].iter().take(5).filter_map(Token::ident).collect();
        if token.is('#') && texts == ["cfg", "test"] {
            // The attribute, then further attributes and the item: up to a block or `;`.
            next = end_of_group(tokens, next + 1);
            while let Some(token) = tokens.get(next) {
                let is_last = token.is('{') || token.is(';');
                next = if opens_group(token) { end_of_group(tokens, next) } else { next + 1 };
                if is_last {
                    break;
                }
            }
        } else {
            rest.push(token.clone());
            next += 1;
        }
    }
    rest
}
