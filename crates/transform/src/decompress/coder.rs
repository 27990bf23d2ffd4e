//! What takes one coding off content, a piece at a time.

use std::io::{self, Write};

use brotli::DecompressorWriter;
use flate2::{FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder as Zstd, InBuffer, Operation, OutBuffer};

use super::Packed;

/// How much is unpacked at once.
const STEP: usize = 16 * 1024;

/// How far zstd may look back, as a power of two (RFC 9659): it has to be held in memory.
const WINDOW: u32 = 23;

/// The window of deflate, as a power of two.
const DEFLATE: u8 = 15;

/// Why content was not unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It would be longer than it may be.
    Full,
    /// It is not what it is said to be.
    Broken,
}

/// Takes what was unpacked, as long as there is room.
pub(super) struct Sink {
    pub(super) bytes: Vec<u8>,
    room: usize,
}

impl Sink {
    pub(super) fn new(room: usize) -> Self {
        Self { bytes: Vec::new(), room }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if bytes.len() > self.room {
            return Err(Fault::Full);
        }
        self.room -= bytes.len();
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

pub(super) enum Coder {
    /// gzip, of one member or several.
    Gzip(Deflate),
    /// What goes by the name of deflate: zlib, or the bare thing, which some send (RFC 9110 section 8.4.1.2).
    Zlib(Option<Deflate>),
    Brotli(Box<DecompressorWriter<Slot>>),
    Zstd {
        coder: Box<Zstd<'static>>,
        /// Whether it stands between two frames.
        is_done: bool,
    },
}

/// One stream of deflate, with whatever is around it.
pub(super) struct Deflate {
    coder: flate2::Decompress,
    is_done: bool,
}

/// What the brotli decoder writes to: what is there of a sink for the time of a call.
#[derive(Default)]
pub(super) struct Slot {
    bytes: Vec<u8>,
    room: usize,
    is_full: bool,
}

impl Write for Slot {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.room {
            self.is_full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.room -= bytes.len();
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Coder {
    pub(super) fn new(packed: Packed) -> io::Result<Self> {
        Ok(match packed {
            Packed::Gzip => Self::Gzip(Deflate::gzip()),
            Packed::Deflate => Self::Zlib(None),
            Packed::Brotli => Self::Brotli(Box::new(DecompressorWriter::new(Slot::default(), STEP))),
            Packed::Zstd => {
                let mut coder = Zstd::new()?;
                coder.set_parameter(DParameter::WindowLogMax(WINDOW))?;
                Self::Zstd { coder: Box::new(coder), is_done: true }
            }
        })
    }

    /// Unpacks all that can be of what has come.
    pub(super) fn write(&mut self, packed: &[u8], sink: &mut Sink) -> Result<(), Fault> {
        let Some(first) = packed.first() else { return Ok(()) };
        match self {
            Self::Gzip(deflate) => {
                let mut packed = packed;
                while !packed.is_empty() {
                    if deflate.is_done {
                        *deflate = Deflate::gzip();
                    }
                    packed = deflate.write(packed, sink)?;
                }
                Ok(())
            }
            Self::Zlib(deflate) => {
                // RFC 1950 section 2.2: deflate in the low half of the first byte, and nobody begins bare deflate so.
                let has_header = first & 0x0f == 8;
                let deflate = deflate.get_or_insert_with(|| Deflate::new(flate2::Decompress::new(has_header)));
                let rest = deflate.write(packed, sink)?;
                if rest.is_empty() { Ok(()) } else { Err(Fault::Broken) }
            }
            Self::Brotli(coder) => brotli(coder, sink, |coder| coder.write_all(packed)),
            Self::Zstd { coder, is_done } => unzstd(coder, is_done, packed, sink),
        }
    }

    /// All has come. It has to be whole.
    pub(super) fn finish(&mut self, sink: &mut Sink) -> Result<(), Fault> {
        let is_whole = match self {
            Self::Gzip(deflate) => deflate.is_done,
            Self::Zlib(deflate) => deflate.as_ref().is_some_and(|deflate| deflate.is_done),
            Self::Brotli(coder) => return brotli(coder, sink, DecompressorWriter::close),
            Self::Zstd { is_done, .. } => *is_done,
        };
        if is_whole { Ok(()) } else { Err(Fault::Broken) }
    }
}

impl Deflate {
    fn new(coder: flate2::Decompress) -> Self {
        Self { coder, is_done: false }
    }

    fn gzip() -> Self {
        Self::new(flate2::Decompress::new_gzip(DEFLATE))
    }

    /// Unpacks up to the end of the stream, and gives what stands behind it.
    fn write<'a>(&mut self, mut packed: &'a [u8], sink: &mut Sink) -> Result<&'a [u8], Fault> {
        let mut room = [0; STEP];
        loop {
            if self.is_done {
                return Ok(packed);
            }
            let (taken, made) = (self.coder.total_in(), self.coder.total_out());
            let status = self.coder.decompress(packed, &mut room, FlushDecompress::None);
            let status = status.map_err(|_| Fault::Broken)?;
            let taken = usize::try_from(self.coder.total_in() - taken).unwrap_or(usize::MAX);
            let made = usize::try_from(self.coder.total_out() - made).unwrap_or(usize::MAX);
            packed = packed.get(taken..).ok_or(Fault::Broken)?;
            sink.put(room.get(..made).ok_or(Fault::Broken)?)?;
            self.is_done = status == Status::StreamEnd;
            if !self.is_done && made < room.len() && packed.is_empty() {
                return Ok(packed);
            }
            if !self.is_done && made == 0 && taken == 0 {
                return Err(Fault::Broken);
            }
        }
    }
}

fn brotli(
    coder: &mut DecompressorWriter<Slot>,
    sink: &mut Sink,
    run: impl FnOnce(&mut DecompressorWriter<Slot>) -> io::Result<()>,
) -> Result<(), Fault> {
    let slot = coder.get_mut();
    (slot.bytes, slot.room) = (std::mem::take(&mut sink.bytes), sink.room);
    let ran = run(coder);
    let slot = coder.get_mut();
    (sink.bytes, sink.room) = (std::mem::take(&mut slot.bytes), slot.room);
    match ran {
        _ if slot.is_full => Err(Fault::Full),
        Ok(()) => Ok(()),
        Err(_) => Err(Fault::Broken),
    }
}

fn unzstd(coder: &mut Zstd<'_>, is_done: &mut bool, packed: &[u8], sink: &mut Sink) -> Result<(), Fault> {
    let mut from = InBuffer::around(packed);
    let mut room = [0; STEP];
    loop {
        let all = from.pos() == packed.len();
        let mut to = OutBuffer::around(&mut room[..]);
        if *is_done {
            if all {
                return Ok(());
            }
            coder.reinit().map_err(|_| Fault::Broken)?;
        }
        let left = coder.run(&mut from, &mut to).map_err(|_| Fault::Broken)?;
        let made = to.pos();
        sink.put(room.get(..made).ok_or(Fault::Broken)?)?;
        *is_done = left == 0;
        // What it holds back comes out before anything else goes in.
        if !*is_done && from.pos() == packed.len() && made < STEP {
            return Ok(());
        }
    }
}
