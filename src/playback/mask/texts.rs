//! The texts of events that carry no bulk data: commands, names, paths, reasons.
//!
//! Whatever the client or the target chose to say is looked through; what the gate itself says, and names that it has
//! checked, stay. Each text is one line, whatever is in it.

use bytes::Bytes;

use super::look::{look, star};
use super::patterns::Mask;
use crate::recording::event::Body;

/// Stars out an event's texts.
pub(super) struct Texts<'a> {
    mask: &'a Mask,
    /// Secrets found.
    pub(super) found: u64,
    /// Bytes looked through.
    pub(super) bytes: usize,
}

impl<'a> Texts<'a> {
    pub(super) const fn new(mask: &'a Mask) -> Self {
        Self { mask, found: 0, bytes: 0 }
    }

    pub(super) fn star_out(&mut self, body: &mut Body) {
        match body {
            Body::SessionStarted(facts) => self.text(&mut facts.reason),
            Body::ChannelOpened { kind } => self.text(kind),
            Body::Terminal { term, modes, .. } => {
                self.text(term);
                self.bytes = self.bytes.saturating_add(size_of_val(modes.as_slice()));
            }
            Body::Environment { name, value } => self.assignment(name, value),
            Body::Exec { command } => {
                if let Some(starred) = self.starred(command) {
                    *command = Bytes::from(starred);
                }
            }
            Body::Subsystem { name } | Body::Signal { name } => self.text(name),
            Body::Forward { host, origin, .. } => self.all([host, origin]),
            Body::ExitSignal { name, message, .. } => self.all([name, message]),
            Body::File(file) => {
                self.all([&mut file.path, &mut file.outcome]);
                file.other_path.iter_mut().for_each(|path| self.text(path));
            }
            Body::Refused { what, why } => self.all([what, why]),
            Body::Decision { action, why, .. } => self.all([action, why]),
            Body::Marker { label } => self.text(label),
            Body::Shell
            | Body::Input { .. }
            | Body::Output { .. }
            | Body::Resize { .. }
            | Body::Closed { .. }
            | Body::Exit { .. }
            | Body::ChannelClosed
            | Body::SessionEnded { .. } => {}
        }
    }

    /// A name can say that its value is secret, and a pattern can take in both.
    fn assignment(&mut self, name: &mut String, value: &mut String) {
        let Some(starred) = self.starred(format!("{name}={value}").as_bytes()) else { return };
        let (starred_name, rest) = starred.split_at_checked(name.len()).unwrap_or((&starred, &[]));
        *name = String::from_utf8_lossy(starred_name).into_owned();
        *value = String::from_utf8_lossy(rest.get(1..).unwrap_or_default()).into_owned();
    }

    fn all(&mut self, texts: [&mut String; 2]) {
        texts.into_iter().for_each(|text| self.text(text));
    }

    fn text(&mut self, text: &mut String) {
        if let Some(starred) = self.starred(text.as_bytes()) {
            *text = String::from_utf8_lossy(&starred).into_owned();
        }
    }

    /// The text without its secrets, when it has any.
    fn starred(&mut self, text: &[u8]) -> Option<Vec<u8>> {
        self.bytes = self.bytes.saturating_add(text.len());
        let (secret, _) = look(self.mask, text, None, false);
        let runs = secret.chunk_by(|one, next| one == next).filter(|run| run.first() == Some(&true)).count();
        self.found = self.found.saturating_add(u64::try_from(runs).unwrap_or(u64::MAX));
        let mut starred = text.to_vec();
        for (byte, _) in starred.iter_mut().zip(secret).filter(|(_, is_secret)| *is_secret) {
            star(byte);
        }
        (runs > 0).then_some(starred)
    }
}
