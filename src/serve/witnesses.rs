//! Asks the ledger's witnesses to sign its heads (C2SP `tlog-witness`), and keeps what they signed beside the ledger.
//!
//! A head is submitted soon after it grew, and now and then when it did not, so that a cosignature is never old. What a
//! witness answers is believed only with its signature; that it knows more than the ledger has, or another history, is
//! an alarm. What follows from it is `session/witnesses.rs`'s.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config;
use crate::ledger::{Checkpoint, Note, TreeHash, WitnessKey};
use crate::model::Clock;
use crate::session::{Gate, Trouble, Witnesses};
use crate::store::Store;

/// How often the ledger is looked at.
const ROUND: Duration = Duration::from_secs(2);
/// How old a cosignature gets of a ledger that does not grow; less where a fresher one is wanted.
const REFRESH: Duration = Duration::from_secs(30);
/// The least that `cosigned_within` may be: a witness needs a moment.
const SHORTEST: Duration = Duration::from_secs(5);
/// How soon a witness that did not sign is asked again.
const AGAIN: Duration = Duration::from_secs(5);
/// How long one submission may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How far, in seconds, a witness's clock may be from ours.
const SKEW: u64 = 60;
/// The longest answer read, in bytes.
const LONGEST: usize = 64 << 10;
/// Beside the ledger: its newest head that a witness signed, with all signatures.
pub(super) const COSIGNED: &str = "ledger.cosigned";

/// One witness, as it is asked.
struct Asked {
    url: String,
    key: WitnessKey,
    /// The size it signed last, as far as is known.
    size: u64,
    /// When to ask again though the ledger has not grown, since boot.
    refresh: Duration,
    /// Not asked before this, since boot.
    rests: Duration,
}

/// What came of one submission.
enum Outcome {
    Signed(Note),
    /// It knows this many entries.
    Knows(u64),
    /// The proof does not lead from what it knows to the head.
    Inconsistent,
    Silent(String),
}

/// Witnesses that cannot be used as they are configured.
#[derive(Debug, thiserror::Error)]
#[error("[ledger] witnesses: {0}")]
pub struct WitnessesError(String);

/// What sessions are to know of the witnesses that are configured.
///
/// # Errors
/// When a key is none, two are the same, or the quorum cannot be reached.
pub(super) fn standing(config: &config::Ledger, clock: &Clock) -> Result<Witnesses, WitnessesError> {
    let keys = keys(config)?;
    let names: std::collections::BTreeSet<_> = keys.iter().map(|(key, _)| key.name().to_owned()).collect();
    if names.len() < keys.len() {
        return Err(WitnessesError("two of them have one name".to_owned()));
    }
    if !config.cosigned_within.is_zero() && config.cosigned_within < SHORTEST {
        return Err(WitnessesError(format!("cosigned_within is at least {} s", SHORTEST.as_secs())));
    }
    if !config.cosigned_within.is_zero() && !(1..=names.len()).contains(&config.cosigned_by) {
        return Err(WitnessesError(format!("cosigned_by is {}, of {}", config.cosigned_by, names.len())));
    }
    Ok(Witnesses::new(clock.clone(), names, config.cosigned_within, config.cosigned_by))
}

fn keys(config: &config::Ledger) -> Result<Vec<(WitnessKey, String)>, WitnessesError> {
    let parse = |witness: &config::Witness| {
        let key = witness.key.parse().map_err(|error| WitnessesError(format!("{}: {error}", witness.key)))?;
        let url = witness.url.trim_end_matches('/').to_owned();
        let is_here =
            ["http://127.", "http://[::1]", "http://localhost"].iter().any(|here| url.starts_with(here));
        if url.starts_with("https://") || is_here {
            Ok((key, url))
        } else {
            Err(WitnessesError(format!(
                "{url:?} is no address: write https://HOST; http only to this machine"
            )))
        }
    };
    config.witnesses.iter().map(parse).collect()
}

/// Whom to ask, and how; made when the node starts, so that what cannot work is told then.
pub(super) struct Asking {
    client: reqwest::Client,
    all: Vec<Asked>,
    refresh: Duration,
    keys: Vec<WitnessKey>,
    /// Where what they signed is kept.
    path: PathBuf,
}

