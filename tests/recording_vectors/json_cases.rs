//! Cases of an event's JSON: what the schema and the words beside it allow, and what programs that read JSON differ in.
//!
//! The tables hold a name and the JSON; each becomes a recording in which that is the one event in question. What is sound
//! here is as important as what is not: two readers must also agree on what they let pass, and on what it says.

use super::cases::{Cases, body, close};
use super::writer::*;

pub(crate) fn add(cases: &mut Cases, keys: &Keys) {
    let sound = |cases: &mut Cases, name, json: &[u8]| cases.both(name, "finished", chunk(keys, json));
    for (name, json) in SOUND {
        sound(cases, name, json.as_bytes());
    }
    let deep =
        |levels: usize| format!(r#"{{"type":"shell","x":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    sound(cases, "json-deepest", deep(126).as_bytes());
    cases.both("json-every-type", "finished", close(body(keys).chunk(&content(30, &every_type()))));
    for (name, json) in MALFORMED {
        cases.keyed(name, "event_malformed", chunk(keys, json.as_bytes()));
    }
    let malformed =
        |cases: &mut Cases, name, json: &[u8]| cases.keyed(name, "event_malformed", chunk(keys, json));
    malformed(cases, "json-too-deep", deep(127).as_bytes());
    malformed(cases, "json-byte-order-mark", b"\xef\xbb\xbf{\"type\":\"shell\"}");
    malformed(cases, "json-not-utf-8", b"{\"type\":\"marker\",\"label\":\"\xff\"}");
    malformed(cases, "json-utf-8-too-long", b"{\"type\":\"marker\",\"label\":\"\xc0\x80\"}");
    malformed(cases, "json-utf-16", b"{\0\"\0t\0y\0p\0e\0\"\0");
    for (name, from, to) in FACTS {
        let text = String::from_utf8(facts()).unwrap();
        assert!(text.contains(from), "{name}");
        let json = text.replacen(from, to, 1).into_bytes();
        let outcome = if name.starts_with("facts-sound") { "finished" } else { "event_malformed" };
        let writer = super::cases::begin(keys).chunk(&content(0, &[event(1, 0, 0, &json)]));
        cases.differ(name, "finished", outcome, close(writer));
    }
}

fn chunk(keys: &Keys, json: &[u8]) -> Vec<u8> {
    close(body(keys).chunk(&content(30, &[event(1, 0, 1, json)])))
}

/// The JSON of a `session_started`.
fn facts() -> Vec<u8> {
    // Behind the kind, the delta and the channel stands a length of two bytes.
    started(SESSION)[5..].to_vec()
}

const SOUND: [(&str, &str); 12] = [
    ("json-white-space", " \t\r\n{ \"type\" : \"shell\" } \n"),
    ("json-unknown-member", r#"{"type":"shell","colour":{"is":["not",null,1.5e3,true]}}"#),
    ("json-unknown-member-twice", r#"{"type":"shell","colour":1,"colour":2}"#),
    ("json-at-and-channel", r#"{"at":7,"type":"shell","channel":"x"}"#),
    ("json-type-last", r#"{"status":3,"type":"exit"}"#),
    ("json-number-largest", r#"{"type":"exit","status":4294967295}"#),
    ("json-escapes", r#"{"type":"marker","label":"\u0000\u00e4\ud83d\ude00\/\"\\\b\f\n\r\t"}"#),
    ("json-escaped-names", r#"{"t\u0079pe":"exit","st\u0061tus":1}"#),
    (
        "json-null-for-optional",
        r#"{"type":"file","operation":"list","path":"/","other_path":null,"bytes":null,"sha256":null,"outcome":"ok"}"#,
    ),
    ("json-optional-absent", r#"{"type":"file","operation":"list","path":"/","outcome":"ok"}"#),
    (
        "json-modes",
        r#"{"type":"terminal","columns":80,"rows":24,"term":"xterm","modes":[[1,3],[255,4294967295]]}"#,
    ),
    ("json-modes-empty", r#"{"type":"terminal","columns":80,"rows":24,"term":"","modes":[]}"#),
];

const MALFORMED: [(&str, &str); 50] = [
    ("json-empty", ""),
    ("json-null", "null"),
    ("json-text", r#""shell""#),
    ("json-list", r#"["shell"]"#),
    ("json-list-of-members", r#"["exit",{"status":3}]"#),
    ("json-two-objects", r#"{"type":"shell"}{"type":"shell"}"#),
    ("json-comment", r#"{"type":"shell"/* */}"#),
    ("json-trailing-comma", r#"{"type":"shell",}"#),
    ("json-single-quotes", "{'type':'shell'}"),
    ("json-nan", r#"{"type":"shell","x":NaN}"#),
    ("json-infinity", r#"{"type":"shell","x":-Infinity}"#),
    ("json-number-out-of-range", r#"{"type":"shell","x":1e999}"#),
    ("json-number-leading-zero", r#"{"type":"exit","status":03}"#),
    ("json-number-plus", r#"{"type":"exit","status":+3}"#),
    ("json-number-hexadecimal", r#"{"type":"exit","status":0x3}"#),
    ("json-lone-surrogate", r#"{"type":"marker","label":"\ud800"}"#),
    ("json-lone-surrogate-ignored", r#"{"type":"shell","x":"\udc00"}"#),
    ("json-surrogates-reversed", r#"{"type":"marker","label":"\ude00\ud83d"}"#),
    ("json-control-character", "{\"type\":\"marker\",\"label\":\"a\nb\"}"),
    ("json-escape-unknown", r#"{"type":"marker","label":"\x41"}"#),
    ("json-type-missing", r#"{"status":3}"#),
    ("json-type-number", r#"{"type":7}"#),
    ("json-type-upper-case", r#"{"type":"Shell"}"#),
    ("json-type-twice", r#"{"type":"shell","type":"shell"}"#),
    ("json-holds-output", r#"{"type":"output","stream":"stdout","data":"eA=="}"#),
    ("json-member-missing", r#"{"type":"exit"}"#),
    ("json-member-twice", r#"{"type":"exit","status":3,"status":3}"#),
    ("json-member-null", r#"{"type":"exit","status":null}"#),
    ("json-number-fraction", r#"{"type":"exit","status":3.0}"#),
    ("json-number-exponent", r#"{"type":"exit","status":3e0}"#),
    ("json-number-negative", r#"{"type":"exit","status":-3}"#),
    ("json-number-negative-zero", r#"{"type":"exit","status":-0}"#),
    ("json-number-above-32-bits", r#"{"type":"exit","status":4294967296}"#),
    ("json-number-as-text", r#"{"type":"exit","status":"3"}"#),
    ("json-number-as-truth", r#"{"type":"exit","status":true}"#),
    ("json-port-above-16-bits", r#"{"type":"forward","host":"h","port":65536,"origin":"o"}"#),
    (
        "json-bytes-above-64-bits",
        r#"{"type":"file","operation":"list","path":"/","bytes":18446744073709551616,"outcome":"ok"}"#,
    ),
    ("json-truth-as-number", r#"{"type":"decision","action":"a","allowed":1,"why":"w"}"#),
    ("json-text-as-number", r#"{"type":"marker","label":5}"#),
    ("json-word-unknown", r#"{"type":"closed","direction":"sideways"}"#),
    ("json-word-as-object", r#"{"type":"closed","direction":{"input":null}}"#),
    ("json-word-as-list", r#"{"type":"closed","direction":["input"]}"#),
    ("json-base64-unpadded", r#"{"type":"exec","command":"bHM"}"#),
    ("json-base64-unused-bits", r#"{"type":"exec","command":"bHN="}"#),
    ("json-base64-of-urls", r#"{"type":"exec","command":"-_-_"}"#),
    ("json-base64-with-a-line", r#"{"type":"exec","command":"bHM=\n"}"#),
    ("json-mode-above-8-bits", r#"{"type":"terminal","columns":80,"rows":24,"term":"x","modes":[[256,0]]}"#),
    ("json-mode-of-one", r#"{"type":"terminal","columns":80,"rows":24,"term":"x","modes":[[1]]}"#),
    ("json-mode-of-three", r#"{"type":"terminal","columns":80,"rows":24,"term":"x","modes":[[1,2,3]]}"#),
    ("json-modes-null", r#"{"type":"terminal","columns":80,"rows":24,"term":"x","modes":null}"#),
];

/// Changes of the facts: name, what is replaced, and by what.
const FACTS: [(&str, &str, &str); 25] = [
    ("facts-sound-decimals", "22:13:20Z", "22:13:20.123456789Z"),
    ("facts-sound-one-decimal", "22:13:20Z", "22:13:20.5Z"),
    ("facts-sound-first-time", "2023-11-14T22:13:20Z", "1970-01-01T00:00:00Z"),
    ("facts-sound-last-time", "2023-11-14T22:13:20Z", "9999-12-30T22:00:00.999999999Z"),
    ("facts-sound-leap-day", "2023-11-14T", "2024-02-29T"),
    ("facts-time-before-1970", "2023-11-14T22:13:20Z", "1969-12-31T23:59:59.999999999Z"),
    ("facts-time-too-late", "2023-11-14T22:13:20Z", "9999-12-30T22:00:01Z"),
    ("facts-time-offset", "22:13:20Z", "22:13:20+00:00"),
    ("facts-time-zone", "22:13:20Z", "22:13:20Z[UTC]"),
    ("facts-time-lower-case", "14T22:13:20Z", "14t22:13:20z"),
    ("facts-time-space", "14T22", "14 22"),
    ("facts-time-without-seconds", "22:13:20Z", "22:13Z"),
    ("facts-time-trailing-zero", "22:13:20Z", "22:13:20.50Z"),
    ("facts-time-ten-decimals", "22:13:20Z", "22:13:20.1234567891Z"),
    ("facts-time-comma", "22:13:20Z", "22:13:20,5Z"),
    ("facts-time-leap-second", "22:13:20Z", "23:59:60Z"),
    ("facts-time-no-such-day", "2023-11-14T", "2023-02-29T"),
    ("facts-time-no-such-hour", "22:13:20Z", "24:00:00Z"),
    ("facts-time-six-digit-year", "2023-11-14T", "+002023-11-14T"),
    ("facts-person-malformed", "per_abcdefgh234567ab", "per_abcdefgh234567a"),
    ("facts-grant-of-another-kind", "grn_", "per_"),
    ("facts-login-upper-case", "\"deploy\"", "\"Deploy\""),
    ("facts-target-empty", "\"web-1\"", "\"\""),
    ("facts-name-with-a-line", "\"olga\"", "\"olga\\n\""),
    ("facts-protocol-unknown", "\"ssh\"", "\"gopher\""),
];

/// One event of every type that is JSON and neither first nor last.
fn every_type() -> Vec<Vec<u8>> {
    [
        r#"{"type":"channel_opened","kind":"session"}"#,
        r#"{"type":"terminal","columns":80,"rows":24,"term":"xterm"}"#,
        r#"{"type":"environment","name":"LANG","value":"C"}"#,
        r#"{"type":"shell"}"#,
        r#"{"type":"exec","command":"AP8="}"#,
        r#"{"type":"subsystem","name":"sftp"}"#,
        r#"{"type":"forward","host":"::1","port":65535,"origin":"192.0.2.1:1"}"#,
        r#"{"type":"resize","columns":1,"rows":0}"#,
        r#"{"type":"signal","name":"INT"}"#,
        r#"{"type":"closed","direction":"output"}"#,
        r#"{"type":"exit","status":0}"#,
        r#"{"type":"exit_signal","name":"KILL","core_dumped":true,"message":"ä"}"#,
        r#"{"type":"file","operation":"upload","path":"/a","bytes":18446744073709551615,"sha256":"00","outcome":"ok"}"#,
        r#"{"type":"refused","what":"x11","why":"never"}"#,
        r#"{"type":"decision","action":"ssh:exec","allowed":false,"why":"policy"}"#,
        r#"{"type":"marker","label":"here"}"#,
        r#"{"type":"channel_closed"}"#,
    ]
    .iter()
    .map(|json| event(1, 0, 3, json.as_bytes()))
    .collect()
}
