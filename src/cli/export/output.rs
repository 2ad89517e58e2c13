//! Where an export goes. A file has another name until it is whole: whatever interrupts an export, its name stands for
//! all of it or for nothing.

use std::fs::{self, File};
use std::io::{self, Stdout, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::Format;
use super::report::Report;
use crate::clock::Clock;
use crate::model::{Candle, rows};

/// What is added to the name of a file for the name of its coverage.
const COVERAGE: &str = ".coverage.json";

/// An export that is being written.
pub(super) enum Output {
    Text(Text),
    #[cfg(feature = "parquet")]
    Parquet(Box<super::parquet::Table>),
}

/// Says what cannot be before anything is read.
pub(super) fn check(format: Format, path: Option<&Path>) -> anyhow::Result<()> {
    if format == Format::Parquet {
        if cfg!(not(feature = "parquet")) {
            bail!(
                "this candlewick was built without Parquet; `cargo build --release --features parquet` builds it in, and \
                 csv and ndjson are always there"
            );
        }
        if path.is_none() {
            bail!("parquet needs a file: name it with --output FILE");
        }
    }
    if let Some(path) = path
        && fs::metadata(path).is_ok_and(|there| !there.is_file())
    {
        bail!("{} is there and no ordinary file: choose another name with --output", path.display());
    }
    Ok(())
}

impl Output {
    pub fn new(format: Format, path: Option<&Path>, clock: &Clock) -> anyhow::Result<Self> {
        let place = match path {
            Some(path) => Place::File(Part::create(path, clock)?, clock.clone()),
            None => Place::Standard(io::stdout()),
        };
        match (format, place) {
            (Format::Csv | Format::Ndjson, place) => Text::new(format, place).map(Self::Text),
            #[cfg(feature = "parquet")]
            (Format::Parquet, Place::File(part, _)) => Ok(Self::Parquet(Box::new(super::parquet::Table::new(part)?))),
            // `check` was asked before.
            (Format::Parquet, _) => bail!("parquet needs a file, and to be built in"),
        }
    }

    pub fn write(&mut self, candles: &[Candle]) -> anyhow::Result<()> {
        match self {
            Self::Text(text) => text.write(candles),
            #[cfg(feature = "parquet")]
            Self::Parquet(table) => table.write(candles),
        }
    }

    /// Gives the file its name, and what the report says with it.
    pub fn finish(self, report: &Report) -> anyhow::Result<()> {
        match self {
            Self::Text(text) => text.finish(report),
            #[cfg(feature = "parquet")]
            Self::Parquet(table) => table.finish(report),
        }
    }

    /// What an interruption means for the file, as the end of a sentence.
    pub fn left(&self) -> String {
        let part = match self {
            Self::Text(Text { place: Place::Standard(_), .. }) => return String::new(),
            Self::Text(Text { place: Place::File(part, _), .. }) => part,
            #[cfg(feature = "parquet")]
            Self::Parquet(table) => table.part(),
        };
        format!(", and {} was not written", part.path.display())
    }
}

/// Lines of text.
pub(super) struct Text {
    format: Format,
    place: Place,
    buffer: Vec<u8>,
}

enum Place {
    Standard(Stdout),
    File(Part, Clock),
}

impl Text {
    fn new(format: Format, mut place: Place) -> anyhow::Result<Self> {
        if format == Format::Csv {
            place.write(rows::CSV_HEAD)?;
        }
        Ok(Self { format, place, buffer: Vec::new() })
    }

    fn write(&mut self, candles: &[Candle]) -> anyhow::Result<()> {
        self.buffer.clear();
        for candle in candles {
            match self.format {
                Format::Csv => rows::csv(&mut self.buffer, candle),
                Format::Ndjson | Format::Parquet => rows::ndjson(&mut self.buffer, candle),
            }
            self.buffer.push(b'\n');
        }
        self.place.write(&self.buffer)
    }

    fn finish(self, report: &Report) -> anyhow::Result<()> {
        match self.place {
            Place::Standard(mut out) => Ok(out.flush().context(STANDARD)?),
            Place::File(part, clock) => {
                let mut name = part.path.clone().into_os_string();
                name.push(COVERAGE);
                let mut coverage = Part::create(Path::new(&name), &clock)?;
                coverage.write(&report.file_json())?;
                // First, so that a file of candles never stands without its own.
                coverage.publish()?;
                part.publish()
            }
        }
    }
}

const STANDARD: &str = "standard output cannot be written to";

impl Place {
    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Standard(out) => out.write_all(bytes).context(STANDARD),
            Self::File(part, _) => part.write(bytes),
        }
    }
}

/// A file that has its name only when it is whole; until then it is deleted where this is dropped.
pub(super) struct Part {
    pub path: PathBuf,
    hidden: PathBuf,
    file: File,
}

impl Part {
    fn create(path: &Path, clock: &Clock) -> anyhow::Result<Self> {
        // Where the name is a link, the file that it leads to is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let name = path.file_name().with_context(|| format!("{} names no file", path.display()))?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{:016x}.part", clock.random_u64()));
        let hidden = path.with_file_name(hidden);
        let file = File::create_new(&hidden).with_context(|| cannot(&path))?;
        Ok(Self { path, hidden, file })
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.file.write_all(bytes).with_context(|| self.cannot())
    }

    /// The file for who writes it in its own way.
    #[cfg(feature = "parquet")]
    pub fn file(&self) -> anyhow::Result<File> {
        self.file.try_clone().with_context(|| self.cannot())
    }

    /// All is written: the file takes its name, on the disk, too.
    pub fn publish(self) -> anyhow::Result<()> {
        self.file.sync_all().and_then(|()| fs::rename(&self.hidden, &self.path)).with_context(|| self.cannot())
    }

    /// For an error, which says why.
    pub fn cannot(&self) -> String {
        cannot(&self.path)
    }
}

fn cannot(path: &Path) -> String {
    format!("{} cannot be written", path.display())
}

impl Drop for Part {
    fn drop(&mut self) {
        // Nothing is left there once it has its name.
        let _ = fs::remove_file(&self.hidden);
    }
}