/// Gets ready to ask; `directory` is the ledger's.
///
/// # Errors
/// When the configuration cannot be used, or TLS cannot be set up.
pub(super) fn asking(config: &config::Ledger, directory: &Path) -> Result<Asking, WitnessesError> {
    let keys = keys(config)?;
    let refresh = match config.cosigned_within {
        Duration::ZERO => REFRESH,
        within => REFRESH.min(within / 2),
    };
    let ask = |(key, url): &(WitnessKey, String)| Asked {
        url: url.clone(),
        key: key.clone(),
        size: 0,
        refresh: Duration::ZERO,
        rests: Duration::ZERO,
    };
    Ok(Asking {
        client: client()?,
        all: keys.iter().map(ask).collect(),
        refresh,
        keys: keys.into_iter().map(|(key, _)| key).collect(),
        path: directory.join(COSIGNED),
    })
}

/// Has heads signed for as long as it is polled, or is done when nobody is to sign. No witness waits for another.
pub(super) async fn attend(gate: Arc<Gate>, asking: Asking) {
    let Asking { client, all, refresh, keys, path } = asking;
    let (gate, client, keys, path) = (&gate, &client, &keys, &path);
    let each = all.into_iter().map(|mut witness| async move {
        loop {
            let now = gate.clock.since_boot();
            let has_grown = newest(&gate.store).await.is_some_and(|size| size != witness.size);
            if now >= witness.rests
                && (has_grown || now >= witness.refresh)
                && let Some(signed) = attend_one(gate, client, &mut witness, refresh).await
                && let Err(error) = keep(path, keys, signed)
            {
                tracing::warn!(%error, "what a witness signed was not kept");
            }
            tokio::time::sleep(ROUND).await;
        }
    });
    futures_util::future::join_all(each).await;
}

/// The client that witnesses are asked with.
fn client() -> Result<reqwest::Client, WitnessesError> {
    outward(|builder| builder.timeout(PATIENCE))
}

