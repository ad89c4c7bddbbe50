//! A real store that speaks S3, and a wire to it that can be cut, refused or stopped half-way.
//!
//! The store is SeaweedFS, from PyPI; its file system is seen from outside through its own plain HTTP. The wire is a few
//! lines of TCP here. What must hold is in `keeping`.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use serde_json::Value;

use crate::clients::program;
use crate::keeper::{self, Process};
use crate::sshd::free_port;
use crate::wait;

/// The credentials it takes.
pub(crate) const ACCESS: &str = "recorder";
pub(crate) const SECRET: &str = "Zpq7tYw2mK4sVxLr";

/// How often a stopped wire is looked at.
const STEP: std::time::Duration = std::time::Duration::from_millis(50);

/// The store.
pub(crate) struct Store {
    filer: u16,
    /// How its shell reaches it.
    shell: [String; 2],
    pub(crate) wire: Wire,
    /// Where it leaves sockets, whatever it is told.
    sockets: Vec<String>,
    _process: Process,
}

/// How a wire is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Everything goes through.
    Whole,
    /// Whoever connects is closed.
    Cut,
    /// Every request gets a 403.
    Refusing,
    /// Every request to delete something does.
    Keeping,
    /// Every request to delete something gets a 503.
    Busy,
    /// After so many bytes towards the store nothing goes through any more.
    Stopping(u64),
}

/// The wire to the store.
pub(crate) struct Wire {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    cut: AtomicBool,
    refusing: AtomicBool,
    keeping: AtomicBool,
    busy: AtomicBool,
    /// Bytes that may still go towards the store.
    budget: AtomicU64,
}

impl Store {
    /// Starts one, with an empty bucket called `recordings`.
    pub(crate) fn start() -> Self {
        let dir = keeper::directory();
        let config = serde_json::json!({ "identities": [{
            "name": "recorder",
            "credentials": [{ "accessKey": ACCESS, "secretKey": SECRET }],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }] });
        std::fs::write(dir.join("s3.json"), config.to_string()).unwrap();
        std::fs::create_dir(dir.join("data")).unwrap();
        let (master, filer, s3) = (free_port(), free_port(), free_port());
        let mut command = Command::new(program("weed"));
        command.args(["-logtostderr=true", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]);
        command.args([
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.volumeSizeLimitMB=64",
            "-volume.max=100",
            "-master.telemetry=false",
        ]);
        let mut sockets = Vec::new();
        let (master_grpc, filer_grpc) = (free_port(), free_port());
        let shell = [
            format!("-master=127.0.0.1:{master}.{master_grpc}"),
            format!("-filer=127.0.0.1:{filer}.{filer_grpc}"),
        ];
        for (name, port) in [
            ("master.port", master),
            ("master.port.grpc", master_grpc),
            ("volume.port", free_port()),
            ("volume.port.grpc", free_port()),
            ("filer.port", filer),
            ("filer.port.grpc", filer_grpc),
            ("s3.port", s3),
            ("s3.port.grpc", free_port()),
        ] {
            if let Some((kind, "port.grpc")) = name.split_once('.') {
                sockets.push(format!("/tmp/seaweedfs-{kind}-grpc-{port}.sock"));
            }
            command.arg(format!("-{name}={port}"));
        }
        for kind in ["filer", "s3"] {
            command.arg(format!("-{kind}.localSocket={}", dir.join(kind).display()));
        }
        command.arg(format!("-dir={}", dir.join("data").display()));
        command.arg(format!("-s3.config={}", dir.join("s3.json").display()));
        command.env("HOME", &dir).current_dir(&dir);
        let mut process = Process::start(command, &dir.join("weed.log"));
        wait::until(wait::LONG, "the store answers", || {
            assert!(process.exited().is_none(), "the store ended: {}", process.log());
            let answers = |port, path, status| get(port, path).is_some_and(|answer| answer.contains(status));
            (answers(s3, "/", " 403 ") && answers(master, "/dir/assign", "fid")).then_some(())
        });
        let made = request(filer, "POST", "/buckets/recordings/", b"").unwrap();
        assert!(made.contains(" 201 "), "{made}");
        Self { filer, shell, wire: Wire::to(s3), sockets, _process: process }
    }

    /// From now on the bucket keeps versions, and locks on them.
    pub(crate) fn locks(&self) {
        let mut shell = Command::new("sh");
        shell.args(["-c", "printf 's3.bucket.lock -name recordings -enable\\nexit\\n' | \"$@\"", "sh"]);
        shell.arg(program("weed")).arg("shell").args(&self.shell).current_dir(keeper::directory());
        let done = crate::client::run(&mut shell);
        assert!(done.out.to_lowercase().contains("enabled"), "the bucket locks: {} {}", done.out, done.err);
    }

    /// The versions of an object that the store keeps, hidden or not.
    pub(crate) fn versions(&self, name: &str) -> usize {
        self.list(&format!("/buckets/recordings/{name}.versions/")).len()
    }

