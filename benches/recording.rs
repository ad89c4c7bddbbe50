//! What recording costs: sealing bulk data, and how long a keystroke waits for the journal beside a raw sync.
//!
//! `cargo bench --bench recording -- [DIRECTORY]` prints a table. The directory should be on the disk that recordings
//! will be on. The raw-sync probe runs in the same seconds as the journal, on the same file system, so compare ratios.

#[path = "reading/desk.rs"]
mod desk;

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use desk::{Desk, NoDisk, Outcome, cpu, random, text};
use postern::model::{Clock, EndReason};
use postern::recording::event::{Body, Stream};
use postern::recording::{Recorder, RecorderError};
use rustix::time::ClockId;

const EVENT: usize = 32 << 10;
const EVENTS_A_CHUNK: usize = 8;
const TOTAL: usize = 1 << 30;
const SESSIONS: u64 = 1000;
const KEYS_A_SECOND: u64 = 5;
const SECONDS: u64 = 10;
/// Chunks recorded before the bulk session waits for them to be written.
const PILE: usize = 16;

fn main() -> Outcome<()> {
    let place = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let directory = match place {
        Some(place) => tempfile::tempdir_in(place)?,
        None => tempfile::tempdir()?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}\n", runtime.block_on(idle(&directory.path().join("idle")))?)?;
    writeln!(out, "sealing 1 GiB of 32 KiB events, 256 KiB a chunk, disk left out")?;
    writeln!(out, "{:<12} {:>14} {:>14}", "data", "recorder CPU s", "all CPU s")?;
    for (name, data) in [
        ("random", random(64 << 20)?),
        ("text", text(64 << 20, 1, false)),
        ("zeroes", Bytes::from(vec![0; 64 << 20])),
    ] {
        let (own, all) = runtime.block_on(seal(&directory.path().join(name), &data))?;
        writeln!(out, "{name:<12} {:>14.3} {:>14.3}", own.as_secs_f64(), all.as_secs_f64())?;
    }
    writeln!(
        out,
        "\n{SESSIONS} sessions, {KEYS_A_SECOND} keys a second each, durable acknowledgement, {SECONDS} s"
    )?;
    writeln!(
        out,
        "{:<12} {:>10} {:>10} {:>10} {:>12} {:>12} {:>10}",
        "beside", "p50 ms", "p99 ms", "max ms", "sync p50 ms", "sync p99 ms", "bulk MB/s"
    )?;
    for (name, bulk) in [("nothing", false), ("one upload", true)] {
        let directory = directory.path().join(if bulk { "upload" } else { "alone" });
        let mut run = runtime.block_on(type_keys(&directory, bulk))?;
        let (p50, p99, max) = percentiles(&mut run.keys);
        let (sync50, sync99, _) = percentiles(&mut run.syncs);
        writeln!(
            out,
            "{name:<12} {p50:>10.2} {p99:>10.2} {max:>10.2} {sync50:>12.2} {sync99:>12.2} {:>10.0}",
            run.bulk
        )?;
    }
    Ok(())
}

/// CPU time of the recording thread and of the whole process for a gibibyte.
async fn seal(directory: &Path, data: &Bytes) -> Outcome<(Duration, Duration)> {
    let desk = Desk::new(directory, Some(Arc::new(NoDisk)), Clock::system())?;
    let (recorder, _) = desk.recorder()?;
    let all = cpu(ClockId::ProcessCPUTime);
    let mut own = Duration::ZERO;
    for chunk in 0..TOTAL / (EVENT * EVENTS_A_CHUNK) {
        let begin = chunk * EVENT * EVENTS_A_CHUNK % data.len();
        let event = |n: usize| data.slice(begin + n * EVENT..begin + (n + 1) * EVENT);
        let events = (0..EVENTS_A_CHUNK)
            .map(|n| (1, Body::Output { stream: Stream::Stdout, data: event(n) }))
            .collect();
        let before = cpu(ClockId::ThreadCPUTime);
        let at = recorder.record(events)?;
        own += cpu(ClockId::ThreadCPUTime).saturating_sub(before);
        if chunk % PILE == 0 {
            recorder.written(at).await?;
            recorder.make_way().await;
        }
    }
    Ok((own, cpu(ClockId::ProcessCPUTime).saturating_sub(all)))
}

struct Run {
    keys: Vec<Duration>,
    syncs: Vec<Duration>,
    bulk: f64,
}

