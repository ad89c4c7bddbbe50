//! The files inside a recorded scp or sftp stream, by a reading of our own: what was sent, and where in the file.
//!
//! Written from the protocols' descriptions, for one file per stream, with nothing of the product's. Streams may be cut
//! off anywhere.

use std::collections::BTreeMap;

const READ: u8 = 5;
const WRITE: u8 = 6;
const DATA: u8 = 103;

/// The content behind an scp stream's first record (`C0644 SIZE NAME`); the answers of the other side come before it.
pub(crate) fn of_scp(stream: &[u8]) -> &[u8] {
    let from = stream.iter().position(|byte| *byte != 0).unwrap_or(stream.len());
    let line = stream[from..].iter().position(|byte| *byte == b'\n');
    line.map_or(&[], |line| &stream[from + line + 1..])
}

/// Pieces of a file, by where they belong.
#[derive(Debug, Default)]
pub(crate) struct Image(BTreeMap<u64, Vec<u8>>);

impl Image {
    /// What a client wrote.
    pub(crate) fn uploaded(from_client: &[u8]) -> Self {
        let mut image = Self::default();
        for (kind, body) in packets(from_client) {
            if kind == WRITE {
                let (_, rest) = string(&body[4..]);
                let (data, _) = string(&rest[8..]);
                image.0.insert(u64::from_be_bytes(rest[..8].try_into().unwrap()), data.to_vec());
            }
        }
        image
    }

    /// What a client was given for what it asked to read.
    pub(crate) fn downloaded(from_client: &[u8], from_target: &[u8]) -> Self {
        let mut image = Self::default();
        let mut asked = BTreeMap::new();
        for (kind, body) in packets(from_client) {
            if kind == READ {
                let (_, rest) = string(&body[4..]);
                asked.insert(number(body), u64::from_be_bytes(rest[..8].try_into().unwrap()));
            }
        }
        for (kind, body) in packets(from_target) {
            if kind == DATA {
                let offset = asked[&number(body)];
                image.0.insert(offset, string(&body[4..]).0.to_vec());
            }
        }
        image
    }

    /// Whether every byte of a file is from here; where nothing is, the file may have a hole.
    pub(crate) fn covers(&self, file: &[u8]) -> bool {
        let mut left = file.to_vec();
        for (offset, data) in &self.0 {
            let from = usize::try_from(*offset).unwrap().min(file.len());
            let until = (from + data.len()).min(file.len());
            if file[from..until] != data[..until - from] {
                // A hole of a file whose pieces came out of order, or a difference: what is left tells.
                continue;
            }
            left[from..until].fill(0);
        }
        left.iter().all(|byte| *byte == 0)
    }
}

/// The whole packets of one direction: kind, and what follows it.
fn packets(mut stream: &[u8]) -> Vec<(u8, &[u8])> {
    let mut packets = Vec::new();
    while stream.len() > 4 {
        let length = usize::try_from(number(stream)).unwrap();
        let Some(packet) = stream.get(4..4 + length) else { break };
        packets.push((packet[0], &packet[1..]));
        stream = &stream[4 + length..];
    }
    packets
}

fn string(bytes: &[u8]) -> (&[u8], &[u8]) {
    let length = usize::try_from(number(bytes)).unwrap();
    bytes[4..].split_at(length)
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

#[test]
fn a_file_is_found_in_its_stream() {
    assert_eq!(of_scp(b"\0C0644 5 name\nhello\0"), b"hello\0");
    let write =
        [&[0, 0, 0, 1][..], &[0, 0, 0, 1], b"h", &[0, 0, 0, 0, 0, 0, 0, 2], &[0, 0, 0, 3], b"abc"].concat();
    let packet = [&u32::try_from(write.len() + 1).unwrap().to_be_bytes()[..], &[WRITE], &write].concat();
    let image = Image::uploaded(&[&packet[..], &packet[..9]].concat());
    assert!(image.covers(b"\0\0abc") && image.covers(b"\0\0a") && image.covers(b""));
    assert!(!image.covers(b"\0\0abd") && !image.covers(b"x\0abc"));
}
