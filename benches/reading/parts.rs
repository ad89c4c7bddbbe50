//! The parts: each makes its recordings, measures beside its peer, and prints a table.
//!
//! A peer gets the same bytes and runs in turns with ours. What both find is compared, so that neither is fast by doing
//! less. Making data and running programs is `made.rs`'s.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postern::model::{Clock, EndReason};
use postern::recording::event::{Body, Stream};
use rustix::time::ClockId;
use tokio::runtime::Runtime;

use crate::desk::{NoDisk, cpu, random};
use crate::made::{Desk, Outcome, READ, in_turns, postern, run, text};

/// Recordings that a search goes through.
const RECORDINGS: usize = 4;

macro_rules! say {
    ($($word:tt)*) => { writeln!(io::stdout().lock(), $($word)*)? };
}

/// Search through several recordings beside `zstd -dc | grep -c` on the same bytes.
pub(crate) fn search(runtime: &Runtime, place: &Path, size: usize) -> Outcome<()> {
    say!(
        "search, {RECORDINGS} recordings of {} MiB, beside zstd -dc | grep -c of the same bytes",
        size >> 20
    );
    say!("{:<10} {:>8} {:>12} {:>12} {:>8}", "data", "found", "ours MB/s", "grep MB/s", "ratio");
    for (name, coloured) in [("log", false), ("coloured", true)] {
        let place = place.join(format!("search-{name}"));
        fs::create_dir_all(&place)?;
        let desk = Desk::new(&place, None, Clock::system())?;
        let identity = desk.identity_file(&place)?;
        let (mut files, mut plain) = (Vec::new(), Vec::new());
        for n in 0..RECORDINGS {
            let data = text(size, n as u64 * 77, coloured);
            files.push(runtime.block_on(desk.record(&data))?);
            plain.push(compressed(&place.join(format!("{n}.txt")), &data, "-1")?);
        }
        let needle = "release-a1b2c";
        let ours = || run(postern().args(["search", needle]).args(&files).arg("--identity").arg(&identity));
        let list = plain.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ");
        let script = format!("zstd -dc {list} | grep -c {needle}");
        let peer = || run(Command::new("sh").args(["-c", &script]));
        let (found, expected) = (ours()?.lines().count().to_string(), peer()?.trim().to_owned());
        if found != expected {
            return Err(format!("found {found} places, and grep {expected}").into());
        }
        let (ours, peer) = in_turns(|| ours().map(drop), || peer().map(drop))?;
        let (ours, peer) = (speed(size * RECORDINGS, ours), speed(size * RECORDINGS, peer));
        say!("{name:<10} {found:>8} {ours:>12.0} {peer:>12.0} {:>8.2}", ours / peer);
    }
    Ok(())
}

/// Verification without and with an identity beside reading and hashing the same file.
pub(crate) fn verify(runtime: &Runtime, place: &Path, size: usize) -> Outcome<()> {
    say!(
        "verify, one recording of {} MiB, in memory's cache, beside b3sum's own work on the file",
        size >> 20
    );
    say!("{:<22} {:>12} {:>12} {:>8}", "data", "ours MB/s", "hash MB/s", "ratio");
    let place = place.join("verify");
    fs::create_dir_all(&place)?;
    let desk = Desk::new(&place, None, Clock::system())?;
    let dense = runtime.block_on(desk.record(&random(size)?))?;
    let log = runtime.block_on(desk.record(&text(size, 7, false)))?;
    let runs = [
        ("incompressible", &dense, None),
        ("incompressible, key", &dense, Some(desk.identity())),
        ("log, key", &log, Some(desk.identity())),
    ];
    for (name, path, identity) in runs {
        let ours = || Ok(postern::recording::verify(path, &[desk.key], identity).map(drop)?);
        let (ours, peer) = in_turns(ours, || hash(path))?;
        let file = usize::try_from(path.metadata()?.len())?;
        let (ours, peer) = (speed(file, ours), speed(file, peer));
        say!("{name:<22} {ours:>12.0} {peer:>12.0} {:>8.2}", ours / peer);
    }
    Ok(())
}

fn hash(path: &Path) -> Outcome<()> {
    let (mut file, mut piece, mut hasher) = (File::open(path)?, vec![0; 1 << 20], blake3::Hasher::new());
    loop {
        match file.read(&mut piece)? {
            0 => break,
            count => hasher.update(piece.get(..count).unwrap_or_default()),
        };
    }
    std::hint::black_box(hasher.finalize());
    Ok(())
}

