//! Output of an export. A file has a temporary name until it is complete, so that an interrupted export never leaves an
//! incomplete file under the requested name.

use std::fs;
use std::io::{self, Stdout, Write};
use std::path::Path;

use anyhow::{Context, bail};

use super::args::Format;
use super::partial_file::PartialFile;
use super::report::Report;
use crate::clock::Clock;
use crate::model::{Candle, rows};

/// Suffix of the coverage file's name, appended to the name of the candle file.
const COVERAGE_SUFFIX: &str = ".coverage.json";

/// An export in progress.
pub(super) enum Output {
    Text(TextWriter),
    #[cfg(feature = "parquet")]
    Parquet(Box<super::parquet::ParquetWriter>),
}

/// Checks format and path before the store is read.
pub(super) fn check(format: Format, path: Option<&Path>) -> anyhow::Result<()> {
    if format == Format::Parquet {
        if cfg!(not(feature = "parquet")) {
            bail!(
                "this binary was built without Parquet: build it with `cargo build --release --features parquet`, or \
                 use csv or ndjson"
            );
        }
        if path.is_none() {
            bail!("parquet needs a file: set one with --output FILE");
        }
    }
    if let Some(path) = path
        && fs::metadata(path).is_ok_and(|metadata| !metadata.is_file())
    {
        bail!("{} exists and is not a regular file: choose another path with --output", path.display());
    }
    Ok(())
}

impl Output {
    pub fn new(format: Format, path: Option<&Path>, clock: &Clock) -> anyhow::Result<Self> {
        let destination = match path {
            Some(path) => Destination::File(PartialFile::create(path, clock)?, clock.clone()),
            None => Destination::Stdout(io::stdout()),
        };
        match (format, destination) {
            (Format::Csv | Format::Ndjson, destination) => TextWriter::new(format, destination).map(Self::Text),
            #[cfg(feature = "parquet")]
            (Format::Parquet, Destination::File(partial_file, _)) => {
                Ok(Self::Parquet(Box::new(super::parquet::ParquetWriter::new(partial_file)?)))
            }
            // Not reached: `check` rejects these cases.
            (Format::Parquet, _) => bail!("parquet needs a file and a binary built with it"),
        }
    }

    pub fn write(&mut self, candles: &[Candle]) -> anyhow::Result<()> {
        match self {
            Self::Text(writer) => writer.write(candles),
            #[cfg(feature = "parquet")]
            Self::Parquet(writer) => writer.write(candles),
        }
    }

    /// Writes the report and gives the file its final name.
    pub fn finish(self, report: &Report) -> anyhow::Result<()> {
        match self {
            Self::Text(writer) => writer.finish(report),
            #[cfg(feature = "parquet")]
            Self::Parquet(writer) => writer.finish(report),
        }
    }

    /// The effect of an interruption on the file, as the end of a sentence.
    pub fn interruption_note(&self) -> String {
        let partial_file = match self {
            Self::Text(TextWriter { destination: Destination::Stdout(_), .. }) => return String::new(),
            Self::Text(TextWriter { destination: Destination::File(partial_file, _), .. }) => partial_file,
            #[cfg(feature = "parquet")]
            Self::Parquet(writer) => writer.partial_file(),
        };
        format!(", and {} was not written", partial_file.path.display())
    }
}

/// Writes rows of text.
pub(super) struct TextWriter {
    format: Format,
    destination: Destination,
    buffer: Vec<u8>,
}

enum Destination {
    Stdout(Stdout),
    File(PartialFile, Clock),
}

impl TextWriter {
    fn new(format: Format, mut destination: Destination) -> anyhow::Result<Self> {
        if format == Format::Csv {
            destination.write(rows::CSV_HEADER)?;
        }
        Ok(Self { format, destination, buffer: Vec::new() })
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
        self.destination.write(&self.buffer)
    }

    fn finish(self, report: &Report) -> anyhow::Result<()> {
        match self.destination {
            Destination::Stdout(mut out) => Ok(out.flush().context(STDOUT_ERROR)?),
            Destination::File(partial_file, clock) => {
                let mut name = partial_file.path.clone().into_os_string();
                name.push(COVERAGE_SUFFIX);
                let mut coverage = PartialFile::create(Path::new(&name), &clock)?;
                coverage.write(&report.file_json())?;
                // Published first, so that a candle file never exists without its coverage file.
                coverage.publish()?;
                partial_file.publish()
            }
        }
    }
}

const STDOUT_ERROR: &str = "standard output cannot be written to";

impl Destination {
    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Stdout(out) => out.write_all(bytes).context(STDOUT_ERROR),
            Self::File(partial_file, _) => partial_file.write(bytes),
        }
    }
}
