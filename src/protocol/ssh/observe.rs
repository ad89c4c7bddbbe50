//! What the bytes of a channel mean: file operations out of SFTP and SCP. Bytes in, events out; pure.
//!
//! Following a transfer never changes what is forwarded, and a stream that cannot be followed is still recorded byte for
//! byte: it gets a marker that says so, once. SFTP that cannot be followed (a malformed message, an answer to nothing, a
//! handle nobody gave, more open files than are remembered) ends the session before the piece that shows it goes on: files
//! must not move unnamed. SCP that cannot is only marked: it is a command, and another one could copy the same bytes.

use data_encoding::HEXLOWER;

use crate::model::EndReason;
use crate::recording::event::{Body, FileOperation, FileVerb};
use crate::wire::ssh::command::{self, Kind};
use crate::wire::ssh::file::{Operation, Outcome, Verb};
use crate::wire::ssh::scp::{ScpSession, Way};
use crate::wire::ssh::sftp::SftpError;
use crate::wire::ssh::sftp_session::SftpSession;

/// Longest path or message in an event, in characters.
const SHOWN: usize = 4096;

/// Follows one channel, once it is known what runs in it.
#[derive(Debug, Default)]
pub(super) struct Observer {
    follows: Follows,
    violated: Option<EndReason>,
}

#[derive(Debug, Default)]
enum Follows {
    #[default]
    Nothing,
    Scp(Box<ScpSession>),
    Sftp(Box<SftpSession>),
}

impl Observer {
    /// A command is about to run.
    pub(super) fn exec(&mut self, line: &[u8]) {
        let scp = |way, paths: Vec<String>| {
            let path = paths.into_iter().next().unwrap_or_default();
            Follows::Scp(Box::new(ScpSession::new(way, path.into_bytes())))
        };
        self.follows = match command::classify(line) {
            Kind::ScpFrom(says) => scp(Way::Download, says.paths),
            Kind::ScpTo(says) => scp(Way::Upload, says.paths),
            Kind::SftpServer => Follows::Sftp(Box::default()),
            Kind::Git { .. } | Kind::Other | Kind::Rsync { .. } => Follows::Nothing,
        };
    }

    /// The SFTP subsystem is about to run.
    pub(super) fn sftp(&mut self) {
        self.follows = Follows::Sftp(Box::default());
    }

    /// Bytes from the client.
    pub(super) fn input(&mut self, bytes: &[u8]) -> Vec<Body> {
        let mut found = Vec::new();
        let followed = match &mut self.follows {
            Follows::Nothing => Ok(()),
            Follows::Scp(scp) => scp.client(bytes, &mut found).map_err(|error| error.to_string()),
            Follows::Sftp(sftp) => {
                let followed = sftp.client(bytes);
                self.violated = followed.err().map(|_| EndReason::ProtocolViolated);
                followed.map_err(|error| error.to_string())
            }
        };
        self.events(found, followed)
    }

    /// Why the session has to end, when the protocol spoken on this channel was broken, by whoever broke it.
    pub(super) const fn violated(&self) -> Option<EndReason> {
        self.violated
    }

    /// Bytes from the target's standard output.
    pub(super) fn output(&mut self, bytes: &[u8]) -> Vec<Body> {
        let mut found = Vec::new();
        let followed = match &mut self.follows {
            Follows::Nothing => Ok(()),
            Follows::Scp(scp) => scp.target(bytes, &mut found).map_err(|error| error.to_string()),
            Follows::Sftp(sftp) => {
                let followed = sftp.target(bytes, &mut found);
                self.violated = followed.err().map(|error| match error {
                    SftpError::UnknownHandle => EndReason::ProtocolViolated,
                    SftpError::Closed
                    | SftpError::HandleInUse
                    | SftpError::IdInUse
                    | SftpError::Length(_)
                    | SftpError::Malformed(_)
                    | SftpError::TooManyHandles(_)
                    | SftpError::TooManyRequests(_)
                    | SftpError::Unasked
                    | SftpError::UnknownType(_)
                    | SftpError::Version(_) => EndReason::TargetViolated,
                });
                followed.map_err(|error| error.to_string())
            }
        };
        self.events(found, followed)
    }

