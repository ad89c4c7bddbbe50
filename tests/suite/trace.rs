//! What a process asked of the file system, read from what `strace` wrote down: every write with its bytes, every sync,
//! every name, with the times at which each began and ended.
//!
//! Only successful calls are kept, and only of the kinds in [`CALLS`]. What would be left of them after a power loss is
//! `power`'s business.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The calls that change what is on a disk, or make it durable.
const CALLS: &str = "open,openat,pwrite64,pwritev,pwritev2,write,writev,fsync,fdatasync,syncfs,rename,renameat,renameat2,\
                     unlink,unlinkat,ftruncate,fallocate";

/// One call that worked. Times are in microseconds of the wall clock.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) what: What,
}

/// What it did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Opened so that there is such a file now, whether or not there was.
    Make(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    /// The length a file has now.
    Length(PathBuf, u64),
    /// The length a file has at least.
    Reserve(PathBuf, u64),
    Sync(PathBuf),
    SyncAll,
    /// A write without a place of its own: none is expected below the bastion's directory.
    Stream(PathBuf),
    Write(PathBuf, u64, Vec<u8>),
}

impl What {
    /// The names it changes.
    pub(crate) fn names(&self) -> Option<[&Path; 2]> {
        match self {
            Self::Make(path) | Self::Remove(path) => Some([path, path]),
            Self::Rename(from, to) => Some([from, to]),
            Self::Length(..)
            | Self::Reserve(..)
            | Self::Stream(_)
            | Self::Sync(_)
            | Self::SyncAll
            | Self::Write(..) => None,
        }
    }

    /// The file whose content or length it changes.
    pub(crate) fn written(&self) -> Option<&Path> {
        match self {
            Self::Length(path, _) | Self::Reserve(path, _) | Self::Write(path, ..) => Some(path),
            Self::Make(_)
            | Self::Remove(_)
            | Self::Rename(..)
            | Self::Stream(_)
            | Self::Sync(_)
            | Self::SyncAll => None,
        }
    }
}

/// `strace` on a process, for [`read`].
pub(crate) fn command(process: u32, log: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args([
        "-f",
        "-v",
        "-y",
        "-xx",
        "-ttt",
        "-T",
        "-s",
        "4000000",
        "-e",
        &format!("trace={CALLS}"),
        "-o",
    ]);
    command.arg(log).args(["-p", &process.to_string()]);
    command
}

/// The calls in a log, in the order in which they began.
pub(crate) fn read(log: &str) -> Vec<Call> {
    let mut unfinished: BTreeMap<&str, (u64, String)> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in log.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((time, text)) = rest.trim_start().split_once(' ') else { continue };
        let Some(time) = micros(time) else { continue };
        if let Some(begun) = text.strip_suffix(" <unfinished ...>") {
            unfinished.insert(thread, (time, begun.to_owned()));
        } else if let Some((_, end)) =
            text.strip_prefix("<... ").and_then(|text| text.split_once(" resumed>"))
        {
            if let Some((began, begun)) = unfinished.remove(thread) {
                calls.extend(call(began, Some(time), &(begun + end)));
            }
        } else {
            calls.extend(call(time, None, text));
        }
    }
    calls.sort_by_key(|call| call.began);
    calls
}

