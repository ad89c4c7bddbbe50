//! The event vocabulary: one thing that happened in a session, in the order it happened.
//!
//! The JSON form of these types is what `recordings-schema/events.schema.json` describes and `postern export
//! --format jsonl` prints; the binary form inside a sealed chunk is `FORMAT.md` part 5. Bytes are carried exactly as
//! they crossed the gate. Add a kind at the end of [`Body`], never reuse one.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::{EndReason, Login, PersonId, PersonName, Protocol, SessionId, TargetName, Timestamp};

/// One event, with its time and the channel it belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Event {
    /// Microseconds since the recording began, never decreasing.
    pub at: u64,
    /// The channel inside the session, numbered from 1 in the order of opening; 0 is the session itself.
    pub channel: u32,
    /// What happened.
    #[serde(flatten)]
    pub body: Body,
}

impl Event {
    /// Whether it belongs to a channel, or to the session as a whole.
    #[must_use]
    pub const fn is_of(&self, channel: u32) -> bool {
        self.channel == 0 || self.channel == channel
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Body {
    /// First event: who, where, under which grant.
    SessionStarted(SessionFacts),
    /// A channel or stream was opened.
    ChannelOpened {
        /// `session`, `direct-tcpip`.
        kind: String,
    },
    /// A terminal was asked for.
    Terminal {
        /// Columns.
        columns: u32,
        /// Rows.
        rows: u32,
        /// The `TERM` value.
        term: String,
        /// Terminal modes, as RFC 4254 section 8 numbers them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        modes: Vec<(u8, u32)>,
    },
    /// An environment variable was passed on.
    Environment {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// An interactive shell was started.
    Shell,
    /// A command was started.
    Exec {
        /// The command line, as sent.
        #[serde(with = "base64_bytes")]
        #[schemars(with = "String", extend("contentEncoding" = "base64"))]
        command: Bytes,
    },
    /// A subsystem was started.
    Subsystem {
        /// Its name.
        name: String,
    },
    /// A forward through the target was opened.
    Forward {
        /// Where to.
        host: String,
        /// TCP port.
        port: u16,
        /// Where the client says the connection came from.
        origin: String,
    },
    /// Bytes from the client to the target.
    Input {
        /// The bytes.
        #[serde(with = "base64_bytes")]
        #[schemars(with = "String", extend("contentEncoding" = "base64"))]
        data: Bytes,
    },
    /// Bytes from the target to the client.
    Output {
        /// Standard output or standard error.
        stream: Stream,
        /// The bytes.
        #[serde(with = "base64_bytes")]
        #[schemars(with = "String", extend("contentEncoding" = "base64"))]
        data: Bytes,
    },
    /// The terminal's size changed.
    Resize {
        /// Columns.
        columns: u32,
        /// Rows.
        rows: u32,
    },
    /// A signal was passed on to the target.
    Signal {
        /// Its SSH name, such as `INT`.
        name: String,
    },
    /// One direction was closed by its sender.
    Closed {
        /// Which.
        direction: Direction,
    },
    /// The command or shell exited with a status.
    Exit {
        /// The status.
        status: u32,
    },
    /// The command or shell was ended by a signal.
    ExitSignal {
        /// The signal's SSH name.
        name: String,
        /// Whether a core was dumped.
        core_dumped: bool,
        /// The target's message.
        message: String,
    },
    /// A file operation seen in SFTP or SCP.
    File(FileOperation),
    /// Something was refused.
    Refused {
        /// What was asked for.
        what: String,
        /// Why not.
        why: String,
    },
    /// Policy was asked and answered.
    Decision {
        /// The action, such as `ssh:exec`.
        action: String,
        /// The answer.
        allowed: bool,
        /// Why, in policy's words.
        why: String,
    },
    /// A place to jump to.
    Marker {
        /// Its label.
        label: String,
    },
    /// The channel is over.
    ChannelClosed,
    /// Last event: why the session ended.
    SessionEnded {
        /// The reason.
        reason: EndReason,
    },
}

impl Body {
    /// The bytes that crossed the gate, and on which side they were sent.
    #[must_use]
    pub const fn data(&self) -> Option<(Source, &Bytes)> {
        if let Self::Input { data } = self {
            return Some((Source::Input, data));
        }
        if let Self::Output { stream, data } = self {
            let source = match stream {
                Stream::Stderr => Source::Stderr,
                Stream::Stdout => Source::Stdout,
            };
            return Some((source, data));
        }
        None
    }

    /// The same, to be changed.
    pub(crate) const fn data_mut(&mut self) -> Option<&mut Bytes> {
        if let Self::Input { data } | Self::Output { data, .. } = self { Some(data) } else { None }
    }
}

/// Where the bytes of an event came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The client.
    Input,
    /// The target's standard error.
    Stderr,
    /// The target's standard output.
    Stdout,
}

/// Who, where and under which grant: the first event of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SessionFacts {
    /// The session.
    pub session: SessionId,
    /// The person.
    pub person: PersonId,
    /// What they are called.
    pub person_name: PersonName,
    /// The identity they proved.
    pub identity: String,
    /// The login on the target.
    pub login: Login,
    /// The target.
    pub target: TargetName,
    /// The protocol.
    pub protocol: Protocol,
    /// The grant.
    pub grant: crate::model::GrantId,
    /// The request's reason.
    pub reason: String,
    /// Where the client connected from.
    pub client: String,
    /// Wall time at event time zero, in UTC: from 1970, with as many decimals of a second as are not zero.
    #[serde(deserialize_with = "since_1970")]
    pub started: Timestamp,
}

/// Which of the target's streams output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
}

/// A direction through the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the client to the target.
    Input,
    /// From the target to the client.
    Output,
}

/// One file operation. Paths are as they crossed the wire; content is in the `Input` and `Output` events around it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FileOperation {
    /// What was done.
    pub operation: FileVerb,
    /// The path, lossily decoded for display.
    pub path: String,
    /// The second path, for renames and links.
    pub other_path: Option<String>,
    /// Bytes moved, for reads and writes.
    pub bytes: Option<u64>,
    /// SHA-256 of the content in lower-case hex, when it was moved in order from the start.
    pub sha256: Option<String>,
    /// `ok`, or the target's error.
    pub outcome: String,
}

/// A kind of file operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileVerb {
    /// The client read a file (download).
    Download,
    /// A link was made.
    Link,
    /// A directory was listed.
    List,
    /// A directory was made.
    MakeDirectory,
    /// A file was removed.
    Remove,
    /// A directory was removed.
    RemoveDirectory,
    /// A file was renamed.
    Rename,
    /// Attributes were set.
    SetAttributes,
    /// The client wrote a file (upload).
    Upload,
    /// The target copied one open file to another.
    Copy,
    /// An SFTP extension whose effect is not known was used; its name is the path.
    Extension,
}

fn since_1970<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
    let time = Timestamp::deserialize(from)?;
    if time < Timestamp::UNIX_EPOCH {
        return Err(serde::de::Error::custom("a session cannot have started before 1970"));
    }
    Ok(time)
}

/// Bytes as standard base64 in JSON.
mod base64_bytes {
    use bytes::Bytes;
    use data_encoding::BASE64;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(from)?;
        BASE64.decode(text.as_bytes()).map(Bytes::from).map_err(D::Error::custom)
    }
}
