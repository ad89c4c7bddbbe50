//! Which statement the server's answer is about. Messages of both directions go through here in the order they were sent.
//!
//! The protocol answers in order but names nothing, an error makes the server pass over everything up to the next Sync, and
//! in COPY it passes over Sync as well. So what was asked for waits in a queue, and names of prepared statements and portals
//! mean what they mean to the server at that moment, not to whoever sent ahead. What cannot be told for sure is an error
//! ([`Unfollowable`]), or has no text: never somebody else's.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::client::{Message as Asked, Named};
use super::outcome::{Done, End, Ran, Unfollowable};
use super::queue::{Queue, Waiting, What};
use super::server::{Message as Answer, Report, Transaction};

#[derive(Debug, Clone)]
struct Prepared {
    text: Bytes,
    types: Vec<u32>,
}

/// What came so far of the answer to the first in the queue.
#[derive(Debug, Default)]
struct Tally {
    tags: Vec<Bytes>,
    rows: u64,
    bytes_out: u64,
    bytes_in: u64,
    failed: Option<Report>,
    is_empty: bool,
}

/// Both directions of one connection, from its first ReadyForQuery on.
#[derive(Debug, Default)]
pub struct Statements {
    waiting: Queue,
    prepared: HashMap<Bytes, Prepared>,
    portals: HashMap<Bytes, Ran>,
    tally: Tally,
    asked: u64,
    /// The number of the last that was run since the last Sync.
    executed: Option<u64>,
    /// The server takes data now.
    is_copying_in: bool,
    /// The server passes over everything up to the next Sync, which has not been sent so far.
    is_skipping: bool,
    /// The server may still answer a Sync that it read just before an error in COPY, or just after.
    may_answer_twice: bool,
}

