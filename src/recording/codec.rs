//! Events to and from the bytes inside a chunk. `FORMAT.md` part 5; no encryption, no compression, no I/O.
//!
//! Bulk data is carried raw; every other event is the JSON of its body. Decoding shares the chunk's bytes with the
//! events, so a chunk is copied once.

use bytes::Bytes;
use serde_json::Value;

use super::event::{Body, Event, Source, Stream};
use super::frame::MAX_CONTENT;
use super::parse::{Fields, put_varint};
use super::seal::{SealError, Sealer};

const JSON: u8 = 1;
const INPUT: u8 = 2;
const STDOUT: u8 = 3;
const STDERR: u8 = 4;

/// The longest data of one event; longer data becomes several events.
pub(super) const EVENT_DATA: usize = 256 << 10;
/// The most bytes of events put into one chunk, unless a single one is longer: that much data, and what frames it.
const CHUNK_CONTENT: usize = EVENT_DATA + 4096;
/// About how many bytes the JSON of an event takes, to begin with a buffer of about the right size.
const JSON_EVENT: usize = 256;
/// The same for what stands before an event's data.
const FRAMING: usize = 32;

/// Writes the events of one chunk behind whatever `out` already holds.
pub(super) struct Encoder {
    last: Option<u64>,
}

impl Encoder {
    pub(super) const fn new() -> Self {
        Self { last: None }
    }

    pub(super) fn put(
        &mut self,
        out: &mut Vec<u8>,
        at: u64,
        channel: u32,
        body: &Body,
    ) -> Result<(), serde_json::Error> {
        let json;
        let (kind, payload): (u8, &[u8]) = match bulk(body) {
            Some(raw) => raw,
            None => {
                json = serde_json::to_vec(body)?;
                (JSON, &json)
            }
        };
        if self.last.is_none() {
            put_varint(out, at);
        }
        out.push(kind);
        put_varint(out, at.saturating_sub(self.last.unwrap_or(at)));
        put_varint(out, u64::from(channel));
        put_varint(out, payload.len() as u64);
        out.extend_from_slice(payload);
        self.last = Some(at);
        Ok(())
    }
}

/// The contents of as few chunks as take all events, in buffers that [`Sealer::chunk`](super::seal::Sealer::chunk)
/// seals.
///
/// # Errors
/// When one event alone is longer than a chunk may be: nothing of the call is sealed then.
pub(super) fn contents(at: u64, events: &[(u32, Body)]) -> Result<Vec<Vec<u8>>, SealError> {
    let length = |(_, body): &(u32, Body)| FRAMING + body.data().map_or(JSON_EVENT, |(_, data)| data.len());
    let expected = events.iter().map(length).sum::<usize>().min(CHUNK_CONTENT + FRAMING);
    let mut done = Vec::with_capacity(1);
    let (mut buffer, mut encoder) = (Sealer::buffer(expected), Encoder::new());
    let empty = buffer.len();
    for (channel, body) in events {
        let before = buffer.len();
        encoder.put(&mut buffer, at, *channel, body).map_err(|_| SealError::TooLong)?;
        if before > empty && buffer.len() - empty > CHUNK_CONTENT {
            buffer.truncate(before);
            done.push(std::mem::replace(&mut buffer, Sealer::buffer(expected)));
            encoder = Encoder::new();
            encoder.put(&mut buffer, at, *channel, body).map_err(|_| SealError::TooLong)?;
        }
        if buffer.len() - empty > MAX_CONTENT {
            return Err(SealError::TooLong);
        }
    }
    if !events.is_empty() {
        done.push(buffer);
    }
    Ok(done)
}

/// The time of a chunk's first event, when it has one.
pub(super) fn begins(content: &[u8]) -> Option<u64> {
    Fields::new(content).varint()
}

/// Reads a whole chunk, or says what of it is malformed.
pub(super) fn decode(content: &Bytes) -> Result<Vec<Event>, &'static str> {
    let mut fields = Fields::new(content);
    let mut at = fields.varint().ok_or("no base time")?;
    let mut events = Vec::new();
    while events.is_empty() || !fields.is_empty() {
        let kind = fields.u8().ok_or("a chunk without events")?;
        let delta = fields.varint().ok_or("an event's time")?;
        if events.is_empty() && delta != 0 {
            return Err("the first event is not at the base time");
        }
        at = at.checked_add(delta).ok_or("an event's time")?;
        let channel = fields.varint().and_then(|n| u32::try_from(n).ok());
        let channel = channel.ok_or("an event's channel")?;
        let length = fields.varint().and_then(|n| usize::try_from(n).ok());
        let payload = length.and_then(|n| fields.take(n)).ok_or("an event's length")?;
        events.push(Event { at, channel, body: body(kind, payload, content)? });
    }
    Ok(events)
}

