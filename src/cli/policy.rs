//! `postern policy`: check a directory of rules, run its table, ask the bastion why it would say what it says.
//!
//! `check` and `test` need no bastion: they load the same files the same way. `explain` asks the one in service, about
//! real people and targets.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Value, json};

use super::args::Invocation;
use super::client::shaped;
use super::exit::{CliError, Outcome};
use super::targets::address;
use super::{out, words};
use crate::model::{Capability, Login, PolicyChanges, Proof, TargetName, WindowClock};
use crate::policy::{Decision, Engine, Outcome as Row, PolicyError};

/// What to do with the rules.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check that a directory of policies would be taken: it loads, fits the schema, and passes its own table.
    Check(DirectoryArgs),
    /// Run the table of expected decisions and show every row.
    Test(DirectoryArgs),
    /// Ask the bastion whether somebody may do something now, and by which rules.
    Explain(ExplainArgs),
    /// Show the policies in force on the bastion.
    Show,
    /// Load the bastion's policies again; every live session is asked about again.
    Reload,
}

/// Which rules.
#[derive(Debug, clap::Args)]
pub(crate) struct DirectoryArgs {
    /// The directory of policies. [default: those compiled in]
    #[arg(value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

/// A question.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// As whom, where: also shows which approval rule a request for it falls under.
    #[arg(value_name = "LOGIN@TARGET", value_parser = address, conflicts_with_all = ["login", "target"])]
    address: Option<(Login, TargetName)>,
    /// Who: a name or id. [default: you]
    #[arg(long, value_name = "NAME", required_unless_present = "address")]
    person: Option<String>,
    /// What: such as session:open, request:approve, recording:read, ssh:exec. [default: request:make]
    #[arg(long, value_name = "ACTION", required_unless_present = "address")]
    action: Option<String>,
    /// As which login on the target.
    #[arg(long, value_name = "NAME")]
    login: Option<String>,
    /// On which target.
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// With which capability: shell, exec, sftp or forward=HOST:PORT.
    #[arg(long, value_name = "CAPABILITY")]
    capability: Option<Capability>,
}

/// What the bastion answers.
#[derive(Debug, Deserialize)]
struct Explained {
    allowed: Option<bool>,
    policies: Vec<String>,
    reason: Option<String>,
    #[serde(default)]
    proof: Option<Proof>,
    #[serde(default)]
    otherwise: Vec<Proof>,
    #[serde(default)]
    rule: Option<Rule>,
}

/// What a request would need.
#[derive(Debug, Deserialize)]
struct Rule {
    rule: String,
    approvals: u32,
    approver_roles: Vec<String>,
    longest_s: u64,
    default_s: u64,
    clock: WindowClock,
    use_within_s: u64,
    lapses_s: u64,
}

/// What is in force.
#[derive(Debug, Deserialize)]
struct InForce {
    hash: String,
    #[serde(default)]
    files: Vec<PolicyFile>,
}

/// What came into force.
#[derive(Debug, Deserialize)]
struct Loaded {
    hash: String,
    rules: PolicyChanges,
}

/// One file of it.
#[derive(Debug, Deserialize)]
struct PolicyFile {
    name: String,
    text: String,
}

/// Runs one of them.
pub(crate) async fn run(command: PolicyCommand, run: &Invocation) -> Outcome {
    match command {
        PolicyCommand::Check(args) => check(&args, run),
        PolicyCommand::Test(args) => test(&args, run),
        PolicyCommand::Explain(args) => explain(&args, run).await,
        PolicyCommand::Show => show(run).await,
        PolicyCommand::Reload => reload(run).await,
    }
}

fn check(args: &DirectoryArgs, run: &Invocation) -> Outcome {
    let engine = load(args)?;
    let rows = tested(args)?.map_or(0, |rows| rows.len());
    if run.json {
        out::json(&json!({ "ok": true, "hash": engine.hash(), "decisions": rows }));
    } else {
        out::line(&format!("good: {} would be taken; {rows} expected decisions hold", named(args)));
        out::line(&format!("hash {}", engine.hash()));
    }
    Ok(ExitCode::SUCCESS)
}

fn test(args: &DirectoryArgs, run: &Invocation) -> Outcome {
    let rows = tested(args)?.ok_or_else(|| {
        CliError::failed(format!("{} has no decisions.toml: there is nothing to test", named(args)))
            .hint("write down who should be able to do what, and who not; the defaults' own table shows how")
    })?;
    let wrong = rows.iter().filter(|row| row.wrong.is_some()).count();
    if run.json {
        out::json(&json!({ "items": rows.iter().map(as_json).collect::<Vec<_>>(), "ok": wrong == 0 }));
    } else {
        let mut table =
            out::Table::new(&["row", "question", "expected", "answer", "by"], "the table is empty")
                .cut_first(&["by", "question"]);
        for row in &rows {
            let (answer, by) = answer(&row.decision);
            table.row([row.row.to_string().as_str(), &row.question, yes_or_no(row.expected), answer, &by]);
        }
        table.print();
    }
    if wrong == 0 {
        out::note(&format!("{} decisions, all as expected", rows.len()));
        return Ok(ExitCode::SUCCESS);
    }
    let differ = rows.iter().filter_map(|row| {
        let why = row.wrong.as_ref()?;
        Some(format!("  row {}: {}: expected {}, {why}", row.row, row.question, yes_or_no(row.expected)))
    });
    let differ: Vec<String> = differ.collect();
    Err(CliError::failed(format!("{wrong} of {} decisions are not as expected:\n{}", rows.len(), differ.join("\n")))
        .hint("a set like this never comes into force: mend the rules, or the rows that should have changed with them"))
}

