//! Whether to compress a chunk, and doing it. A wrong guess costs a little space or time, never correctness.
//!
//! Each thread that records keeps one zstd context: recordings do not, so that ten thousand idle ones stay small.

use std::cell::RefCell;

use zstd::bulk::{Compressor, Decompressor};

/// Below this many bytes compression gains nothing worth its time.
const SMALLEST: usize = 512;
/// Fast enough for a stream at full speed.
const LEVEL: i32 = 1;
/// How a zstd frame begins.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The bit of a frame's descriptor that says it has no window of its own.
const SINGLE_SEGMENT: u8 = 0x20;
/// The largest window a frame may ask for: what RFC 8878 wants every decoder to support.
const MAX_WINDOW: u64 = 8 << 20;
/// How much of a chunk is looked at before deciding.
const SAMPLE: usize = 4096;
/// Pieces the sample is made of, spread over the chunk.
const PIECES: usize = 8;
/// Bits a byte above which data counts as incompressible. A sample of random bytes this long shows about 7.95.
const DENSE: f64 = 7.4;

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The content as one zstd frame, when that is smaller.
pub(super) fn compress(content: &[u8]) -> Option<Vec<u8>> {
    if content.len() < SMALLEST || looks_dense(content) {
        return None;
    }
    let packed = COMPRESSOR.with(|slot| {
        let mut slot = slot.borrow_mut();
        if slot.is_none() {
            *slot = Compressor::new(LEVEL).ok();
        }
        slot.as_mut().and_then(|compressor| compressor.compress(content).ok())
    })?;
    (packed.len() + 4 < content.len()).then_some(packed)
}

/// The content of one zstd frame that must give exactly `length` bytes.
pub(super) fn decompress(packed: &[u8], length: usize) -> Option<Vec<u8>> {
    if window(packed)? > MAX_WINDOW {
        return None;
    }
    if zstd::zstd_safe::find_frame_compressed_size(packed).ok()? != packed.len() {
        return None;
    }
    let content = DECOMPRESSOR.with(|slot| {
        let mut slot = slot.borrow_mut();
        if slot.is_none() {
            *slot = Decompressor::new().ok();
        }
        slot.as_mut().and_then(|decompressor| decompressor.decompress(packed, length).ok())
    })?;
    (content.len() == length).then_some(content)
}

/// The window that the header of a zstd frame asks for (RFC 8878, 3.1.1.1); `None` for anything else, such as the frames
/// of older formats and those to be skipped, which the library would take too.
fn window(packed: &[u8]) -> Option<u64> {
    let [descriptor, window, ..] = *packed.strip_prefix(&MAGIC)? else { return None };
    if descriptor & SINGLE_SEGMENT != 0 {
        // The window is the content, whose length the caller bounds.
        return Some(0);
    }
    let base = 1_u64 << (10 + (window >> 3));
    Some(base + base / 8 * u64::from(window & 7))
}

/// Whether a sample of the bytes has about as much entropy as bytes can have.
fn looks_dense(content: &[u8]) -> bool {
    let mut counts = [0_u16; 256];
    let stride = (content.len() / PIECES).max(SAMPLE / PIECES);
    let mut seen = 0_u16;
    for piece in content.chunks(stride).take(PIECES) {
        for byte in piece.iter().take(SAMPLE / PIECES) {
            if let Some(count) = counts.get_mut(usize::from(*byte)) {
                *count += 1;
            }
            seen += 1;
        }
    }
    if seen < 2048 {
        return false;
    }
    let total = f64::from(seen);
    let bits: f64 =
        counts.iter().filter(|n| **n > 0).map(|n| f64::from(*n)).map(|n| n * (total / n).log2()).sum();
    bits / total > DENSE
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_compressed_comes_back(seed in proptest::collection::vec(any::<u8>(), 1..64), times in 1..2_000_usize) {
            let content = seed.repeat(times);
            if let Some(packed) = compress(&content) {
                prop_assert!(packed.len() < content.len());
                prop_assert_eq!(decompress(&packed, content.len()), Some(content.clone()));
                prop_assert_eq!(decompress(&packed, content.len() - 1), None);
                prop_assert_eq!(decompress(&packed, content.len() + 1), None);
                let mut twice = packed.clone();
                twice.extend(&packed);
                prop_assert_eq!(decompress(&twice, content.len()), None);
            }
        }

        #[test]
        fn any_bytes_are_answered_within_the_length(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(decompress(&bytes, 1000).is_none_or(|content| content.len() == 1000));
        }
    }

    #[test]
    fn only_frames_of_the_rfc_and_of_a_bounded_window_are_read() {
        // A descriptor without single segment, a window, and one raw last block of one byte.
        let frame = |magic: [u8; 4], window: u8| [&magic, &[0, window, 0x09, 0, 0, b'x'][..]].concat();
        assert_eq!(decompress(&frame(MAGIC, 0), 1), Some(vec![b'x']));
        assert_eq!(decompress(&frame(MAGIC, 13 << 3), 1), Some(vec![b'x']));
        assert_eq!(decompress(&frame(MAGIC, (13 << 3) | 1), 1), None);
        for older in 0x22..=0x27 {
            assert_eq!(decompress(&frame([older, 0xb5, 0x2f, 0xfd], 0), 1), None);
        }
        assert_eq!(decompress(&[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0], 0), None);
    }

    #[test]
    fn text_is_compressed_and_random_bytes_are_not() {
        let text = include_str!("compress.rs").repeat(10);
        assert!(compress(text.as_bytes()).unwrap().len() * 2 < text.len());
        let mut random = vec![0; 64 * 1024];
        aws_lc_rs::rand::fill(&mut random).unwrap();
        assert!(looks_dense(&random));
        assert_eq!(compress(&random), None);
    }
}
