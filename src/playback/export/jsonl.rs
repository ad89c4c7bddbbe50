//! Every event as one line of JSON, bytes in base64: the whole recording for programs.
//!
//! The form is that of `recordings-schema/events.schema.json`. Typed input is left out unless asked for. A
//! masked copy says so in a marker after its first event.

use std::io::{self, Write};

use super::write::{Encoder, Exported, Settings};
use crate::recording::event::{Body, Event};

/// Writes all events, or those of one channel and of the session itself.
pub(super) struct JsonLines {
    settings: Settings,
    exported: Exported,
}

impl JsonLines {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, exported: Exported { channel: settings.channel, ..Exported::default() } }
    }
}

impl Encoder for JsonLines {
    fn take(&mut self, event: &Event, to: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *to, event)?;
        if self.settings.is_masked && self.exported.events == 0 {
            to.write_all(b"\n")?;
            let label = "exported copy, not evidence, secrets masked".to_owned();
            let marker = Event { at: event.at, channel: 0, body: Body::Marker { label } };
            serde_json::to_writer(&mut *to, &marker)?;
        }
        self.exported.events = self.exported.events.saturating_add(1);
        to.write_all(b"\n")
    }

    fn finish(&mut self, _: &mut dyn Write) -> io::Result<Exported> {
        Ok(self.exported)
    }
}