async fn explain(args: &ExplainArgs, run: &Invocation) -> Outcome {
    let (login, target) = match &args.address {
        Some((login, target)) => (Some(login.to_string()), Some(target.to_string())),
        None => (args.login.clone(), args.target.clone()),
    };
    let question = json!({
        "person": args.person,
        "action": args.action,
        "login": login,
        "target": target,
        "capability": args.capability.as_ref().map(ToString::to_string),
    });
    let answer = run.connect().await?.post("/policies/explain", &question).await?;
    if run.json {
        out::json(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let explained: Explained = shaped(answer)?;
    let mut rows = Vec::new();
    if let Some(allowed) = explained.allowed {
        let verdict = yes_or_no(allowed);
        let by =
            if explained.policies.is_empty() { "no rule".to_owned() } else { explained.policies.join(", ") };
        rows.extend([("answer", verdict.to_owned()), ("decided by", by)]);
    }
    rows.extend(explained.reason.map(|reason| ("because", reason)));
    rows.extend(explained.proof.map(|proof| {
        let other = if explained.allowed == Some(true) { "no" } else { "yes" };
        let ways = explained.otherwise.iter().map(|way| format!("; {other} with {}", way.as_str()));
        ("proven with", format!("{}{}", proof.as_str(), ways.collect::<String>()))
    }));
    rows.extend(explained.rule.iter().flat_map(Rule::rows));
    out::fields(&rows);
    Ok(ExitCode::SUCCESS)
}

impl Rule {
    fn rows(&self) -> [(&'static str, String); 4] {
        let roles = self.approver_roles.join(" or ");
        let needs = match self.approvals {
            1 => format!("one approval of: {roles}"),
            several => format!("{several} approvals of: {roles}"),
        };
        let clock = match self.clock {
            WindowClock::Approval => "from the last approval".to_owned(),
            WindowClock::FirstUse => {
                format!(
                    "from the first session, which must begin within {}",
                    words::duration(self.use_within_s)
                )
            }
        };
        let (longest, default) = (words::duration(self.longest_s), words::duration(self.default_s));
        [
            ("approval rule", self.rule.clone()),
            ("needs", needs),
            ("window", format!("at most {longest}, {default} when none is asked for; {clock}")),
            ("lapses", format!("after {} without an answer", words::duration(self.lapses_s))),
        ]
    }
}

async fn show(run: &Invocation) -> Outcome {
    let answer = run.connect().await?.get("/policies").await?;
    if run.json {
        out::json(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let policies: InForce = shaped(answer)?;
    out::line(&format!("in force: {}", out::safe(&policies.hash)));
    for file in policies.files {
        out::line(&format!("\n==> {} <==", out::safe(&file.name)));
        file.text.lines().for_each(|line| out::line(&out::safe(line)));
    }
    Ok(ExitCode::SUCCESS)
}

async fn reload(run: &Invocation) -> Outcome {
    let answer = run.connect().await?.post("/policies/reload", &json!({})).await?;
    if run.json {
        out::json(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let loaded: Loaded = shaped(answer)?;
    out::line(&format!("in force: {}", out::safe(&loaded.hash)));
    let PolicyChanges { added, altered, removed } = loaded.rules;
    for (kind, names) in [("removed", removed), ("altered", altered), ("added", added)] {
        if !names.is_empty() {
            out::line(&format!("{kind}: {}", out::safe(&names.join(", "))));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn load(args: &DirectoryArgs) -> Result<Engine, CliError> {
    Engine::load(args.directory.as_deref()).map_err(|error: PolicyError| {
        CliError::failed(error).hint("a set like this never comes into force; the one before it stays")
    })
}

fn tested(args: &DirectoryArgs) -> Result<Option<Vec<Row>>, CliError> {
    Engine::test(args.directory.as_deref()).map_err(CliError::failed)
}

const fn yes_or_no(allowed: bool) -> &'static str {
    if allowed { "yes" } else { "no" }
}

fn named(args: &DirectoryArgs) -> String {
    args.directory.as_ref().map_or_else(
        || "the compiled-in set".to_owned(),
        |directory| out::safe(&directory.display().to_string()),
    )
}

fn answer(decision: &Decision) -> (&'static str, String) {
    match decision {
        Decision::Allow(allowed) => ("yes", allowed.policies.join(", ")),
        Decision::Deny(denied) if denied.policies.is_empty() => ("no", "no rule".to_owned()),
        Decision::Deny(denied) => ("no", denied.policies.join(", ")),
    }
}

fn as_json(row: &Row) -> Value {
    let (allowed, policies, reason) = match &row.decision {
        Decision::Allow(allowed) => (true, &allowed.policies, None),
        Decision::Deny(denied) => (false, &denied.policies, Some(&denied.reason)),
    };
    json!({
        "row": row.row, "question": row.question, "allowed": allowed, "policies": policies, "reason": reason,
        "expected": row.expected, "wrong": row.wrong,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_pass_and_a_copy_with_a_broken_rule_does_not() {
        let engine = load(&DirectoryArgs { directory: None }).unwrap();
        let rows = tested(&DirectoryArgs { directory: None }).unwrap().unwrap();
        assert!(rows.len() > 20 && rows.iter().all(|row| row.wrong.is_none()));
        assert!(as_json(&rows[0])["question"].is_string());

        let place = tempfile::tempdir().unwrap();
        for (name, text) in Engine::defaults() {
            std::fs::write(place.path().join(name), text).unwrap();
        }
        let args = DirectoryArgs { directory: Some(place.path().to_owned()) };
        assert_eq!(load(&args).unwrap().hash(), engine.hash());
        std::fs::write(place.path().join("mine.cedar"), "permit(principal, action, resource)").unwrap();
        assert!(load(&args).unwrap_err().to_string().contains("mine.cedar"));
    }
}