impl Statements {
    /// Begins.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How much is held for answers that have not come, in bytes: a reader of the client waits while it is much.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.waiting.held()
    }

    /// Takes what the client sends next, and gives its number: in the order sent, from 1 on. Data and Sync have none.
    ///
    /// # Errors
    /// When it has no place among data that is copied in.
    pub fn ask(&mut self, message: &Asked, done: &mut Vec<Done>) -> Result<Option<u64>, Unfollowable> {
        let what = match message {
            Asked::Bind(bind) => What::Bind(Arc::new(bind.clone())),
            Asked::Close { what } => What::Close(what.clone()),
            Asked::CopyData(data) => return Ok(self.copy(data.len(), false)),
            Asked::CopyDone | Asked::CopyFail { .. } => return Ok(self.copy(0, true)),
            Asked::Describe { what } => What::Describe(what.clone()),
            Asked::Execute { portal, .. } => What::Execute(portal.clone()),
            Asked::Flush | Asked::Terminate => return Ok(None),
            Asked::FunctionCall { .. } => What::Function,
            Asked::Parse { name, text, types } => {
                What::Parse { name: name.clone(), text: text.clone(), types: types.clone() }
            }
            Asked::Query { text } => What::Query(text.clone()),
            Asked::Sync => {
                self.is_skipping = false;
                let after = self.executed.take();
                self.waiting.push(0, What::Sync { after });
                return Ok(None);
            }
        };
        if self.is_copying_in && !self.waiting.is_copy_over() {
            return Err(Unfollowable::InCopy);
        }
        self.asked = self.asked.saturating_add(1);
        let number = self.asked;
        if self.is_skipping {
            done.push(ended(number, End::Skipped));
            return Ok(Some(number));
        }
        if matches!(what, What::Execute(_)) {
            self.executed = Some(number);
        }
        self.waiting.push(number, what);
        Ok(Some(number))
    }

    /// Takes what the server answers next; what is over by that is added to `done`.
    ///
    /// # Errors
    /// When nothing asked for it.
    pub fn answer(&mut self, answer: &Answer, done: &mut Vec<Done>) -> Result<(), Unfollowable> {
        self.pass_over_stray_data();
        match answer {
            Answer::Notice(_) | Answer::Notification | Answer::ParameterStatus { .. } => Ok(()),
            Answer::BindComplete => self.bound(),
            Answer::CloseComplete => self.closed(),
            Answer::CommandComplete { tag } => self.completed(tag, done),
            Answer::CopyBoth => Err(Unfollowable::Answer { answer: "CopyBothResponse" }),
            Answer::CopyData(data) => self.row(data.len(), false, "CopyData"),
            Answer::CopyDone | Answer::CopyOut => self.runs("CopyOut").map(|_| ()),
            Answer::CopyIn => self.copies_in(),
            Answer::DataRow { bytes } => self.row(*bytes, true, "DataRow"),
            Answer::EmptyQuery => self.empty(done),
            Answer::Error(report) => self.failed(report, done),
            Answer::FunctionCallResponse => self.called(done),
            Answer::NoData | Answer::RowDescription { .. } => self.described(),
            Answer::ParameterDescription { types } => self.typed(types),
            Answer::ParseComplete => self.parsed(),
            Answer::PortalSuspended => self.suspended(done),
            Answer::Ready { transaction } => self.ready(*transaction, done),
        }
    }

    /// The connection is over: what has no answer has none any more.
    pub fn finish(&mut self, done: &mut Vec<Done>) {
        while let Some(Waiting { number, what }) = self.waiting.pop() {
            if number > 0 {
                let ran = self.ran(&what);
                done.push(self.tallied(number, ran, End::Cut));
            }
        }
    }

    fn copy(&mut self, bytes: usize, is_over: bool) -> Option<u64> {
        self.waiting.copy(bytes, is_over);
        None
    }

    fn end_copy(&mut self, has_failed: bool) {
        if std::mem::take(&mut self.is_copying_in) {
            let bytes = self.waiting.end_copy(has_failed);
            self.tally.bytes_in = self.tally.bytes_in.saturating_add(bytes);
        }
    }

    /// Outside COPY the server passes over its data: it is what was still on its way after an error.
    fn pass_over_stray_data(&mut self) {
        while matches!(self.waiting.first(), Some(What::Copy { .. })) {
            self.waiting.pop();
        }
    }

    /// Whether the first in the queue is one that runs.
    fn runs(&self, answer: &'static str) -> Result<bool, Unfollowable> {
        match self.waiting.first() {
            Some(What::Query(_)) => Ok(true),
            Some(What::Execute(_)) => Ok(false),
            _ => Err(Unfollowable::Answer { answer }),
        }
    }

    fn row(&mut self, bytes: usize, is_row: bool, answer: &'static str) -> Result<(), Unfollowable> {
        self.runs(answer)?;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.tally.bytes_out = self.tally.bytes_out.saturating_add(bytes);
        self.tally.rows = self.tally.rows.saturating_add(u64::from(is_row));
        Ok(())
    }

    /// The server takes data.
    fn copies_in(&mut self) -> Result<(), Unfollowable> {
        self.runs("CopyInResponse")?;
        self.waiting.only_data_follows()?;
        self.is_copying_in = true;
        Ok(())
    }

    fn parsed(&mut self) -> Result<(), Unfollowable> {
        match self.waiting.pop() {
            Some(Waiting { what: What::Parse { name, text, types }, .. }) => {
                self.prepared.insert(name, Prepared { text, types });
                Ok(())
            }
            _ => Err(Unfollowable::Answer { answer: "ParseComplete" }),
        }
    }

    fn bound(&mut self) -> Result<(), Unfollowable> {
        let Some(Waiting { what: What::Bind(bind), .. }) = self.waiting.pop() else {
            return Err(Unfollowable::Answer { answer: "BindComplete" });
        };
        let prepared = self.prepared.get(&bind.statement).cloned();
        let (text, types) = prepared.map_or((None, Vec::new()), |one| (Some(one.text), one.types));
        self.portals.insert(bind.portal.clone(), Ran { text, types, bound: Some(bind) });
        Ok(())
    }

    fn closed(&mut self) -> Result<(), Unfollowable> {
        match self.waiting.pop() {
            Some(Waiting { what: What::Close(Named::Portal(name)), .. }) => drop(self.portals.remove(&name)),
            Some(Waiting { what: What::Close(Named::Statement(name)), .. }) => {
                drop(self.prepared.remove(&name));
            }
            _ => return Err(Unfollowable::Answer { answer: "CloseComplete" }),
        }
        Ok(())
    }

    /// A description of rows answers a Describe, or comes before the rows of a Query.
    fn described(&mut self) -> Result<(), Unfollowable> {
        match self.waiting.first() {
            Some(What::Describe(_)) => drop(self.waiting.pop()),
            Some(What::Query(_)) => {}
            _ => return Err(Unfollowable::Answer { answer: "RowDescription" }),
        }
        Ok(())
    }

    fn typed(&mut self, types: &[u32]) -> Result<(), Unfollowable> {
        let Some(What::Describe(Named::Statement(name))) = self.waiting.first() else {
            return Err(Unfollowable::Answer { answer: "ParameterDescription" });
        };
        if let Some(prepared) = self.prepared.get_mut(&name.clone()) {
            prepared.types = types.to_vec();
        }
        Ok(())
    }

    fn completed(&mut self, tag: &Bytes, done: &mut Vec<Done>) -> Result<(), Unfollowable> {
        let is_query = self.runs("CommandComplete")?;
        if tag.starts_with(b"DEALLOCATE") || tag.as_ref() == b"DISCARD ALL" {
            self.forget();
        }
        self.tally.tags.push(tag.clone());
        self.end_copy(false);
        // Of a query more may come; Ready ends it.
        if !is_query {
            self.end_execute(End::Complete, done);
        }
        Ok(())
    }

    fn suspended(&mut self, done: &mut Vec<Done>) -> Result<(), Unfollowable> {
        if !matches!(self.waiting.first(), Some(What::Execute(_))) {
            return Err(Unfollowable::Answer { answer: "PortalSuspended" });
        }
        self.end_execute(End::Suspended, done);
        Ok(())
    }

    fn empty(&mut self, done: &mut Vec<Done>) -> Result<(), Unfollowable> {
        if self.runs("EmptyQueryResponse")? {
            self.tally.is_empty = true;
        } else {
            self.end_execute(End::Empty, done);
        }
        Ok(())
    }

    fn called(&mut self, done: &mut Vec<Done>) -> Result<(), Unfollowable> {
        let Some(Waiting { number, what: What::Function }) = self.waiting.pop() else {
            return Err(Unfollowable::Answer { answer: "FunctionCallResponse" });
        };
        done.push(self.tallied(number, None, End::Complete));
        // Its ReadyForQuery comes as that of a Sync would.
        self.waiting.sync_first();
        Ok(())
    }
}

