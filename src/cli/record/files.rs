//! Where a recording goes: files of a bounded size, of which only the newest stay; or standard output.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Lines on their way to the disk, or to whoever reads our output.
pub enum Output {
    Files(Files),
    Standard(BufWriter<io::Stdout>),
}

impl Output {
    /// Writes a line, which ends with a line feed.
    ///
    /// # Errors
    /// The disk is full, the folder is gone, or nobody reads any more.
    pub fn line(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Files(files) => files.line(line),
            Self::Standard(out) => out.write_all(line),
        }
    }

    /// Makes what was written visible.
    ///
    /// # Errors
    /// As for [`Output::line`].
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Files(files) => files.current.as_mut().map_or(Ok(()), Write::flush),
            Self::Standard(out) => out.flush(),
        }
    }
}

/// Files `NAME-001.jsonl`, `NAME-002.jsonl`, …
pub struct Files {
    folder: PathBuf,
    name: String,
    /// The most bytes of one.
    size: u64,
    /// How many stay.
    keep: usize,
    /// Those that are there, oldest first.
    kept: VecDeque<PathBuf>,
    current: Option<BufWriter<File>>,
    written: u64,
    number: u32,
}

impl Files {
    /// Files in `folder`, which is made where it is not there.
    ///
    /// # Errors
    /// The folder cannot be made, or nothing can be written there.
    pub fn new(folder: &Path, name: String, size: u64, keep: usize) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut files = Self {
            folder: folder.to_owned(),
            name,
            size,
            keep: keep.max(1),
            kept: VecDeque::new(),
            current: None,
            written: 0,
            number: 0,
        };
        files.next()?;
        Ok(files)
    }

    /// The files that are there, oldest first.
    pub fn kept(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.kept.iter().map(PathBuf::as_path)
    }

    fn next(&mut self) -> io::Result<()> {
        if let Some(mut full) = self.current.take() {
            full.flush()?;
        }
        self.number += 1;
        let path = self.folder.join(format!("{}-{:03}.jsonl", self.name, self.number));
        self.current = Some(BufWriter::new(File::create_new(&path)?));
        self.written = 0;
        self.kept.push_back(path);
        if self.kept.len() > self.keep
            && let Some(oldest) = self.kept.pop_front()
        {
            fs::remove_file(oldest)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        // A line longer than a file has one for itself.
        if self.written > 0 && self.written + length > self.size {
            self.next()?;
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
    fn files_are_bounded_and_the_newest_stay() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        let files = Files::new(&inner, "binance-1".to_owned(), 10, 2).unwrap();
        let mut output = Output::Files(files);
        for line in ["1234\n", "5678\n", "x\n", "longer than a file\n", "y\n"] {
            output.line(line.as_bytes()).unwrap();
        }
        output.flush().unwrap();
        let Output::Files(files) = output else { unreachable!() };
        let names: Vec<_> = files.kept().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["binance-1-003.jsonl", "binance-1-004.jsonl"]);
        let kept: Vec<_> = files.kept().map(text).collect();
        assert_eq!(kept, ["longer than a file\n", "y\n"]);
        assert_eq!(fs::read_dir(&inner).unwrap().count(), 2);
    }

    #[test]
    fn a_file_that_is_there_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("x-001.jsonl"), "old").unwrap();
        assert!(Files::new(folder.path(), "x".to_owned(), 10, 2).is_err());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(Files::new(&file.join("inside"), "x".to_owned(), 10, 2).is_err());
    }
}
