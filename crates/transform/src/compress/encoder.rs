//! One answer's content, compressed as it goes by.

use std::{io, io::Write};

use brotli::CompressorWriter;
use bytes::Bytes;
use filter::{Inspect, Reason, Reply};
use flate2::write::GzEncoder;

use super::Algorithm;

/// What a brotli encoder writes at once.
const BUFFER: usize = 4 * 1024;

/// How far brotli and zstd look back, as a power of two: 512 KiB. It bounds what an answer under way costs, and RFC 9659
/// allows no more than 8 MiB.
const WINDOW: u32 = 19;

/// Compresses the content of one answer.
pub struct Encoder {
    coder: Coder,
    /// Whether what has come is sent on at once: for content whose length nobody knows, because it may pause.
    flushes: bool,
}

enum Coder {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    /// The end has been written.
    Done,
}

impl Encoder {
    /// An encoder for content of which nothing has come.
    pub(super) fn new(algorithm: Algorithm, level: u32, flushes: bool) -> io::Result<Self> {
        let coder = match algorithm {
            Algorithm::Gzip => Coder::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::new(level))),
            Algorithm::Brotli => Coder::Brotli(Box::new(CompressorWriter::new(Vec::new(), BUFFER, level, WINDOW))),
            Algorithm::Zstd => {
                let level = i32::try_from(level).unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level)?;
                encoder.window_log(WINDOW)?;
                Coder::Zstd(encoder)
            }
        };
        Ok(Self { coder, flushes })
    }

    /// Takes what came and gives what is to be sent, which may be nothing yet.
    fn encode(&mut self, content: &[u8], last: bool) -> io::Result<Vec<u8>> {
        self.coder.write(content)?;
        if last {
            return std::mem::replace(&mut self.coder, Coder::Done).finish();
        }
        if self.flushes && !content.is_empty() {
            self.coder.flush()?;
        }
        Ok(self.coder.take())
    }
}

impl Coder {
    fn write(&mut self, content: &[u8]) -> io::Result<()> {
        match self {
            _ if content.is_empty() => Ok(()),
            Self::Gzip(coder) => coder.write_all(content),
            Self::Brotli(coder) => coder.write_all(content),
            Self::Zstd(coder) => coder.write_all(content),
            Self::Done => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(coder) => coder.flush(),
            Self::Brotli(coder) => coder.flush(),
            Self::Zstd(coder) => coder.flush(),
            Self::Done => Ok(()),
        }
    }

    fn take(&mut self) -> Vec<u8> {
        match self {
            Self::Gzip(coder) => std::mem::take(coder.get_mut()),
            Self::Brotli(coder) => std::mem::take(coder.get_mut()),
            Self::Zstd(coder) => std::mem::take(coder.get_mut()),
            Self::Done => Vec::new(),
        }
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(coder) => coder.finish(),
            Self::Brotli(coder) => Ok(coder.into_inner()),
            Self::Zstd(coder) => coder.finish(),
            Self::Done => Ok(Vec::new()),
        }
    }
}

impl Inspect for Encoder {
    fn chunk(&mut self, chunk: &mut Option<Bytes>, last: bool) -> Result<(), Reply> {
        let content = chunk.take().unwrap_or_default();
        let encoded = self.encode(&content, last).map_err(|_| Reason::Internal)?;
        *chunk = Some(encoded.into());
        Ok(())
    }
}
