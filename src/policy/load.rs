//! Reads a policy set and refuses a bad one: unknown names, untyped rules, rules without a name or a reason.
//!
//! The schema and the floor always come from the binary. A site's directory supplies the rest; what a set cannot do
//! without is an error when it is missing, never a default. A file whose rules forbid can be deleted like any other, and
//! access is wider then: the table of decisions refuses such a set where it has a row for it, and the ledger names every
//! rule that is gone. Never here: a decision. Next: `engine`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use cedar_policy::{Effect, Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};

use super::approval::{ApprovalError, Rules};
use super::question::Vocabulary;
use super::table::{Table, TableError};

const SCHEMA: &str = include_str!("../../policies/postern.cedarschema");
const FLOOR: &str = include_str!("../../policies/floor.cedar");
const DEFAULT: &str = include_str!("../../policies/default.cedar");
const APPROVALS: &str = include_str!("../../policies/approvals.toml");
const DECISIONS: &str = include_str!("../../policies/decisions.toml");

/// Longest policy file, in bytes: rules are written by people.
const LONGEST_FILE: u64 = 1 << 20;
/// Longest set, in bytes: it stays in memory and is shown whole.
const LONGEST_SET: usize = 8 << 20;
/// Most policy files in a directory.
const MOST_FILES: usize = 200;
/// Most rules in a set: each decision looks at all of them.
const MOST_POLICIES: usize = 2000;

/// A policy set that cannot come into force. What was in force stays in force.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The approval rules are wrong.
    #[error(transparent)]
    Approvals(#[from] ApprovalError),
    /// A copy of a file that belongs to Postern differs from Postern's own.
    #[error(
        "{0} belongs to Postern and differs from the one this version carries: delete your copy, and put rules of your own in other files"
    )]
    Foreign(String),
    /// A rule cannot be told from others, or refuses without saying why.
    #[error("{file}: {what}")]
    Nameless {
        /// The file.
        file: String,
        /// What to add.
        what: String,
    },
    /// A file cannot be read.
    #[error("cannot read {path}: {why}")]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A rule is not Cedar.
    #[error("{file}: {what}")]
    Syntax {
        /// The file.
        file: String,
        /// Where and why.
        what: String,
    },
    /// The table of expected decisions does not hold under these rules.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A rule speaks of things that do not exist, or compares what cannot be compared.
    #[error("the policies do not fit the schema:\n{0}")]
    Validation(String),
}

/// Everything a decision needs, immutable once loaded.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) schema: Schema,
    pub(super) vocabulary: Vocabulary,
    pub(super) policies: PolicySet,
    pub(super) rules: Rules,
    pub(super) table: Option<Table>,
    pub(super) hash: String,
    pub(super) files: BTreeMap<String, String>,
}

impl Set {
    /// What every rule says, by its name; the two files that are no Cedar count as rules of their own.
    pub(super) fn texts(&self) -> BTreeMap<String, String> {
        let rules = self.policies.policies();
        let rules = rules.map(|rule| (rule.id().to_string(), rule.to_cedar().unwrap_or_default()));
        let others = [APPROVALS_FILE, DECISIONS_FILE].into_iter();
        let others = others.filter_map(|name| Some((name.to_owned(), self.files.get(name)?.clone())));
        rules.chain(others).collect()
    }
}

/// Reads, checks and hashes a set; `None` means the defaults in the binary.
pub(super) fn load(directory: Option<&Path>) -> Result<Set, PolicyError> {
    let files = directory.map_or_else(|| Ok(embedded()), read_directory)?;
    let (schema, _) = Schema::from_cedarschema_str(SCHEMA)
        .map_err(|e| PolicyError::Syntax { file: "postern.cedarschema".to_owned(), what: e.to_string() })?;
    let vocabulary = Vocabulary::new(&schema).map_err(|e| PolicyError::Validation(e.to_string()))?;
    let policies = policies(&files)?;
    validate(&schema, &policies)?;
    let approvals = files.get(APPROVALS_FILE).ok_or_else(|| missing(directory, APPROVALS_FILE))?;
    let rules = Rules::parse(approvals)?;
    let table = files.get(DECISIONS_FILE).map(|text| Table::parse(text)).transpose()?;
    Ok(Set { schema, vocabulary, policies, rules, table, hash: hash(&files), files })
}

const APPROVALS_FILE: &str = "approvals.toml";
const DECISIONS_FILE: &str = "decisions.toml";
const FLOOR_FILE: &str = "floor.cedar";
const SCHEMA_FILE: &str = "postern.cedarschema";

/// The files of the default set, as (name, text): what a site copies to begin with.
pub(super) const fn defaults() -> [(&'static str, &'static str); 5] {
    [
        (APPROVALS_FILE, APPROVALS),
        (DECISIONS_FILE, DECISIONS),
        ("default.cedar", DEFAULT),
        (FLOOR_FILE, FLOOR),
        (SCHEMA_FILE, SCHEMA),
    ]
}

fn embedded() -> BTreeMap<String, String> {
    defaults().map(|(name, text)| (name.to_owned(), text.to_owned())).into()
}