fn call(began: u64, ended: Option<u64>, text: &str) -> Option<Call> {
    let (text, took) = text.rsplit_once(" <")?;
    let ended = ended.or_else(|| Some(began + micros(took.strip_suffix('>')?)?))?;
    let (asked, answer) = text.rsplit_once(" = ")?;
    let (name, arguments) = asked.trim_end().strip_suffix(')')?.split_once('(')?;
    let count: u64 = answer.split(['<', ' ']).next()?.parse().ok()?;
    let what = match name {
        "open" | "openat" if arguments.contains("O_CREAT") => What::Make(quoted(arguments)?),
        "pwrite64" | "pwritev" | "pwritev2" => {
            let mut data: Vec<u8> = arguments.split('"').skip(1).step_by(2).flat_map(unescaped).collect();
            data.truncate(usize::try_from(count).ok()?);
            let numbers = arguments.rsplit_once(if name == "pwrite64" { '"' } else { ']' })?.1;
            let offset = numbers.trim_start_matches(", ").split(", ").nth(1)?.parse().ok()?;
            What::Write(opened(arguments)?, offset, data)
        }
        "write" | "writev" => What::Stream(opened(arguments)?),
        "fsync" | "fdatasync" => What::Sync(opened(arguments)?),
        "syncfs" => What::SyncAll,
        "ftruncate" => What::Length(opened(arguments)?, arguments.rsplit(", ").next()?.parse().ok()?),
        "fallocate" => {
            let mut numbers = arguments.rsplit(", ").map(|number| number.parse::<u64>().unwrap_or(0));
            What::Reserve(opened(arguments)?, numbers.next()? + numbers.next()?)
        }
        "rename" | "renameat" | "renameat2" => {
            let (from, to) = arguments.split_once("\", ")?;
            What::Rename(quoted(&format!("{from}\""))?, quoted(to)?)
        }
        "unlink" | "unlinkat" => What::Remove(quoted(arguments)?),
        _ => return None,
    };
    Some(Call { began, ended, what })
}

/// The first text in quotes, as a path.
fn quoted(arguments: &str) -> Option<PathBuf> {
    arguments.split('"').nth(1).map(path)
}

/// The path that stands behind a descriptor.
fn opened(arguments: &str) -> Option<PathBuf> {
    let (_, rest) = arguments.split_once('<')?;
    rest.split_once('>').map(|(text, _)| path(text))
}

fn path(text: &str) -> PathBuf {
    PathBuf::from(String::from_utf8(unescaped(text)).unwrap())
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if let [b'\\', b'x', high, low, later @ ..] = rest {
            let digit = |c: &u8| char::from(*c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            bytes.push(digit(high).unwrap() << 4 | digit(low).unwrap());
            rest = later;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    bytes
}

fn micros(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.')?;
    Some(seconds.parse::<u64>().ok()? * 1_000_000 + fraction.parse::<u64>().ok()?)
}

#[test]
fn a_log_is_read() {
    let log = "7 1.000001 pwrite64(3</a/b>, \"\\x61\\x62\", 2, 4096 <unfinished ...>\n\
               8   1.000002 fdatasync(4<\\x2f\\x63>) = 0 <0.000003>\n\
               7 1.000009 <... pwrite64 resumed>) = 2 <0.000008>\n\
               7 1.000010 pwritev(3</a/b>, [{iov_base=\"\\x61\", iov_len=1}, {iov_base=\"\\x62\", iov_len=1}], 2, 8) = 2 <0.000001>\n\
               7 1.000011 rename(\"\\x2f\\x61\", \"\\x2f\\x62\") = 0 <0.000001>\n\
               7 1.000012 openat(AT_FDCWD</x>, \"\\x2f\\x61\", O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 3</a> <0.000001>\n\
               7 1.000013 openat(AT_FDCWD</x>, \"\\x2f\\x61\", O_RDWR|O_CREAT, 0600) = -1 EIO (Input) (INJECTED) <0.000001>\n";
    let calls = read(log);
    let write = What::Write("/a/b".into(), 4096, b"ab".to_vec());
    assert_eq!((calls[0].began, calls[0].ended, &calls[0].what), (1_000_001, 1_000_009, &write));
    assert_eq!((calls[1].ended, &calls[1].what), (1_000_005, &What::Sync("/c".into())));
    assert_eq!(calls[2].what, What::Write("/a/b".into(), 8, b"ab".to_vec()));
    assert_eq!(calls[3].what, What::Rename("/a".into(), "/b".into()));
    assert_eq!(calls[4].what, What::Make("/a".into()));
    assert_eq!(calls.len(), 5);
}
