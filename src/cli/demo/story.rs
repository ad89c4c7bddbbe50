//! `postern demo --check`: the whole story, walked by itself with the real OpenSSH client and this program's own
//! commands, one measured step at a time.
//!
//! A step passes only when it did what it should *and* nothing else: before the approval the same `ssh` that works
//! afterwards must be refused, and the requester's own approval must be. The first step that fails ends the walk.

use std::process::Stdio;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::io::AsyncReadExt;

use super::DemoError;
use super::world::{Said, TARGET, World, output};
use crate::model::{Clock, Timestamp};

/// What the story types into the target, to find it again in the recording.
const WORDS: &str = "the-gate-was-open";
/// How long anything in the story may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the walk went.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// Whether every step did what it should.
    pub(super) ok: bool,
    steps: Vec<Step>,
    revoke_to_cut_ms: Option<f64>,
    recording: Option<Recording>,
}

#[derive(Debug, Serialize)]
struct Step {
    name: &'static str,
    ok: bool,
    ms: f64,
    detail: String,
}

#[derive(Debug, Clone, Serialize)]
struct Recording {
    path: String,
    bytes: u64,
    events: u64,
    verified: bool,
}

impl Report {
    /// One JSON object.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// A line for each step.
    pub(super) fn to_text(&self) -> String {
        let line = |step: &Step| {
            format!(
                "{} {:>8.1} ms  {:<28} {}\n",
                if step.ok { "ok  " } else { "FAIL" },
                step.ms,
                step.name,
                step.detail
            )
        };
        let steps: String = self.steps.iter().map(line).collect();
        let cut = self.revoke_to_cut_ms.map_or_else(String::new, |ms| format!("revoke to cut: {ms:.2} ms\n"));
        format!("{steps}{cut}{}", if self.ok { "Everything did what it should." } else { "A step failed." })
    }
}

/// Walks the story as far as it goes.
pub(super) async fn walk(world: &World) -> Report {
    let mut walk = Walk { world, clock: Clock::system(), report: Report::default(), request: String::new() };
    // What went wrong is in the report's last step.
    walk.report.ok = walk.on().await.is_ok();
    walk.report
}

struct Walk<'a> {
    world: &'a World,
    clock: Clock,
    report: Report,
    request: String,
}

/// The step failed and is in the report.
struct Failed;

impl Walk<'_> {
    async fn on(&mut self) -> Result<(), Failed> {
        let world = self.world;
        self.step("refused without a grant", refused(world)).await?;
        self.request = self.step("request", request(world)).await?;
        let request = self.request.clone();
        self.step("own approval refused", own_approval(world, &request)).await?;
        self.step("approve", approve(world, &request)).await?;
        self.step("exec", exec(world)).await?;
        self.step("terminal", terminal(world)).await?;
        self.step("upload and download", transfer(world)).await?;
        self.step("through a jump", jump(world)).await?;
        self.step("target's log names session", target_log(world)).await?;
        let (cut, session) = self.step("revoke while it streams", revoke(world)).await?;
        self.report.revoke_to_cut_ms = Some(cut);
        self.step("refused after revocation", refused(world)).await?;
        let recording = self.step("verify", verify(world, &session)).await?;
        self.report.recording = Some(recording);
        self.step("reviewer reads it", read(world)).await?;
        self.step("others cannot", unreadable(world, &session)).await?;
        self.step("ledger", ledger(world)).await?;
        Ok(())
    }

    async fn step<T: Detail>(
        &mut self,
        name: &'static str,
        doing: impl Future<Output = Result<T, DemoError>>,
    ) -> Result<T, Failed> {
        let from = self.clock.since_boot();
        let outcome = tokio::time::timeout(PATIENCE, Box::pin(doing)).await;
        let ms = self.clock.since_boot().saturating_sub(from).as_secs_f64() * 1000.0;
        let (ok, detail, value) = match outcome {
            Ok(Ok(value)) => (true, value.detail(), Some(value)),
            Ok(Err(error)) => (false, error.to_string(), None),
            Err(_) => (false, format!("it hung for {} s", PATIENCE.as_secs()), None),
        };
        self.report.steps.push(Step { name, ok, ms, detail });
        value.ok_or(Failed)
    }
}

