//! Finds cycles between files: files that use each other's items, directly or over others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;

use super::modules::{Dependency, Modules};

/// The uses of other files by a file, by the name of the other one.
type Uses = BTreeMap<String, BTreeMap<String, Dependency>>;

/// The cycles of a crate, one message each. `sources` are the sources by file name.
pub fn violations(root: &str, sources: &BTreeMap<String, String>) -> Vec<String> {
    let mut uses = Uses::new();
    for dependency in Modules::read(root, sources).dependencies() {
        uses.entry(dependency.from.clone()).or_default().entry(dependency.to.clone()).or_insert(dependency);
    }
    let cycles: BTreeSet<Vec<&str>> = uses.keys().filter_map(|file| shortest_cycle(&uses, file)).collect();
    cycles.iter().map(|cycle| message(&uses, cycle)).collect()
}

/// The shortest cycle with a file, if there is one. Begins with its first file in alphabetical order.
fn shortest_cycle<'a>(uses: &'a Uses, start: &'a str) -> Option<Vec<&'a str>> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(file) = queue.pop_front() {
        for next in uses.get(file).into_iter().flat_map(BTreeMap::keys) {
            if next == start {
                let mut cycle: Vec<&str> =
                    std::iter::successors(Some(file), |file| before.get(file).copied()).collect();
                cycle.reverse();
                let first = (0..cycle.len()).min_by_key(|index| cycle[*index]).unwrap_or(0);
                cycle.rotate_left(first);
                return Some(cycle);
            }
            if !before.contains_key(next.as_str()) {
                before.insert(next, file);
                queue.push_back(next);
            }
        }
    }
    None
}

fn message(uses: &Uses, cycle: &[&str]) -> String {
    let mut message = [cycle, &cycle[..1]].concat().join(" -> ");
    for (index, from) in cycle.iter().enumerate() {
        let Dependency { line, path, .. } = &uses[*from][cycle[(index + 1) % cycle.len()]];
        let _ = write!(message, "\n    {from}:{line} uses `{path}`");
    }
    message
}

/// The cycles of a crate with these files, without the lines of the uses.
#[cfg(test)]
fn cycles(files: &[(&str, &str)]) -> Vec<String> {
    let sources = files.iter().map(|(file, source)| (format!("src/{file}"), (*source).to_owned())).collect();
    let first_line = |message: &String| message.lines().next().unwrap_or_default().replace("src/", "");
    violations("src/lib.rs", &sources).iter().map(first_line).collect()
}

#[test]
fn reports_cycle_with_lines_and_paths() {
    let sources = [
        ("src/lib.rs", "mod a; mod b;"),
        ("src/a.rs", "use crate::b::B;\npub struct A(B);"),
        ("src/b.rs", "pub struct B;\n\nfn f(a: super::a::A) {}"),
    ];
    let sources = sources.map(|(file, source)| (file.to_owned(), source.to_owned())).into();
    let expected =
        "src/a.rs -> src/b.rs -> src/a.rs\n    src/a.rs:1 uses `crate::b::B`\n    src/b.rs:3 uses `super::a::A`";
    assert_eq!(violations("src/lib.rs", &sources), [expected]);
}

#[test]
fn finds_cycles_over_several_files() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c; mod d;"),
        ("a.rs", "use crate::{b::B, d::D}; pub struct A;"),
        ("b.rs", "pub struct B; fn f() { crate::c::g() }"),
        ("c.rs", "use super::{a::{self, A as Alias}}; pub fn g() {}"),
        ("d.rs", "pub struct D;"),
    ];
    assert_eq!(cycles(&files), ["a.rs -> b.rs -> c.rs -> a.rs"]);
}

#[test]
fn parent_depends_on_child_only_if_its_code_uses_it() {
    let child = ("a/child.rs", "use super::Parent; pub struct Child(Parent);");
    for (parent, is_cycle) in [
        ("mod child; pub use child::Child; pub struct Parent;", false),
        ("mod child; pub(crate) use self::child::Child as C; pub struct Parent;", false),
        ("mod child; pub use child::Child; pub struct Parent; fn f(child: Child) {}", true),
        ("mod child; use child::Child; pub struct Parent;", true),
        ("mod child; pub struct Parent; fn f() { child::Child::new() }", true),
        ("mod child; use child::*; pub struct Parent; fn f(child: Child) {}", true),
        ("mod child; pub use child::Child; pub struct Parent; #[cfg(test)] fn f(child: Child) {}", false),
    ] {
        let expected: &[&str] = if is_cycle { &["a/child.rs -> a/mod.rs -> a/child.rs"] } else { &[] };
        assert_eq!(cycles(&[("lib.rs", "mod a;"), ("a/mod.rs", parent), child]), expected, "{parent}");
    }
}

#[test]
fn follows_names_to_the_file_that_defines_them() {
    // `a/mod.rs` uses `b`. What `b` uses of `a` is in another file, unless it is `Own`.
    let cycles_with = |b: &str| {
        cycles(&[
            ("lib.rs", "mod a; mod b;"),
            (
                "a/mod.rs",
                "mod item; mod outer { pub mod inner {} } pub use item::{Item, Other as Renamed}; pub use item::*;\nuse crate::b::B; pub struct Own;",
            ),
            ("a/item.rs", "pub struct Item; pub struct Other; pub const fn function() {}"),
            ("b.rs", b),
        ])
    };
    for b in [
        "use crate::a::{Item, Renamed}; pub struct B;",
        "use crate::a; pub struct B; fn f() { a::function(); }",
        "use super::a::*; pub struct B; fn f(x: Renamed) {}",
        "pub struct B; mod inline { use super::super::a::Item; }",
        "pub struct B; #[cfg(test)] mod tests { use crate::a::Own; }",
        "pub struct B; // crate::a::Own\nconst C: &str = \"crate::a::Own\";",
        "pub struct B; fn f() { x.a::<B>(); crate::a::item::function() }",
    ] {
        assert_eq!(cycles_with(b), Vec::<String>::new(), "{b}");
    }
    for b in [
        "use crate::a::Own; pub struct B;",
        "use crate::a; pub struct B; fn f() { a::Own::new(); }",
        "use super::a::*; pub struct B; fn f(x: Own) {}",
        "pub struct B; mod inline { use super::super::a::Own; }",
        "pub struct B; macro_rules! m { () => { $crate::a::Own } }",
        "pub struct B; fn f() { Default { ..crate::a::Own } }",
        "pub struct B; fn f() { crate::a::defined_by_macro() }",
    ] {
        assert_eq!(cycles_with(b), ["a/mod.rs -> b.rs -> a/mod.rs"], "{b}");
    }
}
