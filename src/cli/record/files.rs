//! Output of a recording: files of limited size and number, or standard output.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Destination of recorded lines.
pub enum Output {
    Files(Files),
    Stdout(BufWriter<io::Stdout>),
}

impl Output {
    /// Writes a line, which ends with a line feed.
    ///
    /// # Errors
    /// The disk is full, the folder was deleted, or the reader of standard output has closed it.
    pub fn line(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Files(files) => files.line(line),
            Self::Stdout(out) => out.write_all(line),
        }
    }

    /// Flushes the buffered lines.
    ///
    /// # Errors
    /// As for [`Output::line`].
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Files(files) => files.current.as_mut().map_or(Ok(()), Write::flush),
            Self::Stdout(out) => out.flush(),
        }
    }
}

/// Files `PREFIX-001.jsonl`, `PREFIX-002.jsonl`, …
pub struct Files {
    folder: PathBuf,
    prefix: String,
    /// Maximum size of a file in bytes.
    max_bytes: u64,
    /// Maximum number of files. The oldest file is deleted when a new one exceeds it.
    limit: usize,
    /// Paths of the existing files, oldest first.
    paths: VecDeque<PathBuf>,
    current: Option<BufWriter<File>>,
    written: u64,
    number: u32,
}

impl Files {
    /// Creates the first file in `folder`, and the folder if necessary.
    ///
    /// # Errors
    /// The folder or the file cannot be created.
    pub fn new(folder: &Path, prefix: String, max_bytes: u64, limit: usize) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut files = Self {
            folder: folder.to_owned(),
            prefix,
            max_bytes,
            limit: limit.max(1),
            paths: VecDeque::new(),
            current: None,
            written: 0,
            number: 0,
        };
        files.start_next()?;
        Ok(files)
    }

    /// The existing files, oldest first.
    pub fn paths(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.paths.iter().map(PathBuf::as_path)
    }

    fn start_next(&mut self) -> io::Result<()> {
        if let Some(mut full) = self.current.take() {
            full.flush()?;
        }
        self.number += 1;
        let path = self.folder.join(format!("{}-{:03}.jsonl", self.prefix, self.number));
        self.current = Some(BufWriter::new(File::create_new(&path)?));
        self.written = 0;
        self.paths.push_back(path);
        if self.paths.len() > self.limit
            && let Some(oldest) = self.paths.pop_front()
        {
            fs::remove_file(oldest)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        // A line longer than the maximum size gets its own file.
        if self.written > 0 && self.written + length > self.max_bytes {
            self.start_next()?;
        }
        self.written += length;
        self.current.as_mut().map_or(Ok(()), |file| file.write_all(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn deletes_oldest_files() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        let files = Files::new(&inner, "binance-1".to_owned(), 10, 2).unwrap();
        let mut output = Output::Files(files);
        for line in ["1234\n", "5678\n", "x\n", "longer than a file\n", "y\n"] {
            output.line(line.as_bytes()).unwrap();
        }
        output.flush().unwrap();
        let Output::Files(files) = output else { unreachable!() };
        let names: Vec<_> = files.paths().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["binance-1-003.jsonl", "binance-1-004.jsonl"]);
        let contents: Vec<_> = files.paths().map(text).collect();
        assert_eq!(contents, ["longer than a file\n", "y\n"]);
        assert_eq!(fs::read_dir(&inner).unwrap().count(), 2);
    }

    #[test]
    fn does_not_overwrite_existing_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("x-001.jsonl"), "old").unwrap();
        assert!(Files::new(folder.path(), "x".to_owned(), 10, 2).is_err());
    }

    #[test]
    fn fails_if_folder_cannot_be_created() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(Files::new(&file.join("inside"), "x".to_owned(), 10, 2).is_err());
    }
}
