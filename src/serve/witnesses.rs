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
        if url.starts_with("https://") || url.starts_with("http://") {
            Ok((key, url))
        } else {
            Err(WitnessesError(format!("{url:?} is no address: write https://HOST or http://HOST:PORT")))
        }
    };
    config.witnesses.iter().map(parse).collect()
}

/// Has heads signed for as long as it is polled, or is done when nobody is to sign. `directory` is the ledger's.
pub(super) async fn attend(gate: Arc<Gate>, config: config::Ledger, directory: PathBuf) {
    let (Ok(keys), Ok(client)) = (keys(&config), client()) else {
        // Both were tried when the node started.
        return;
    };
    let refresh = match config.cosigned_within {
        Duration::ZERO => REFRESH,
        within => REFRESH.min(within / 2),
    };
    let ask = |(key, url)| Asked { url, key, size: 0, refresh: Duration::ZERO, rests: Duration::ZERO };
    let mut all: Vec<Asked> = keys.into_iter().map(ask).collect();
    while !all.is_empty() {
        let now = gate.clock.since_boot();
        let size = newest(&gate.store).await;
        let due = |witness: &&mut Asked| {
            now >= witness.rests && (now >= witness.refresh || size.is_some_and(|size| size != witness.size))
        };
        let asking = all.iter_mut().filter(due).map(|witness| attend_one(&gate, &client, witness, refresh));
        let signed: Vec<Note> = futures_util::future::join_all(asking).await.into_iter().flatten().collect();
        if !signed.is_empty()
            && let Err(error) = keep(&directory.join(COSIGNED), &config, &signed)
        {
            tracing::warn!(%error, "what the witnesses signed was not kept");
        }
        tokio::time::sleep(ROUND).await;
    }
}

/// The client that witnesses are asked with: certificates are checked against the system's.
pub(super) fn client() -> Result<reqwest::Client, WitnessesError> {
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
    let builder = builder.redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE);
    builder.build().map_err(|error| failed(&error))
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
    let mut outcome = submit(&gate.store, client, witness).await;
    if let Ok((Outcome::Knows(theirs), head)) = &outcome
        && *theirs <= head.size
        && *theirs != witness.size
    {
        witness.size = *theirs;
        outcome = submit(&gate.store, client, witness).await;
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
    store: &Store,
    client: &reqwest::Client,
    witness: &Asked,
) -> Result<(Outcome, Checkpoint), String> {
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
            match signed.map(|signed| witness.key.signed(&signed).map(|_| signed)) {
                Ok(Ok(signed)) => Outcome::Signed(signed),
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

/// Keeps the newest signed head with every cosignature there is on it.
fn keep(path: &Path, config: &config::Ledger, signed: &[Note]) -> std::io::Result<()> {
    let size = |note: &Note| note.text().lines().nth(1).and_then(|size| size.parse::<u64>().ok());
    let Some(mut newest) = signed.iter().max_by_key(|note| size(note)).cloned() else { return Ok(()) };
    let before = std::fs::read_to_string(path).ok().and_then(|text| text.parse::<Note>().ok());
    let others = signed.iter().chain(&before).filter(|note| note.text() == newest.text());
    let lines: Vec<_> = others.cloned().collect();
    for (key, _) in keys(config).unwrap_or_default() {
        for other in &lines {
            // Whoever has not signed this head has nothing to take over.
            key.take_over(other, &mut newest).ok();
        }
    }
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(path))?;
    file.write_all(newest.to_string().as_bytes())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