fn read_directory(directory: &Path) -> Result<BTreeMap<String, String>, PolicyError> {
    let failed = |path: &Path, why: String| PolicyError::Read { path: path.to_owned(), why };
    let mut files = BTreeMap::new();
    for found in std::fs::read_dir(directory).map_err(|e| failed(directory, e.to_string()))? {
        let found = found.map_err(|e| failed(directory, e.to_string()))?;
        let Some(name) = found.file_name().to_str().map(str::to_owned) else { continue };
        let is_policy = Path::new(&name).extension().is_some_and(|e| e == "cedar");
        let is_ours = [APPROVALS_FILE, DECISIONS_FILE, SCHEMA_FILE].contains(&name.as_str());
        if name.starts_with('.') || !(is_policy || is_ours) {
            continue;
        }
        let path = found.path();
        let size = std::fs::metadata(&path).map_err(|e| failed(&path, e.to_string()))?.len();
        if size > LONGEST_FILE || files.len() >= MOST_FILES {
            return Err(failed(
                &path,
                format!("a set is at most {MOST_FILES} files of {LONGEST_FILE} bytes"),
            ));
        }
        let text = std::fs::read_to_string(&path).map_err(|e| failed(&path, e.to_string()))?;
        files.insert(name, text);
    }
    if files.values().map(String::len).sum::<usize>() > LONGEST_SET {
        return Err(failed(directory, format!("a set is at most {LONGEST_SET} bytes long")));
    }
    for (name, ours) in [(FLOOR_FILE, FLOOR), (SCHEMA_FILE, SCHEMA)] {
        match files.get(name) {
            Some(theirs) if theirs != ours => return Err(PolicyError::Foreign(name.to_owned())),
            Some(_) | None => files.insert(name.to_owned(), ours.to_owned()),
        };
    }
    let has_policies = files.keys().any(|name| name != FLOOR_FILE && is_cedar(name));
    if has_policies { Ok(files) } else { Err(missing(Some(directory), "default.cedar")) }
}

fn is_cedar(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e == "cedar")
}

fn missing(directory: Option<&Path>, file: &str) -> PolicyError {
    PolicyError::Read {
        path: directory.unwrap_or_else(|| Path::new("")).join(file),
        why: "a policy directory needs it; begin with a copy of the defaults that come with Postern"
            .to_owned(),
    }
}

/// All rules of all files, each under the name its `@id` gives it.
fn policies(files: &BTreeMap<String, String>) -> Result<PolicySet, PolicyError> {
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for (file, text) in files.iter().filter(|(name, _)| is_cedar(name)) {
        let syntax = |what: String| PolicyError::Syntax { file: file.clone(), what };
        let parsed: PolicySet = text.parse().map_err(|e: cedar_policy::ParseErrors| syntax(report(&e)))?;
        if parsed.num_of_templates() > 0 {
            return Err(syntax(
                "templates (?principal, ?resource) are not used: write the rule out".to_owned(),
            ));
        }
        for policy in parsed.policies() {
            let id = name_of(policy, file)?;
            if !seen.insert(id.to_owned()) {
                return Err(PolicyError::Nameless {
                    file: file.clone(),
                    what: format!("@id({id:?}) is used twice: every rule has its own"),
                });
            }
            all.push(policy.new_id(PolicyId::new(id)));
        }
    }
    if all.len() > MOST_POLICIES {
        return Err(PolicyError::Validation(format!("there are more than {MOST_POLICIES} rules")));
    }
    PolicySet::from_policies(all).map_err(|e| PolicyError::Validation(e.to_string()))
}

fn name_of<'p>(policy: &'p Policy, file: &str) -> Result<&'p str, PolicyError> {
    let nameless = |what: &str| PolicyError::Nameless {
        file: file.to_owned(),
        what: format!("{what}:\n{}", policy.to_cedar().unwrap_or_default()),
    };
    let id = policy.annotation("id").filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| nameless("this rule needs an @id(\"...\") above it"))?;
    let has_reason = policy.annotation("reason").is_some_and(|reason| !reason.is_empty());
    match policy.effect() {
        Effect::Forbid if !has_reason => {
            Err(nameless("this forbid needs a @reason(\"...\"), for whoever it refuses"))
        }
        Effect::Forbid | Effect::Permit => Ok(id),
    }
}

/// Strict, and warnings count: a rule that can never hold is a mistake.
fn validate(schema: &Schema, policies: &PolicySet) -> Result<(), PolicyError> {
    let result = Validator::new(schema.clone()).validate(policies, ValidationMode::Strict);
    if result.validation_passed_without_warnings() {
        return Ok(());
    }
    let mut report = String::new();
    let errors = result.validation_errors().map(ToString::to_string);
    for line in errors.chain(result.validation_warnings().map(ToString::to_string)) {
        writeln!(report, "  {line}").map_err(|e| PolicyError::Validation(e.to_string()))?;
    }
    Err(PolicyError::Validation(report))
}

fn report(errors: &cedar_policy::ParseErrors) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// SHA-256 over every file's name and text, each preceded by its length, in order of names.
fn hash(files: &BTreeMap<String, String>) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in files.iter().flat_map(|(name, text)| [name, text]) {
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        context.update(&length.to_be_bytes());
        context.update(part.as_bytes());
    }
    data_encoding::HEXLOWER.encode(context.finish().as_ref())
}
