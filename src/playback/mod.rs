//! From events to what a person sees: screens, timelines, exports, search.
//!
//! A recording holds what a hostile target chose to send. Say `web-1` prints a title report request: the operator's
//! terminal answered it on the day, and a reviewer's terminal must not, so every byte on its way to a reviewer goes
//! through [`sanitise`] first. [`screen`] then turns it into a grid of cells, [`player`] moves a clock over it,
//! [`timeline`] lists what happened, [`search`] finds text, and [`mod@export`] writes other people's formats.
//!
//! Nothing here opens a file, reads a clock or draws on a terminal: events come in as an iterator, time as an
//! argument. Read [`crate::recording::event`] first, then [`sanitise`].

mod ahead;
mod cells;
mod effort;
pub mod export;
pub mod lines;
pub mod mask;
pub mod player;
pub mod sanitise;
pub mod screen;
pub mod search;
mod sieve;
pub mod timeline;
pub mod track;
mod utf8;

pub use export::{ExportError, Exported, Format, export};
pub use mask::{Mask, PatternError};
pub use player::Player;
pub use sanitise::{Sanitiser, escape_text};
pub use screen::Screen;
pub use search::{Found, Search};
pub use timeline::Timeline;
pub use track::{Replay, Track, TrackError};
