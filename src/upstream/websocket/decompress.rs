//! Decompresses binary frames.

use std::io::Read;

use flate2::bufread::{DeflateDecoder, GzDecoder};

use super::dial::MAX_MESSAGE;
use crate::exchanges::Encoding;

/// Decompresses the frames of one connection; reuses its buffer.
#[derive(Default)]
pub(super) struct Decompressor {
    encoding: Encoding,
    buffer: Vec<u8>,
}

impl Decompressor {
    pub fn new(encoding: Encoding) -> Self {
        Self { encoding, buffer: Vec::new() }
    }

    /// The text of a binary frame; `None` if frames of this connection are not compressed.
    ///
    /// # Errors
    /// The frame is damaged, is not UTF-8, or decompresses to more than [`MAX_MESSAGE`] bytes.
    pub fn text(&mut self, frame: &[u8]) -> Result<Option<&str>, String> {
        self.buffer.clear();
        let limit = MAX_MESSAGE as u64 + 1;
        let result = match self.encoding {
            Encoding::Plain => return Ok(None),
            Encoding::Gzip => GzDecoder::new(frame).take(limit).read_to_end(&mut self.buffer),
            Encoding::Deflate => DeflateDecoder::new(frame).take(limit).read_to_end(&mut self.buffer),
        };
        match result {
            Ok(length) if length > MAX_MESSAGE => {
                // The buffer of a bomb is not kept.
                self.buffer = Vec::new();
                Err(format!("a frame decompresses to more than {MAX_MESSAGE} bytes"))
            }
            Ok(_) => {
                std::str::from_utf8(&self.buffer).map(Some).map_err(|error| format!("a frame is not text: {error}"))
            }
            Err(error) => Err(format!("a frame cannot be decompressed: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::read::{DeflateEncoder, GzEncoder};

    fn compressed(encoding: Encoding, text: &[u8]) -> Vec<u8> {
        let mut compressed = Vec::new();
        match encoding {
            Encoding::Plain => compressed.extend_from_slice(text),
            Encoding::Gzip => drop(GzEncoder::new(text, Compression::fast()).read_to_end(&mut compressed)),
            Encoding::Deflate => drop(DeflateEncoder::new(text, Compression::fast()).read_to_end(&mut compressed)),
        }
        compressed
    }

    #[test]
    fn decompresses_frames_one_after_the_other() {
        for encoding in [Encoding::Gzip, Encoding::Deflate] {
            let mut decompressor = Decompressor::new(encoding);
            for text in [r#"{"ping":1492420473027}"#, "", "ü"] {
                assert_eq!(decompressor.text(&compressed(encoding, text.as_bytes())), Ok(Some(text)));
            }
        }
        assert_eq!(Decompressor::new(Encoding::Plain).text(b"x"), Ok(None));
    }

    #[test]
    fn rejects_damaged_binary_and_oversized_frames() {
        let mut decompressor = Decompressor::new(Encoding::Gzip);
        let valid = compressed(Encoding::Gzip, b"text");
        let oversized = compressed(Encoding::Gzip, &vec![b' '; MAX_MESSAGE + 1]);
        assert!(oversized.len() < MAX_MESSAGE / 100);
        for frame in
            [b"text".to_vec(), valid[..valid.len() - 1].to_vec(), compressed(Encoding::Gzip, b"\xff"), oversized]
        {
            assert!(decompressor.text(&frame).is_err());
        }
        assert_eq!(decompressor.text(&valid), Ok(Some("text")));
        assert!(decompressor.text(&compressed(Encoding::Gzip, &vec![b' '; MAX_MESSAGE])).is_ok());
    }
}
