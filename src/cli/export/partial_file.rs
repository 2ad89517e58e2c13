//! A file that appears only once it is complete.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::clock::Clock;

/// A file under a temporary name until it is published. Deleted if dropped before.
pub(super) struct PartialFile {
    pub path: PathBuf,
    temporary: PathBuf,
    file: File,
}

impl PartialFile {
    /// Creates the temporary file beside `path`.
    pub fn create(path: &Path, clock: &Clock) -> anyhow::Result<Self> {
        // If the path is a symbolic link, its target is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let name = path.file_name().with_context(|| format!("{} is not a file name", path.display()))?;
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{:016x}.part", clock.random_u64()));
        let temporary = path.with_file_name(temporary);
        let file = File::create_new(&temporary).with_context(|| write_error(&path))?;
        Ok(Self { path, temporary, file })
    }

    pub fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.file.write_all(bytes).with_context(|| self.write_error())
    }

    /// The open file, for a writer that does not use [`PartialFile::write`].
    #[cfg(feature = "parquet")]
    pub fn file(&self) -> anyhow::Result<File> {
        self.file.try_clone().with_context(|| self.write_error())
    }

    /// Syncs the file to disk and gives it its final name.
    pub fn publish(self) -> anyhow::Result<()> {
        self.file.sync_all().and_then(|()| fs::rename(&self.temporary, &self.path)).with_context(|| self.write_error())
    }

    /// Context of a write error.
    pub fn write_error(&self) -> String {
        write_error(&self.path)
    }
}

fn write_error(path: &Path) -> String {
    format!("{} cannot be written", path.display())
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        // Fails after `publish`, when there is no temporary file any more.
        let _ = fs::remove_file(&self.temporary);
    }
}
