//! Checks on the sources: which module may import which modules and libraries, cycles between files, and the length of
//! files.

mod cycles;
mod exchange_names;
mod modules;
mod paths;
mod rules;
mod tokens;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use candlewick::model::ExchangeId;

/// Maximum number of lines of a file.
const MAX_LINES: usize = 500;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below a folder, as paths from the package's root with `/`, in order.
fn sources(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            if root().join(&path).is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path.to_str().unwrap().replace('\\', "/"));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no Rust files in {folder}");
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

#[test]
fn imports_follow_the_rules() {
    let violations: Vec<String> = sources("src")
        .iter()
        .flat_map(|file| {
            rules::violations(file, &read(file)).into_iter().map(move |violation| format!("{file}: {violation}"))
        })
        .collect();
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn files_do_not_use_each_other_in_cycles() {
    let mut sources: BTreeMap<String, String> =
        sources("src").into_iter().map(|file| (file.clone(), read(&file))).collect();
    // A macro declares the folders of the exchanges, and the registries use their items.
    for (module, item) in [("exchanges", "Adapter"), ("simulator", "Simulated")] {
        for id in ExchangeId::all() {
            for (file, line) in
                [("mod", format!("mod {id};\n")), ("registry", format!("use super::{id}::{item} as {id};\n"))]
            {
                *sources.get_mut(&format!("src/{module}/{file}.rs")).unwrap() += &line;
            }
        }
    }
    let cycles = cycles::violations("src/lib.rs", &sources);
    assert!(cycles.is_empty(), "move what the files share to a file of its own:\n{}", cycles.join("\n"));
}

#[test]
fn files_stay_within_line_limit() {
    let long: Vec<String> = ["src", "tests", "benches"]
        .into_iter()
        .flat_map(sources)
        .map(|file| (read(&file).lines().count(), file))
        .filter(|(lines, _)| *lines > MAX_LINES)
        .map(|(lines, file)| format!("{file} has {lines} lines: split it, the maximum is {MAX_LINES}"))
        .collect();
    assert!(long.is_empty(), "\n{}", long.join("\n"));
}