impl Statements {
    fn end_execute(&mut self, end: End, done: &mut Vec<Done>) {
        if let Some(Waiting { number, what }) = self.waiting.pop() {
            let ran = self.ran(&what);
            done.push(self.tallied(number, ran, end));
        }
    }

    /// An error ends the first in the queue, and everything up to the next Sync with it; of a Query only itself.
    fn failed(&mut self, report: &Report, done: &mut Vec<Done>) -> Result<(), Unfollowable> {
        let report = report.clone();
        match self.waiting.first() {
            // Nothing was asked: the server ends the connection, and says why.
            None => Ok(()),
            Some(What::Query(_)) => {
                self.end_copy(true);
                self.tally.failed = Some(report);
                Ok(())
            }
            Some(What::Sync { after }) => {
                if let Some(number) = *after {
                    done.push(ended(number, End::FailedAtCommit(report)));
                }
                Ok(())
            }
            Some(What::Function) => {
                if let Some(Waiting { number, .. }) = self.waiting.pop() {
                    done.push(self.tallied(number, None, End::Failed(report)));
                    self.waiting.sync_first();
                }
                Ok(())
            }
            Some(_) => {
                self.may_answer_twice = self.is_copying_in;
                self.end_copy(true);
                self.end_execute(End::Failed(report), done);
                self.skip(done);
                Ok(())
            }
        }
    }