async fn type_keys(directory: &Path, with_bulk: bool) -> Outcome<Run> {
    let clock = Clock::system();
    let desk = Desk::new(directory, None, Clock::system())?;
    let is_over = Arc::new(AtomicBool::new(false));
    let probe = {
        let (path, is_over) = (directory.join("probe"), Arc::clone(&is_over));
        std::thread::spawn(move || probe(&path, &is_over))
    };
    let mut typists = tokio::task::JoinSet::new();
    for n in 0..SESSIONS {
        let ((recorder, _), clock) = (desk.recorder()?, clock.clone());
        typists.spawn(async move {
            let interval = Duration::from_micros(1_000_000 / KEYS_A_SECOND);
            tokio::time::sleep(Duration::from_micros(n * 1_000_000 / KEYS_A_SECOND / SESSIONS)).await;
            let mut ticks = tokio::time::interval(interval);
            let mut waits = Vec::new();
            for _ in 0..SECONDS * KEYS_A_SECOND {
                ticks.tick().await;
                let begin = clock.since_boot();
                let at = recorder.record(vec![(1, Body::Input { data: Bytes::from_static(b"x") })])?;
                recorder.durable(at).await?;
                waits.push(clock.since_boot().saturating_sub(begin));
            }
            Ok::<_, RecorderError>(waits)
        });
    }
    let mut upload = tokio::task::JoinSet::new();
    if with_bulk {
        let ((recorder, _), is_over, data) = (desk.recorder()?, Arc::clone(&is_over), random(1 << 20)?);
        upload.spawn(async move { push(&recorder, &data, &is_over).await });
    }
    let mut keys = Vec::new();
    while let Some(waits) = typists.join_next().await {
        keys.extend(waits??);
    }
    is_over.store(true, Ordering::Release);
    let bulk = match upload.join_next().await {
        Some(rate) => rate??,
        None => 0.0,
    };
    let syncs = probe.join().map_err(|_| "the probe panicked")??;
    Ok(Run { keys, syncs, bulk })
}

/// Records at full speed until told to stop; answers with megabytes a second.
async fn push(recorder: &Recorder, data: &Bytes, is_over: &AtomicBool) -> Result<f64, RecorderError> {
    let clock = Clock::system();
    let (begin, mut total) = (clock.since_boot(), 0.0);
    while !is_over.load(Ordering::Acquire) {
        let parts = (0..4).map(|part| Body::Input { data: data.slice(part << 18..(part + 1) << 18) });
        let at = recorder.record(parts.map(|input| (1, input)).collect())?;
        total += 1.048_576;
        recorder.durable(at).await?;
        recorder.make_way().await;
    }
    let elapsed = clock.since_boot().saturating_sub(begin).as_secs_f64();
    recorder.finish(EndReason::ClientLeft).await?;
    Ok(total / elapsed)
}

/// A small write and its sync, over and over: what the disk itself takes.
fn probe(path: &Path, is_over: &AtomicBool) -> io::Result<Vec<Duration>> {
    let clock = Clock::system();
    let file = File::create(path)?;
    file.write_all_at(&vec![0; 4 << 20], 0)?;
    file.sync_all()?;
    let mut waits = Vec::new();
    let mut offset = 0;
    while !is_over.load(Ordering::Acquire) {
        std::thread::sleep(Duration::from_millis(10));
        let begin = clock.since_boot();
        file.write_all_at(&[1; 150], offset)?;
        file.sync_data()?;
        waits.push(clock.since_boot().saturating_sub(begin));
        offset = (offset + 150) % (4 << 20);
    }
    Ok(waits)
}

/// Memory of ten thousand open recordings.
async fn idle(directory: &Path) -> Outcome<String> {
    let desk = Desk::new(directory, None, Clock::system())?;
    let mut recorders = Vec::new();
    let (warm, _) = desk.recorder()?;
    warm.durable(warm.opened()).await?;
    let before = resident()?;
    for _ in 0..10_000 {
        let (recorder, _) = desk.recorder()?;
        recorder.written(recorder.opened()).await?;
        recorders.push(recorder);
    }
    // Until every recording has its checkpoint and its file.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let each = resident()?.saturating_sub(before) / 10_000;
    let cpu_before = cpu(ClockId::ProcessCPUTime);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let busy = cpu(ClockId::ProcessCPUTime).saturating_sub(cpu_before).as_secs_f64() / 4.0;
    let clock = Clock::system();
    let begin = clock.since_boot();
    let mut ending = tokio::task::JoinSet::new();
    for recorder in recorders {
        ending.spawn(async move { recorder.finish(EndReason::EverythingRevoked).await });
    }
    while let Some(finished) = ending.join_next().await {
        finished??;
    }
    let took = clock.since_boot().saturating_sub(begin).as_secs_f64();
    Ok(format!(
        "10,000 idle recordings: {each} bytes each, {:.1} % of a core; all finished in {took:.1} s",
        busy * 100.0
    ))
}

fn resident() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

fn percentiles(waits: &mut [Duration]) -> (f64, f64, f64) {
    waits.sort_unstable();
    let at = |hundredths: usize| {
        let wait = waits.get((waits.len() * hundredths / 100).min(waits.len().saturating_sub(1)));
        wait.map_or(0.0, |wait| wait.as_secs_f64() * 1000.0)
    };
    (at(50), at(99), at(100))
}
