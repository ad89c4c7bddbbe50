//! SSH bytes by hand, before any key exchange: for peers that no client library would let us be.
//!
//! Only what `adversarial` needs: greetings, unencrypted packets, the name-lists of a KEXINIT. After the key exchange,
//! `tests/clients/hostile_client.py` takes over.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::wait;
use crate::world::World;

/// A socket to the gate that has said nothing yet.
pub(crate) fn connect(world: &World) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", world.ssh_port)).unwrap();
    stream.set_read_timeout(Some(wait::LONG)).unwrap();
    stream.set_write_timeout(Some(wait::LONG)).unwrap();
    stream
}

/// Exchanges identification lines; gives the gate's.
pub(crate) fn greet(stream: &mut TcpStream) -> String {
    stream.write_all(b"SSH-2.0-suite\r\n").unwrap();
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
        assert!(line.len() <= 255, "an identification line has at most 255 bytes");
    }
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

/// Reads one unencrypted packet; gives its payload.
pub(crate) fn packet(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    assert!(length <= 35_000, "the gate sends a packet of {length} bytes");
    let mut rest = vec![0; length - 1];
    stream.read_exact(&mut rest)?;
    rest.truncate(length - 1 - usize::from(head[4]));
    Ok(rest)
}

/// The name-lists of a KEXINIT payload: kex, host keys, ciphers, MACs and compressions each way, languages.
pub(crate) fn name_lists(payload: &[u8]) -> Vec<Vec<String>> {
    assert_eq!(payload.first(), Some(&20), "a KEXINIT comes first");
    let mut rest = &payload[17..];
    let mut lists = Vec::new();
    for _ in 0..10 {
        let (length, after) = rest.split_at(4);
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        let (names, after) = after.split_at(length);
        lists.push(String::from_utf8(names.to_vec()).unwrap().split(',').map(str::to_owned).collect());
        rest = after;
    }
    lists
}

/// An unencrypted packet around `payload`, well-formed.
pub(crate) fn framed(payload: &[u8]) -> Vec<u8> {
    let padding = 8 - (payload.len() + 5) % 8 + 8;
    let mut bytes = u32::try_from(payload.len() + padding + 1).unwrap().to_be_bytes().to_vec();
    bytes.push(u8::try_from(padding).unwrap());
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len() + padding, 0);
    bytes
}

/// A KEXINIT that agrees with the gate's in everything, with `change` applied to its name-lists.
pub(crate) fn kexinit(lists: &mut [Vec<String>], change: impl FnOnce(&mut [Vec<String>])) -> Vec<u8> {
    change(lists);
    let mut payload = vec![20];
    payload.extend([7; 16]);
    for list in lists {
        let names = list.join(",");
        payload.extend(u32::try_from(names.len()).unwrap().to_be_bytes());
        payload.extend(names.as_bytes());
    }
    payload.extend([0; 5]);
    payload
}

/// Whether the gate closes the connection, within the long bound, without having said more than a little.
pub(crate) fn closes(stream: &mut TcpStream) -> bool {
    let mut said = Vec::new();
    match stream.take(100_000).read_to_end(&mut said) {
        Ok(count) => count < 100_000,
        Err(why) => !matches!(why.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
    }
}