    /// Passes over what the server passes over.
    fn skip(&mut self, done: &mut Vec<Done>) {
        while !matches!(self.waiting.first(), Some(What::Sync { .. })) {
            let Some(Waiting { number, .. }) = self.waiting.pop() else {
                self.is_skipping = true;
                return;
            };
            if number > 0 {
                done.push(ended(number, End::Skipped));
            }
        }
    }

    fn ready(&mut self, transaction: Transaction, done: &mut Vec<Done>) -> Result<(), Unfollowable> {
        match self.waiting.first() {
            Some(What::Query(_)) => {
                let Some(Waiting { number, what }) = self.waiting.pop() else { return Ok(()) };
                let ran = self.ran(&what);
                let end = match (self.tally.failed.take(), self.tally.is_empty) {
                    (Some(report), _) => End::Failed(report),
                    (None, true) if self.tally.tags.is_empty() => End::Empty,
                    (None, _) => End::Complete,
                };
                done.push(self.tallied(number, ran, end));
                // A simple query takes the unnamed statement and portal with it.
                self.prepared.remove(&b""[..]);
                self.portals.remove(&b""[..]);
            }
            Some(What::Sync { .. }) => drop(self.waiting.pop()),
            None if self.may_answer_twice => {}
            _ => return Err(Unfollowable::Answer { answer: "ReadyForQuery" }),
        }
        self.may_answer_twice = false;
        if transaction == Transaction::None {
            self.portals.clear();
        }
        Ok(())
    }

    /// What something runs, by the names as the server has them now.
    fn ran(&self, what: &What) -> Option<Ran> {
        match what {
            What::Bind(bind) => {
                let prepared = self.prepared.get(&bind.statement)?.clone();
                let bound = Some(Arc::clone(bind));
                Some(Ran { text: Some(prepared.text), types: prepared.types, bound })
            }
            What::Execute(portal) => Some(self.portals.get(portal).cloned().unwrap_or_default()),
            What::Parse { text, types, .. } => {
                Some(Ran { text: Some(text.clone()), types: types.clone(), bound: None })
            }
            What::Query(text) => Some(Ran { text: Some(text.clone()), types: Vec::new(), bound: None }),
            What::Close(_) | What::Copy { .. } | What::Describe(_) | What::Function | What::Sync { .. } => {
                None
            }
        }
    }

    fn tallied(&mut self, number: u64, ran: Option<Ran>, end: End) -> Done {
        let Tally { tags, rows, bytes_out, bytes_in, .. } = std::mem::take(&mut self.tally);
        Done { number, ran, tags, end, rows, bytes_out, bytes_in }
    }

    /// SQL takes prepared statements away, whose names then may mean something else: better no text than a wrong one. Only
    /// what says plainly which one takes no other.
    fn forget(&mut self) {
        let ran = self.waiting.first().and_then(|first| self.ran(first));
        match ran.and_then(|ran| ran.text).and_then(|text| deallocated(&text)) {
            Some(name) => drop(self.prepared.remove(&name)),
            None => self.prepared.clear(),
        }
    }
}

/// The name in `DEALLOCATE [PREPARE] name [;]` and nothing else.
fn deallocated(text: &[u8]) -> Option<Bytes> {
    let text = std::str::from_utf8(text).ok()?.trim().trim_end_matches(';').trim_end();
    let mut words = text.split_ascii_whitespace();
    if !words.next()?.eq_ignore_ascii_case("deallocate") {
        return None;
    }
    let mut name = words.next()?;
    if let Some(after) = words.next() {
        if !name.eq_ignore_ascii_case("prepare") || words.next().is_some() {
            return None;
        }
        name = after;
    }
    if let Some(quoted) = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        return (!quoted.is_empty() && !quoted.contains('"'))
            .then(|| Bytes::copy_from_slice(quoted.as_bytes()));
    }
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let is_all = name.eq_ignore_ascii_case("all") || name.eq_ignore_ascii_case("prepare");
    (is_plain && !is_all).then(|| Bytes::from(name.to_ascii_lowercase()))
}

/// What nobody counted anything for.
const fn ended(number: u64, end: End) -> Done {
    Done { number, ran: None, tags: Vec::new(), end, rows: 0, bytes_out: 0, bytes_in: 0 }
}