    /// The objects in the bucket, with their lengths.
    pub(crate) fn objects(&self) -> Vec<(String, u64)> {
        let entries = self.list("/buckets/recordings/");
        let object = |entry: &Value| {
            let (_, name) = entry["FullPath"].as_str()?.rsplit_once('/')?;
            Some((name.to_owned(), entry["FileSize"].as_u64().unwrap_or_default()))
        };
        entries.iter().filter_map(object).filter(|(name, _)| !name.starts_with('.')).collect()
    }

    /// The parts of uploads that are not complete, by their paths.
    pub(crate) fn parts(&self) -> Vec<String> {
        let path = |entry: Value| entry["FullPath"].as_str().map(str::to_owned);
        let uploads = self.list("/buckets/recordings/.uploads/").into_iter().filter_map(path);
        uploads.flat_map(|upload| self.list(&format!("{upload}/")).into_iter().filter_map(path)).collect()
    }

    /// Loses something.
    pub(crate) fn lose(&self, path: &str) {
        request(self.filer, "DELETE", path, b"").unwrap();
    }

    /// Puts an object there behind everybody's back.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        let done = request(self.filer, "PUT", &format!("/buckets/recordings/{name}"), bytes).unwrap();
        assert!(done.contains(" 201 "), "{done}");
    }

    fn list(&self, path: &str) -> Vec<Value> {
        let answer = request(self.filer, "GET", &format!("{path}?limit=1000"), b"").unwrap_or_default();
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let value: Value = serde_json::from_str(body).unwrap_or_default();
        value["Entries"].as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        for socket in &self.sockets {
            std::fs::remove_file(socket).ok();
        }
    }
}

impl Wire {
    fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shared = Arc::new(Shared { budget: AtomicU64::new(u64::MAX), ..Shared::default() });
        let wire = Self { port: listener.local_addr().unwrap().port(), shared: Arc::clone(&shared) };
        thread::spawn(move || {
            for client in listener.incoming().filter_map(Result::ok) {
                let shared = Arc::clone(&shared);
                thread::spawn(move || carry(client, port, &shared));
            }
        });
        wire
    }

    /// From now on.
    pub(crate) fn is(&self, state: State) {
        self.shared.cut.store(state == State::Cut, Ordering::SeqCst);
        self.shared.refusing.store(state == State::Refusing, Ordering::SeqCst);
        self.shared.keeping.store(state == State::Keeping, Ordering::SeqCst);
        self.shared.busy.store(state == State::Busy, Ordering::SeqCst);
        let budget = if let State::Stopping(bytes) = state { bytes } else { u64::MAX };
        self.shared.budget.store(budget, Ordering::SeqCst);
    }
}

impl Shared {
    /// What a request is told that does not reach the store.
    fn answer(&self, request: &[u8]) -> Option<String> {
        let is = |state: &AtomicBool| state.load(Ordering::SeqCst);
        let is_deletion = request.starts_with(b"DELETE ");
        let (status, body) = if is(&self.refusing) || (is_deletion && is(&self.keeping)) {
            ("403 Forbidden", "<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>")
        } else if is_deletion && is(&self.busy) {
            ("503 Slow Down", "<Error><Code>SlowDown</Code></Error>")
        } else {
            return None;
        };
        let length = body.len();
        Some(format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"))
    }
}

/// Carries one connection, for as long as the wire is whole.
fn carry(mut client: TcpStream, port: u16, shared: &Arc<Shared>) {
    if shared.cut.load(Ordering::SeqCst) {
        return;
    }
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)) else { return };
    let (mut back, mut from) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || {
        std::io::copy(&mut from, &mut back).ok();
        back.shutdown(Shutdown::Both).ok();
    });
    let mut piece = vec![0; 64 << 10];
    while let Ok(read @ 1..) = client.read(&mut piece) {
        if shared.cut.load(Ordering::SeqCst) {
            break;
        }
        if let Some(answer) = shared.answer(&piece[..read]) {
            client.write_all(answer.as_bytes()).ok();
            break;
        }
        let less =
            |budget: u64| Some(if budget == u64::MAX { budget } else { budget.saturating_sub(read as u64) });
        let before = shared.budget.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).unwrap();
        if before == 0 {
            // Nothing goes on, and nobody is told.
            while !shared.cut.load(Ordering::SeqCst) && shared.budget.load(Ordering::SeqCst) == 0 {
                thread::sleep(STEP);
            }
            break;
        }
        if server.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    client.shutdown(Shutdown::Both).ok();
    server.shutdown(Shutdown::Both).ok();
}

fn get(port: u16, path: &str) -> Option<String> {
    request(port, "GET", path, b"").ok()
}

fn request(port: u16, method: &str, path: &str, body: &[u8]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(wait::LONG))?;
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nAccept: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
