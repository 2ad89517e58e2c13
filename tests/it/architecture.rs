//! The import table of the house, checked on the sources: who may use which room, and which library.

mod paths;
mod rules;

use std::fs;
use std::path::{Path, PathBuf};

/// The most lines that a file may have.
const MOST_LINES: usize = 500;

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
    assert!(!found.is_empty(), "there is nothing in {folder}");
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

#[test]
fn every_import_is_in_the_table() {
    let wrong: Vec<String> = sources("src")
        .iter()
        .flat_map(|file| rules::broken_by(file, &read(file)).into_iter().map(move |what| format!("{file}: {what}")))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_file_is_short() {
    let long: Vec<String> = ["src", "tests", "benches"]
        .into_iter()
        .flat_map(sources)
        .map(|file| (read(&file).lines().count(), file))
        .filter(|(lines, _)| *lines > MOST_LINES)
        .map(|(lines, file)| format!("{file} has {lines} lines: split it, {MOST_LINES} are the most"))
        .collect();
    assert!(long.is_empty(), "\n{}", long.join("\n"));
}