/// A client for servers that are not ours: certificates are checked against the system's.
pub(super) fn outward(
    patience: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> Result<reqwest::Client, WitnessesError> {
    let failed = |error: &dyn std::fmt::Display| WitnessesError(format!("TLS cannot be set up: {error}"));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = rustls_platform_verifier::Verifier::new(Arc::clone(&provider)).map_err(|e| failed(&e))?;
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let builder = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy();
    let builder = builder.redirect(reqwest::redirect::Policy::none());
    patience(builder).build().map_err(|error| failed(&error))
}

/// The ledger's size now.
async fn newest(store: &Store) -> Option<u64> {
    let from = store.clone();
    let note = tokio::task::spawn_blocking(move || from.checkpoint()).await.ok()?.ok()?;
    Checkpoint::open(&note, store.checkpoint_key()).ok().map(|head| head.size)
}

/// Asks one witness.
async fn attend_one(
    gate: &Gate,
    client: &reqwest::Client,
    witness: &mut Asked,
    refresh: Duration,
) -> Option<Note> {
    let (name, witnesses) = (witness.key.name().to_owned(), &gate.witnesses);
    let mut outcome = submit(gate, client, witness).await;
    if let Ok((Outcome::Knows(theirs), head)) = &outcome
        && *theirs <= head.size
        && *theirs != witness.size
    {
        witness.size = *theirs;
        outcome = submit(gate, client, witness).await;
    }
    let now = gate.clock.since_boot();
    let trouble = match outcome {
        Ok((Outcome::Signed(note), head)) => {
            witness.size = head.size;
            witness.refresh = now + refresh;
            witnesses.signed(&name, head.size);
            metrics::gauge!("postern_witness_size", "witness" => name.clone()).set(head.size as f64);
            metrics::gauge!("postern_ledger_contradicted", "witness" => name).set(0.0);
            return Some(note);
        }
        Ok((Outcome::Knows(theirs), head)) if theirs > head.size => Trouble::RolledBack { theirs },
        Ok((Outcome::Knows(_) | Outcome::Inconsistent, _)) => Trouble::Forked,
        Ok((Outcome::Silent(words), _)) | Err(words) => Trouble::Silent(words),
    };
    witness.rests = now + AGAIN;
    let is_alarm = !matches!(trouble, Trouble::Silent(_));
    if witnesses.troubled(&name, trouble.clone()) {
        if is_alarm {
            tracing::error!(witness = %name, %trouble, "a witness contradicts the ledger: no session begins");
            metrics::gauge!("postern_ledger_contradicted", "witness" => name).set(1.0);
        } else {
            tracing::warn!(witness = %name, %trouble, "a witness of the ledger did not sign");
        }
    }
    None
}

/// Submits the newest head to a witness.
async fn submit(
    gate: &Gate,
    client: &reqwest::Client,
    witness: &Asked,
) -> Result<(Outcome, Checkpoint), String> {
    let (store, now) = (&gate.store, gate.clock.now().as_second());
    let (from, asked) = (store.clone(), witness.size);
    let proven = tokio::task::spawn_blocking(move || match asked {
        0 => from.checkpoint().map(|note| (Vec::new(), note)),
        _ => from.prove_consistency(asked),
    });
    let (proof, note) = proven.await.map_err(|_| "the proof broke".to_owned())?.map_err(|e| e.to_string())?;
    let head = Checkpoint::open(&note, store.checkpoint_key()).map_err(|error| error.to_string())?;
    let lines: String = proof.iter().map(|hash: &TreeHash| hash.to_base64() + "\n").collect();
    let body = format!("old {asked}\n{lines}\n{note}");
    let sent = client.post(format!("{}/add-checkpoint", witness.url)).body(body).send().await;
    let answer = sent.map_err(|error| words(&error.without_url()))?;
    let status = answer.status().as_u16();
    let text = read(answer).await?;
    let outcome = match status {
        200 => {
            let signed: Result<Note, _> = format!("{note}{text}").parse();
            match signed.map(|signed| witness.key.signed(&signed).map(|at| (at, signed))) {
                Ok(Ok((at, signed))) if is_new(at, now) => Outcome::Signed(signed),
                Ok(Ok(_)) => Outcome::Silent("what it sent was not signed now: check both clocks".to_owned()),
                Ok(Err(error)) | Err(error) => Outcome::Silent(error.to_string()),
            }
        }
        409 => match text.trim_end().parse() {
            Ok(size) => Outcome::Knows(size),
            Err(_) => Outcome::Silent("it named no size".to_owned()),
        },
        422 => Outcome::Inconsistent,
        403 => Outcome::Silent("it does not know the ledger's key: 'postern witness trust'".to_owned()),
        404 => Outcome::Silent("it does not know this ledger: 'postern witness trust'".to_owned()),
        other => Outcome::Silent(format!("it answered with status {other}")),
    };
    Ok((outcome, head))
}

/// Whether a signature was made now: an old one, played back, says nothing of today.
fn is_new(at: u64, now: i64) -> bool {
    i64::try_from(at).is_ok_and(|at| at.abs_diff(now) <= SKEW)
}

/// What went wrong, down to the cause: "error sending request" alone helps nobody.
fn words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |words, cause| format!("{words}: {cause}"))
}

async fn read(mut answer: reqwest::Response) -> Result<String, String> {
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| words(&error.without_url()))? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > LONGEST {
            return Err("its answer is too long".to_owned());
        }
    }
    String::from_utf8(bytes).map_err(|_| "its answer is no text".to_owned())
}

/// Keeps the newest signed head, with what others signed of the same.
fn keep(path: &Path, keys: &[WitnessKey], mut signed: Note) -> std::io::Result<()> {
    let before = std::fs::read_to_string(path).ok().and_then(|text| text.parse::<Note>().ok());
    if let Some(before) = &before {
        let size = |note: &Note| note.text().lines().nth(1).and_then(|size| size.parse::<u64>().ok());
        if size(before) > size(&signed) {
            return Ok(());
        }
        for key in keys {
            // Whoever has not signed this head has nothing to take over.
            if key.signed(&signed).is_err() {
                key.take_over(before, &mut signed).ok();
            }
        }
    }
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(path))?;
    file.write_all(signed.to_string().as_bytes())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