/// What a step says about itself.
trait Detail {
    fn detail(&self) -> String;
}

impl Detail for String {
    fn detail(&self) -> String {
        self.clone()
    }
}

impl Detail for (f64, String) {
    fn detail(&self) -> String {
        format!("{:.2} ms, session {}", self.0, self.1)
    }
}

impl Detail for Recording {
    fn detail(&self) -> String {
        format!("{} bytes, {} events", self.bytes, self.events)
    }
}

async fn refused(world: &World) -> Result<String, DemoError> {
    let said = output(world.ssh("alice", &["-o", "BatchMode=yes"], &["true"])).await?;
    expect(!said.is_ok, "ssh got in", &said)?;
    Ok("ssh is refused".to_owned())
}

async fn request(world: &World) -> Result<String, DemoError> {
    let address = world.address();
    let arguments =
        ["request", &address, "--for", "1h", "--reason", "demo", "--can", "shell,exec,sftp", "--json"];
    let said = world.postern("alice", &arguments).await?.or_fail("request")?.json()?;
    text(&said, "/request/request")
}

async fn own_approval(world: &World, request: &str) -> Result<String, DemoError> {
    let said = world.postern("alice", &["approve", request, "--yes"]).await?;
    expect(!said.is_ok, "alice approved her own request", &said)?;
    Ok("alice may not".to_owned())
}

async fn approve(world: &World, request: &str) -> Result<String, DemoError> {
    world.postern("bob", &["approve", request, "--yes"]).await?.or_fail("approve")?;
    let grants = world.postern("alice", &["grants", "--json"]).await?.or_fail("grants")?.json()?;
    text(&grants, "/items/0/grant/grant")
}

async fn exec(world: &World) -> Result<String, DemoError> {
    let said = output(world.ssh("alice", &[], &["echo", WORDS, "&&", "exit", "7"])).await?;
    expect(said.text().trim() == WORDS, "the output is not what the command printed", &said)?;
    expect(said.code == Some(7), "the exit status was lost", &said)?;
    Ok(format!("printed {WORDS}, exit status 7"))
}

async fn terminal(world: &World) -> Result<String, DemoError> {
    let mut command = world.ssh("alice", &["-tt"], &["tty"]);
    command.env("TERM", "xterm");
    let said = output(command).await?;
    expect(said.text().contains("/dev/"), "there was no terminal", &said)?;
    Ok(said.text().trim().to_owned())
}

async fn transfer(world: &World) -> Result<String, DemoError> {
    let (up, there, down) = (world.root().join("up"), world.root().join("there"), world.root().join("down"));
    let content: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&up, &content)?;
    let remote = format!("{}@127.0.0.1:{}", world.address(), there.display());
    output(world.scp("alice", &up.display().to_string(), &remote)).await?.or_fail("scp up")?;
    output(world.scp("alice", &remote, &down.display().to_string())).await?.or_fail("scp down")?;
    if std::fs::read(&down)? != content {
        return Err(DemoError::new("what came back is not what was sent"));
    }
    Ok(format!("{} bytes there and back", content.len()))
}

async fn jump(world: &World) -> Result<String, DemoError> {
    let said = output(world.ssh_through_jump("alice", &["echo", WORDS])).await?;
    expect(said.is_ok && said.text().trim() == WORDS, "the jump did not work", &said)?;
    Ok(format!("as {TARGET}, under the host CA"))
}

async fn target_log(world: &World) -> Result<String, DemoError> {
    let lines = world.target_log("postern ses_");
    lines
        .last()
        .map(|line| line.chars().take(120).collect())
        .ok_or_else(|| DemoError::new("the target's own log does not name the session"))
}

