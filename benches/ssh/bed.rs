//! The test bed: the suite's world with one granted target, and the same kind of server reached directly.
//!
//! Both ways use the same algorithms, so that a ratio compares gates and not ciphers. Also the eyes of the benchmarks:
//! the bastion's processor time and memory, from outside. No figure is made here; the parts beside this file do that.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::client::{Client, run};
use crate::sshd::{self, Sshd};
use crate::world::World;

/// The world, and the way around the gate.
pub(crate) struct Bed {
    pub(crate) world: World,
    pub(crate) target: String,
    /// The grant under which everything goes through the gate.
    pub(crate) grant: String,
    direct: Sshd,
    dir: PathBuf,
}

impl Bed {
    /// Starts everything.
    pub(crate) fn make() -> Self {
        let world = World::with(|table| {
            let limits = table.entry("limits").or_insert_with(|| toml::Value::Table(toml::Table::new()));
            let limits = limits.as_table_mut().unwrap();
            limits.insert("idle".into(), "0s".into());
            limits.insert("before_login".into(), 20_000.into());
            limits.insert("before_login_per_source".into(), 20_000.into());
        });
        let dir = world.dir.join("direct");
        fs::create_dir_all(&dir).unwrap();
        for key in ["ca", "key"] {
            sshd::keygen(&dir.join(key), "ed25519");
        }
        let signed = run(Command::new("ssh-keygen")
            .args(["-q", "-I", "direct", "-n", &sshd::login(), "-s"])
            .arg(dir.join("ca"))
            .arg(dir.join("key.pub")));
        assert_eq!(signed.code, 0, "{signed:?}");
        let direct = Sshd::start(&dir.join("sshd"), &fs::read_to_string(dir.join("ca.pub")).unwrap(), "");
        let target = world.target();
        let grant = world.grant("alice", &target, "shell,exec,sftp");
        Self { world, target, grant, direct, dir }
    }

    /// `ssh` through the gate, with the key exchange and cipher both sides are compared with.
    pub(crate) fn gate(&self, args: &[&str]) -> Command {
        let mut all = SAME.to_vec();
        all.extend(args);
        self.client().ssh(&self.target, &all)
    }

    /// `ssh` straight to the server.
    pub(crate) fn direct(&self, args: &[&str]) -> Command {
        let mut command = Command::new("ssh");
        self.client().environment(&mut command);
        command.args([
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "LogLevel=ERROR",
        ]);
        command.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-i"]);
        command.arg(self.dir.join("key")).args(["-p", &self.direct.port.to_string()]).args(SAME);
        command.arg(format!("{}@127.0.0.1", sshd::login())).args(args);
        command
    }

    /// Processor seconds the bastion has used.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.world.serve_id())).unwrap();
        // Fields 14 and 15, counted after the name, which may hold spaces.
        let after_name: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: f64 = after_name[11..13].iter().map(|field| field.parse::<f64>().unwrap()).sum();
        ticks / 100.0
    }

    /// Bytes of memory the bastion holds, now and at most so far.
    pub(crate) fn memory(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.world.serve_id())).unwrap();
        let kib = |name: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        (kib("VmRSS:") * 1024, kib("VmHWM:") * 1024)
    }

    /// A file of noise at the target, made once per size.
    pub(crate) fn noise(&self, bytes: u64) -> PathBuf {
        let path = self.dir.join(format!("noise-{bytes}"));
        if !path.exists() {
            let block = crate::postern::noise(bytes, 16 << 20);
            let mut file = fs::File::create(&path).unwrap();
            let mut left = bytes;
            while left > 0 {
                let part = left.min(block.len() as u64);
                std::io::Write::write_all(&mut file, &block[..part as usize]).unwrap();
                left -= part;
            }
        }
        path
    }

    fn client(&self) -> Client {
        self.world.client("alice")
    }
}

/// Both ways are measured with the same algorithms between client and first server.
const SAME: [&str; 4] = ["-o", "KexAlgorithms=curve25519-sha256", "-o", "Ciphers=aes256-gcm@openssh.com"];

/// The machine, in a line.
pub(crate) fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name").and_then(|rest| rest.split(':').nth(1)))
        .unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("{}, {cores} cores, Linux {}, load {}", model.trim(), kernel.trim(), load.trim())
}

/// The value below which `part` of the samples are.
pub(crate) fn quantile(samples: &mut [f64], part: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let at = ((samples.len() as f64 - 1.0) * part).round();
    samples[at as usize]
}