/// Bulk data and the kind it is written as.
fn bulk(body: &Body) -> Option<(u8, &[u8])> {
    let (source, data) = body.data()?;
    let kind = match source {
        Source::Input => INPUT,
        Source::Stderr => STDERR,
        Source::Stdout => STDOUT,
    };
    Some((kind, data))
}

fn body(kind: u8, payload: &[u8], content: &Bytes) -> Result<Body, &'static str> {
    match kind {
        JSON => {
            let body: Body = serde_json::from_slice(payload).map_err(|_| "an event's JSON")?;
            if body.data().is_some() {
                return Err("bulk data in JSON");
            }
            if !is_plain(&body, payload) {
                return Err("an event's JSON in another form than the schema's");
            }
            Ok(body)
        }
        INPUT => Ok(Body::Input { data: content.slice_ref(payload) }),
        STDOUT => Ok(Body::Output { stream: Stream::Stdout, data: content.slice_ref(payload) }),
        STDERR => Ok(Body::Output { stream: Stream::Stderr, data: content.slice_ref(payload) }),
        _ => Err("an event's kind"),
    }
}

/// Whether the JSON says what was read from it in the schema's form. serde also takes a list for an object, an object
/// for a name, and many spellings of one time, which other readers of the format would refuse.
fn is_plain(body: &Body, payload: &[u8]) -> bool {
    // What the recorder writes; every other form takes reading it once more.
    if serde_json::to_vec(body).is_ok_and(|written| written == payload) {
        return true;
    }
    let (Ok(Value::Object(read)), Ok(Value::Object(said))) =
        (serde_json::to_value(body), serde_json::from_slice(payload))
    else {
        return false;
    };
    read.iter().all(|(name, value)| said.get(name).map_or_else(|| value.is_null(), |said| said == value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bodies() -> impl Strategy<Value = Body> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from);
        prop_oneof![
            bytes.clone().prop_map(|data| Body::Input { data }),
            bytes.clone().prop_map(|data| Body::Output { stream: Stream::Stdout, data }),
            bytes.clone().prop_map(|data| Body::Output { stream: Stream::Stderr, data }),
            bytes.prop_map(|command| Body::Exec { command }),
            any::<String>().prop_map(|label| Body::Marker { label }),
            Just(Body::Shell),
        ]
    }

    proptest! {
        #[test]
        fn events_survive(bodies in proptest::collection::vec((0..1_000_u64, any::<u32>(), bodies()), 1..20), start: u32) {
            let (mut out, mut encoder, mut at) = (Vec::new(), Encoder::new(), u64::from(start));
            let mut events = Vec::new();
            for (delta, channel, body) in bodies {
                at += delta;
                encoder.put(&mut out, at, channel, &body).unwrap();
                events.push(Event { at, channel, body });
            }
            prop_assert_eq!(decode(&Bytes::from(out)).unwrap(), events);
        }

        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(events) = decode(&Bytes::from(bytes)) {
                prop_assert!(!events.is_empty() && events.is_sorted_by_key(|event| event.at));
            }
        }
    }

    #[test]
    fn an_event_has_one_form_in_json() {
        for good in [
            r#" {"type":"shell"} "#,
            r#"{"ignored":[1],"type":"shell","ignored":2}"#,
            r#"{"type":"file","operation":"list","path":"/","outcome":"ok"}"#,
            r#"{"type":"file","operation":"list","path":"/","outcome":"ok","bytes":null}"#,
        ] {
            assert!(body(JSON, good.as_bytes(), &Bytes::new()).is_ok(), "{good}");
        }
        for bad in [
            r#"["shell"]"#,
            r#"["exit",3]"#,
            r#"{"type":"exit","status":3.0}"#,
            r#"{"type":"exit","status":-0}"#,
            r#"{"type":"exit","status":1,"status":1}"#,
            r#"{"type":"closed","direction":{"input":null}}"#,
            r#"{"type":"exec","command":"bHM"}"#,
        ] {
            assert!(body(JSON, bad.as_bytes(), &Bytes::new()).is_err(), "{bad}");
        }
    }

    #[test]
    fn bulk_data_may_not_hide_in_json() {
        let mut out = vec![0, JSON, 0, 1];
        let json = serde_json::to_vec(&Body::Input { data: Bytes::from_static(b"x") }).unwrap();
        put_varint(&mut out, json.len() as u64);
        out.extend(json);
        assert_eq!(decode(&Bytes::from(out)), Err("bulk data in JSON"));
    }
}