/// Revokes the grant while a command prints without end, and says how long the cut took: from the commit of the
/// revocation, as the ledger has it, to the moment both sockets were dead, as the receipt has it.
async fn revoke(world: &World) -> Result<(f64, String), DemoError> {
    let mut command = world.ssh("alice", &[], &["while :; do echo $$; done"]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdout = child.stdout.take().ok_or_else(|| DemoError::new("no output"))?;
    let mut some = vec![0_u8; 64 << 10];
    stdout.read_exact(&mut some).await?;
    let live =
        world.postern("alice", &["sessions", "--live", "--json"]).await?.or_fail("sessions")?.json()?;
    let session = text(&live, "/items/0/session/session")?;
    let grant = text(&live, "/items/0/session/grant")?;
    let said = world
        .postern("dave", &["revoke", &grant, "--reason", "demo", "--json"])
        .await?
        .or_fail("revoke")?
        .json()?;
    let revoked: Timestamp = text(&said, "/revoked_at")?.parse().map_err(|_| DemoError::new("no time"))?;
    let cut: Timestamp =
        text(&said, "/ended/0/cut")?.parse().map_err(|_| DemoError::new("no session ended"))?;
    // Whatever was under way is read; then the stream must be over.
    while matches!(stdout.read(&mut some).await, Ok(1..)) {}
    child.wait().await?;
    let milliseconds = cut.duration_since(revoked).as_secs_f64() * 1000.0;
    Ok((milliseconds, session))
}

async fn verify(world: &World, session: &str) -> Result<Recording, DemoError> {
    let identity = world.identity();
    let without = world.postern("carol", &["verify", session, "--json"]).await?.or_fail("verify")?.json()?;
    let with = world
        .postern("carol", &["verify", session, "--identity", &identity, "--json"])
        .await?
        .or_fail("verify")?
        .json()?;
    let verified = |said: &Value| said.pointer("/items/0/state").and_then(Value::as_str) == Some("verified");
    let number = |path| with.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let recording = Recording {
        path: world.recording(session).display().to_string(),
        bytes: number("/items/0/bytes"),
        events: number("/items/0/events"),
        verified: verified(&without) && verified(&with),
    };
    if recording.verified && recording.events > 0 {
        Ok(recording)
    } else {
        Err(DemoError::new(format!("not verified: {with}")))
    }
}

async fn read(world: &World) -> Result<String, DemoError> {
    let identity = world.identity();
    let found =
        world.postern("carol", &["search", WORDS, "--identity", &identity]).await?.or_fail("search")?;
    expect(found.text().contains(WORDS), "the search found nothing", &found)?;
    let all = world.postern("carol", &["sessions", "--json"]).await?.or_fail("sessions")?.json()?;
    let sessions = all.pointer("/items").and_then(Value::as_array).cloned().unwrap_or_default();
    for session in sessions.iter().filter_map(|session| session.pointer("/session/session")?.as_str()) {
        let cast = world.root().join("out.cast");
        let arguments = [
            "export",
            session,
            "--format",
            "asciicast",
            "--identity",
            &identity,
            "--output",
            &cast.display().to_string(),
        ];
        let said = world.postern("carol", &arguments).await?;
        if said.is_ok && std::fs::read_to_string(&cast)?.contains(WORDS) {
            return Ok(format!("{WORDS} is in {session}"));
        }
        std::fs::remove_file(&cast).ok();
    }
    Err(DemoError::new("no export holds what was typed"))
}

async fn unreadable(world: &World, session: &str) -> Result<String, DemoError> {
    let bytes = std::fs::read(world.recording(session))?;
    if bytes.windows(WORDS.len()).any(|window| window == WORDS.as_bytes()) {
        return Err(DemoError::new("the recording holds plain text"));
    }
    let said = world.postern("alice", &["play", session, "--identity", &world.identity()]).await?;
    expect(!said.is_ok, "alice got the recording", &said)?;
    Ok("no plain text on the bastion; alice may not fetch it".to_owned())
}

async fn ledger(world: &World) -> Result<String, DemoError> {
    let said = world.postern("dave", &["ledger", "verify"]).await?.or_fail("ledger verify")?;
    Ok(said.text().lines().last().unwrap_or_default().to_owned())
}

fn expect(is_so: bool, otherwise: &str, said: &Said) -> Result<(), DemoError> {
    if is_so { Ok(()) } else { Err(DemoError::new(format!("{otherwise}: {}{}", said.text(), said.stderr))) }
}

fn text(value: &Value, pointer: &str) -> Result<String, DemoError> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.map(str::to_owned).ok_or_else(|| DemoError::new(format!("no {pointer} in {value}")))
}
