//! Which files name an exchange. What is specific to one exchange belongs into its own folders.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use candlewick::model::ExchangeId;

use super::{read, root, sources};

/// The table of exchanges, the configuration, and the documentation.
const MAX_FILES: usize = 3;

/// Exchanges that examples and unit tests use.
const EXAMPLES: [ExchangeId; 2] = [ExchangeId::BINANCE, ExchangeId::KRAKEN];

/// Folders and files that may name an exchange only in a few places.
const SEARCHED: [&str; 6] = ["src", "config", "docs", "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"];

/// All files of the searched folders, as paths from the package's root with `/`.
fn files() -> Vec<String> {
    let mut found = Vec::new();
    let mut paths: Vec<PathBuf> = SEARCHED.map(PathBuf::from).into();
    while let Some(path) = paths.pop() {
        if root().join(&path).is_dir() {
            let entries = fs::read_dir(root().join(&path)).unwrap();
            paths.extend(entries.map(|entry| path.join(entry.unwrap().file_name())));
        } else {
            found.push(path.to_str().unwrap().replace('\\', "/"));
        }
    }
    found.sort();
    found
}

fn is_own(path: &str, exchange: ExchangeId) -> bool {
    ["exchanges", "simulator"].iter().any(|module| path.starts_with(&format!("src/{module}/{exchange}/")))
}

/// Whether a text has this word, in any case.
fn has_word(text: &str, word: &str) -> bool {
    text.to_lowercase().split(|c: char| !c.is_alphanumeric()).any(|one| one == word)
}

#[test]
fn few_files_name_an_exchange() {
    let texts: Vec<(String, String)> = files().into_iter().map(|path| (read(&path), path)).collect();
    for exchange in ExchangeId::all().filter(|exchange| !EXAMPLES.contains(exchange)) {
        let named = texts.iter().filter(|(text, path)| !is_own(path, exchange) && has_word(text, exchange.as_str()));
        let paths: Vec<&str> = named.map(|(_, path)| path.as_str()).collect();
        assert!(
            paths.len() <= MAX_FILES,
            "{exchange} is named outside its folders in {} files, the maximum is {MAX_FILES}: move what is specific to \
             it into its folders, and use binance or kraken in examples\n{}",
            paths.len(),
            paths.join("\n")
        );
    }
}

/// Files that are compiled for tests only, as declared in `sources`.
fn test_files(sources: &[(String, String)]) -> HashSet<String> {
    let declared = |(path, source): &(String, String)| {
        let folder = path.trim_end_matches(".rs").trim_end_matches("/mod").to_owned();
        let after_attribute = source.split("#[cfg(test)]\n").skip(1).map(str::to_owned).collect::<Vec<_>>();
        after_attribute.into_iter().filter_map(move |text| {
            let name = text.trim_start_matches("pub ").strip_prefix("mod ")?.split_once(';')?.0;
            name.chars().all(|c| c.is_alphanumeric() || c == '_').then(|| format!("{folder}/{name}.rs"))
        })
    };
    sources.iter().flat_map(declared).collect()
}

/// The code of a file before its unit tests.
fn without_tests(source: &str) -> &str {
    source.split("#[cfg(test)]\nmod tests {").next().unwrap_or(source)
}

#[test]
fn only_tests_use_the_constant_of_an_exchange() {
    let all: Vec<(String, String)> = sources("src").into_iter().map(|path| (path.clone(), read(&path))).collect();
    let test_files = test_files(&all);
    assert!(test_files.contains("src/exchanges/testing.rs") && test_files.contains("src/hub/tests.rs"));
    for exchange in ExchangeId::all() {
        let constant = format!("ExchangeId::{}", exchange.as_str().to_uppercase());
        let using = all.iter().filter(|(path, source)| {
            !is_own(path, exchange) && !test_files.contains(path) && without_tests(source).contains(&constant)
        });
        let paths: Vec<&str> = using.map(|(path, _)| path.as_str()).collect();
        assert!(paths.is_empty(), "{constant} is used outside the exchange's folders and tests\n{}", paths.join("\n"));
    }
}
