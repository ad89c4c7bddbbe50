//! The one entrance to all formats: which format, which channel, what is left out, what went wrong.
//!
//! Each format is a small struct that takes events in order. None of them holds more than the event it writes and, for a
//! transcript, the lines being written; masks hold events back until their lines are whole.

use std::io::{self, Write};
use std::str::FromStr;

use super::asciicast::{Asciicast, Version};
use super::jsonl::JsonLines;
use super::raw::Raw;
use super::text::Transcript;
use crate::playback::mask::{Mask, Masked};
use crate::recording::event::{Body, Event};

/// A format to export to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// asciicast version 2: every player takes it.
    Asciicast,
    /// asciicast version 3, for asciinema 3 and later: has exit statuses.
    AsciicastV3,
    /// Every event as one line of JSON, as `recordings-schema/events.schema.json` describes.
    JsonLines,
    /// The bytes of a channel, exactly as they were. Not safe to show on a terminal.
    Raw,
    /// A transcript to read: a line for each line of output and each thing that happened, with its time.
    Text,
}

/// A name that is no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no export format: use asciicast, asciicast-v3, jsonl, text or raw")]
pub struct FormatError(String);

/// What to export.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Into which format.
    pub format: Format,
    /// Which channel; none means the first that has a terminal or prints (asciicast, raw), or all (JSON lines).
    pub channel: Option<u32>,
    /// Whether typed input is included; for raw, whether it is the input instead of the output.
    pub input: bool,
    /// Whether asciicast output keeps sequences that act on a viewer's terminal. JSON lines and raw always do.
    pub unsanitised: bool,
    /// Whether the copy has to say that secrets were starred out; [`export`] sees to it.
    pub is_masked: bool,
}

impl Settings {
    /// Whether an event is of the export at all. What is not is looked through for no secrets, and counts none.
    fn wants(&self, event: &Event) -> bool {
        // A transcript takes from the keys when a line was entered, and shows them only when asked.
        let takes_input = self.input || self.format == Format::Text;
        self.channel.is_none_or(|channel| event.is_of(channel))
            && (takes_input || !matches!(event.body, Body::Input { .. }))
    }
}

/// What was exported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exported {
    /// Events written.
    pub events: u64,
    /// The channel they came from, when it was one.
    pub channel: Option<u32>,
    /// Sequences and characters that were left out or replaced because they act on terminals.
    pub dropped: u64,
    /// Secrets that were starred out.
    pub masked: u64,
}

/// Why an export stopped.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The recording could not be read to its end; what was written so far is a part.
    #[error("the recording cannot be read any further: {0}")]
    Recording(Box<dyn std::error::Error + Send + Sync>),
    /// The place it was written to failed.
    #[error("writing the export failed: {0}")]
    Write(#[from] io::Error),
    /// The channel asked for never came.
    #[error("the recording has no channel {0} with output: leave --channel away to take the first")]
    NoSuchChannel(u32),
    /// Nothing in the recording fits the format.
    #[error("nothing was printed in this recording: --format jsonl shows what happened instead")]
    NothingPrinted,
}

/// Writes a recording's events in another format, without what `mask` finds.
///
/// # Errors
/// When the recording cannot be read, the format has nothing to write, or writing fails.
pub fn export<E>(
    events: impl IntoIterator<Item = Result<Event, E>>,
    settings: Settings,
    mask: Option<&Mask>,
    to: &mut dyn Write,
) -> Result<Exported, ExportError>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let settings = Settings { is_masked: mask.is_some(), ..settings };
    let events =
        events.into_iter().filter(|event| event.as_ref().map_or(true, |event| settings.wants(event)));
    let Some(mask) = mask else { return write(events, settings, to) };
    let mut masked = Masked::new(events, mask);
    let exported = write(masked.by_ref(), settings, to)?;
    Ok(Exported { masked: masked.found(), ..exported })
}

fn write<E>(
    events: impl IntoIterator<Item = Result<Event, E>>,
    settings: Settings,
    to: &mut dyn Write,
) -> Result<Exported, ExportError>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let mut writer: Box<dyn Encoder> = match settings.format {
        Format::Asciicast => Box::new(Asciicast::new(Version::Two, settings)),
        Format::AsciicastV3 => Box::new(Asciicast::new(Version::Three, settings)),
        Format::JsonLines => Box::new(JsonLines::new(settings)),
        Format::Raw => Box::new(Raw::new(settings)),
        Format::Text => Box::new(Transcript::new(settings)),
    };
    for event in events {
        let event = event.map_err(|error| ExportError::Recording(Box::new(error)))?;
        writer.take(&event, to)?;
    }
    let exported = writer.finish(to)?;
    to.flush()?;
    if exported.events == 0 {
        return Err(settings.channel.map_or(ExportError::NothingPrinted, ExportError::NoSuchChannel));
    }
    Ok(exported)
}

/// What a format is.
pub(super) trait Encoder {
    /// Writes what one event becomes.
    fn take(&mut self, event: &Event, to: &mut dyn Write) -> io::Result<()>;
    /// Writes what the end becomes.
    fn finish(&mut self, to: &mut dyn Write) -> io::Result<Exported>;
}

impl FromStr for Format {
    type Err = FormatError;
    fn from_str(text: &str) -> Result<Self, FormatError> {
        match text {
            "asciicast" | "asciicast-v2" => Ok(Self::Asciicast),
            "asciicast-v3" => Ok(Self::AsciicastV3),
            "jsonl" => Ok(Self::JsonLines),
            "raw" => Ok(Self::Raw),
            "text" => Ok(Self::Text),
            _ => Err(FormatError(text.chars().take(40).collect())),
        }
    }
}