/// Compressing, encrypting and chaining: the recording thread's own processor time.
pub(crate) fn seal(runtime: &Runtime, place: &Path, size: usize) -> Outcome<()> {
    say!(
        "seal, {} MiB of 32 KiB reads, disk left out, the recording thread's own processor time",
        size >> 20
    );
    for (name, data) in [("incompressible", random(64 << 20)?), ("log", text(64 << 20, 5, false))] {
        let desk = Desk::new(&place.join(format!("seal-{name}")), Some(Arc::new(NoDisk)), Clock::system())?;
        let own = runtime.block_on(seal_one(&desk, &data, size))?;
        say!("{name:<22} {:>12.0} MB/s", speed(size, own));
    }
    Ok(())
}

async fn seal_one(desk: &Desk, data: &Bytes, size: usize) -> Outcome<Duration> {
    let (recorder, _) = desk.recorder()?;
    let mut own = Duration::ZERO;
    for begin in (0..size).step_by(8 * READ) {
        let slice = |n: usize| {
            let at = (begin + n * READ) % (data.len() - READ);
            data.slice(at..at + READ)
        };
        let events = (0..8).map(|n| (1, Body::Output { stream: Stream::Stdout, data: slice(n) })).collect();
        let before = cpu(ClockId::ThreadCPUTime);
        let at = recorder.record(events)?;
        own += cpu(ClockId::ThreadCPUTime).saturating_sub(before);
        recorder.written(at).await?;
        recorder.make_way().await;
    }
    Ok(own)
}

/// The file's size beside that of the plain tools' output.
pub(crate) fn size(runtime: &Runtime, place: &Path, size: usize) -> Outcome<()> {
    let place = place.join("size");
    fs::create_dir_all(&place)?;
    let desk = Desk::new(&place, None, Clock::system())?;
    let data = text(size, 3, false);
    let path = runtime.block_on(desk.record(&data))?;
    let peer = compressed(&place.join("bulk"), &data, "-3")?;
    let ratio = |path: &Path, peer: u64| Ok::<_, io::Error>(path.metadata()?.len() as f64 / peer as f64);
    say!("size, bulk: {:.3} of zstd -3", ratio(&path, peer.metadata()?.len())?);
    for (name, lines) in [("an hour of shell work", 400), ("one command", 1)] {
        let (path, cast) = runtime.block_on(shell(&desk, lines))?;
        say!("size, {name}: {:.3} of its .cast ({cast} bytes)", ratio(&path, cast)?);
    }
    Ok(())
}

/// Somebody types commands, each echoed key by key, and reads what they print.
async fn shell(desk: &Desk, commands: usize) -> Outcome<(PathBuf, u64)> {
    let (recorder, session) = desk.recorder()?;
    let output = |data: Bytes| vec![(1, Body::Output { stream: Stream::Stdout, data })];
    for n in 0..commands {
        for key in format!("ls -l /srv/releases/{n}\r").bytes() {
            let key = Bytes::from(vec![key]);
            recorder.record(vec![(1, Body::Input { data: key.clone() })])?;
            recorder.record(output(key))?;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let at = recorder.record(output(text(1500, n as u64, true)))?;
        recorder.written(at).await?;
        recorder.make_way().await;
    }
    recorder.finish(EndReason::ClientLeft).await?;
    let path = desk.file(&session).await?;
    let (identity, cast) = (desk.identity_file(path.parent().unwrap_or(&path))?, path.with_extension("cast"));
    let mut export = postern();
    export.arg("export").arg(&path).args(["--format", "asciicast", "--input", "--output"]).arg(&cast);
    run(export.arg("--identity").arg(identity))?;
    let size = cast.metadata()?.len();
    Ok((path, size))
}

/// Writes and compresses with the plain tool.
fn compressed(path: &Path, data: &[u8], level: &str) -> Outcome<PathBuf> {
    fs::write(path, data)?;
    run(Command::new("zstd").args(["-q", "-f", "--rm", level]).arg(path))?;
    Ok(path.with_extension(path.extension().map_or("zst".into(), |own| format!("{}.zst", own.display()))))
}

fn speed(bytes: usize, took: Duration) -> f64 {
    bytes as f64 / 1e6 / took.as_secs_f64().max(1e-9)
}
