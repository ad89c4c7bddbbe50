//! The bytes of one channel, exactly as they crossed the gate, for tools that want them.
//!
//! Nothing is decoded and nothing is left out, so this must never be shown on a terminal: the caller refuses that.

use std::io::{self, Write};

use super::write::{Encoder, Exported, Settings};
use crate::recording::event::{Body, Event};

/// Writes one direction of one channel.
pub(super) struct Raw {
    settings: Settings,
    exported: Exported,
}

impl Raw {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, exported: Exported { channel: settings.channel, ..Exported::default() } }
    }
}

impl Encoder for Raw {
    fn take(&mut self, event: &Event, to: &mut dyn Write) -> io::Result<()> {
        let wanted = (&event.body, self.settings.input);
        let ((Body::Input { data }, true) | (Body::Output { data, .. }, false)) = wanted else {
            return Ok(());
        };
        if *self.exported.channel.get_or_insert(event.channel) == event.channel {
            to.write_all(data)?;
            self.exported.events = self.exported.events.saturating_add(1);
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut dyn Write) -> io::Result<Exported> {
        Ok(self.exported)
    }
}
