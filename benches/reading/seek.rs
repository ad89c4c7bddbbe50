//! Going anywhere in a day's recording: how long the first opening takes, and then two hundred jumps.
//!
//! The recording has ten hours in a file of the size asked for. "Warm" jumps find it in the page cache; before each
//! "cold" one the cache gives the file up. What is measured is the player's own work up to the screen; drawing is left out.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use postern::model::{Clock, EndReason, Timestamp};
use postern::playback::{Player, Track};
use postern::recording::event::{Body, Stream};
use postern::recording::{Again, Frames, Reader};
use rustix::fs::{Advice, fadvise};
use tokio::runtime::Runtime;

use crate::desk::random;
use crate::made::{Desk, Outcome, READ, letters, timed};

const LENGTH: Duration = Duration::from_secs(36_000);
const JUMPS: usize = 200;

/// Measures.
pub(crate) fn seek(runtime: &Runtime, place: &Path, size: usize) -> Outcome<()> {
    let place = place.join("seek");
    fs::create_dir_all(&place)?;
    let clock = Clock::manual(Timestamp::UNIX_EPOCH);
    let desk = Desk::new(&place, None, clock.clone())?;
    let path = runtime.block_on(make(&desk, &clock, size))?;
    let reader = Reader::new(Frames::open(&path)?, desk.identity())?.on_all_cores();
    let file = File::open(&path)?;
    let again = reader.again(file.try_clone()?);
    let (opening, track) = timed(|| load(reader, again))?;
    let mut out = io::stdout().lock();
    let (mib, hours) = (path.metadata()?.len() >> 20, track.length.as_secs_f64() / 3600.0);
    writeln!(out, "seek, {hours:.1} hours in {mib} MiB: first opening {:.1} s", opening.as_secs_f64())?;
    writeln!(out, "{:<8} {:>10} {:>10} {:>10}", "cache", "p50 ms", "p99 ms", "max ms")?;
    let mut player = Player::new(track);
    for (name, is_cold) in [("warm", false), ("cold", true)] {
        let mut jumps = Vec::new();
        for bytes in random(JUMPS * 2)?.chunks_exact(2) {
            let part = bytes.iter().fold(0, |part, byte| part << 8 | u32::from(*byte));
            if is_cold {
                fadvise(&file, 0, None, Advice::DontNeed)?;
            }
            let (jump, ()) = timed(|| {
                player.seek(LENGTH * part / 65_536, Duration::ZERO);
                player.trouble().map_or(Ok(()), |trouble| Err(trouble.to_string().into()))
            })?;
            jumps.push(jump);
        }
        jumps.sort_unstable();
        let at = |place: usize| jumps.get(place).map_or(0.0, |jump| jump.as_secs_f64() * 1000.0);
        let (p50, p99, max) = (at(JUMPS / 2), at(JUMPS * 99 / 100), at(JUMPS - 1));
        writeln!(out, "{name:<8} {p50:>10.2} {p99:>10.2} {max:>10.2}")?;
    }
    Ok(())
}

fn load(mut reader: Reader<io::BufReader<File>>, again: Again) -> Outcome<Track> {
    let placed = std::iter::from_fn(|| {
        let event = reader.next()?;
        Some(event.map(|event| (reader.place(), event)))
    });
    Ok(Track::load(placed, Box::new(again), None, None)?)
}

/// Ten hours of output on a terminal, in a file of about `size` bytes.
async fn make(desk: &Desk, clock: &Clock, size: usize) -> Outcome<PathBuf> {
    let (recorder, session) = desk.recorder()?;
    let data = letters(64 << 20)?;
    // Three quarters of what is shown are left when it is compressed.
    let reads = u32::try_from(size / 3 * 4 / READ)?;
    let terminal = Body::Terminal { columns: 120, rows: 40, term: "xterm".to_owned(), modes: Vec::new() };
    recorder.record(vec![(1, terminal), (1, Body::Shell)])?;
    for read in 0..reads {
        clock.advance(LENGTH / reads);
        let at = read as usize * READ % (data.len() - READ);
        let output = Body::Output { stream: Stream::Stdout, data: data.slice(at..at + READ) };
        let at = recorder.record(vec![(1, output)])?;
        recorder.written(at).await?;
        recorder.make_way().await;
    }
    recorder.finish(EndReason::ClientLeft).await?;
    desk.file(&session).await
}