    /// The channel is over: what had not ended, ended here.
    pub(super) fn finish(&mut self) -> Vec<Body> {
        let found = match std::mem::take(&mut self.follows) {
            Follows::Nothing => Vec::new(),
            Follows::Scp(scp) => scp.finish(),
            Follows::Sftp(sftp) => sftp.finish(),
        };
        found.into_iter().map(event).collect()
    }

    fn events(&mut self, found: Vec<Operation>, followed: Result<(), String>) -> Vec<Body> {
        let lost = followed.err().map(|error| {
            self.follows = Follows::Nothing;
            Body::Marker { label: format!("file transfer not followed any further: {error}") }
        });
        found.into_iter().map(event).chain(lost).collect()
    }
}

fn event(operation: Operation) -> Body {
    Body::File(FileOperation {
        operation: verb(operation.verb),
        path: shown(&operation.path),
        other_path: operation.other_path.as_deref().map(shown),
        bytes: operation.bytes,
        sha256: operation.sha256.map(|digest| HEXLOWER.encode(&digest)),
        outcome: match operation.outcome {
            Outcome::Done => "ok".to_owned(),
            Outcome::Failed(words) => words.chars().take(SHOWN).collect(),
            Outcome::Interrupted => "interrupted".to_owned(),
        },
    })
}

const fn verb(verb: Verb) -> FileVerb {
    match verb {
        Verb::Copy => FileVerb::Copy,
        Verb::Download => FileVerb::Download,
        Verb::Extension => FileVerb::Extension,
        Verb::HardLink | Verb::SymbolicLink => FileVerb::Link,
        Verb::List => FileVerb::List,
        Verb::MakeDirectory => FileVerb::MakeDirectory,
        Verb::Remove => FileVerb::Remove,
        Verb::RemoveDirectory => FileVerb::RemoveDirectory,
        Verb::Rename => FileVerb::Rename,
        Verb::SetAttributes => FileVerb::SetAttributes,
        Verb::Upload => FileVerb::Upload,
    }
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_scp_upload_becomes_one_file_event_with_its_hash() {
        let mut observer = Observer::default();
        observer.exec(b"scp -t /srv/upload");
        assert!(observer.output(b"\0").is_empty());
        assert!(observer.input(b"C0644 5 hello.txt\n").is_empty());
        assert!(observer.output(b"\0").is_empty());
        let mut events = observer.input(b"hello\0");
        events.extend(observer.output(b"\0"));
        events.extend(observer.finish());
        let [Body::File(file)] = &events[..] else { panic!("one file event, not {events:?}") };
        assert_eq!((file.operation, file.bytes, file.outcome.as_str()), (FileVerb::Upload, Some(5), "ok"));
        assert!(file.path.ends_with("hello.txt"));
        let hash = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert_eq!(file.sha256.as_deref(), Some(hash));
    }

    #[test]
    fn a_stream_that_cannot_be_followed_says_so_once() {
        let mut observer = Observer::default();
        observer.sftp();
        let first = observer.input(&[0xff; 64]);
        assert!(matches!(&first[..], [Body::Marker { .. }]));
        assert_eq!(observer.violated(), Some(EndReason::ProtocolViolated));
        assert!(observer.input(&[0xff; 64]).is_empty());
    }

    #[test]
    fn whoever_makes_sftp_impossible_to_follow_is_named() {
        let mut observer = Observer::default();
        observer.sftp();
        let (init, version) = ([0, 0, 0, 5, 1, 0, 0, 0, 3], [0, 0, 0, 5, 2, 0, 0, 0, 3]);
        observer.input(&init);
        observer.output(&version);
        assert_eq!(observer.violated(), None);
        let first = observer.output(b"\0\0\0\x11\x65\0\0\0\x09\0\0\0\0\0\0\0\0\0\0\0\0");
        assert!(matches!(&first[..], [Body::Marker { .. }]), "an answer to nothing");
        assert_eq!(observer.violated(), Some(EndReason::TargetViolated));
        let read = b"\0\0\0\x16\x05\0\0\0\x01\0\0\0\x01h\0\0\0\0\0\0\0\0\0\0\x10\0";
        let mut observer = Observer::default();
        observer.sftp();
        observer.input(read);
        assert_eq!(observer.violated(), None, "an answer that says no harms nobody");
        observer.output(b"\0\0\0\x0a\x67\0\0\0\x01\0\0\0\x01x");
        assert_eq!(observer.violated(), Some(EndReason::ProtocolViolated), "content of a handle nobody gave");
    }
}
