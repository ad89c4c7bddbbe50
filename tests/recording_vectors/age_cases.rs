//! Cases of the wrapped key: what an age file may and may not look like, and what an identity makes of it.
//!
//! All but those that are broken on purpose carry the MAC and the header signature they should, so that nothing else is
//! wrong with them. The files themselves are made in `age.rs`.

use super::age::{AgeFile, anothers, ours, spelled, stanza};
use super::cases::{Cases, close};
use super::writer::*;
use data_encoding::BASE64_NOPAD;

pub(crate) fn add(cases: &mut Cases) {
    sound(cases);
    stanzas(cases);
    files(cases);
}

fn with(wrapped: &[u8]) -> Vec<u8> {
    let header = HeaderFields::new(wrapped).bytes();
    close(Writer::new(header, NODE_SEED).chunk(&content(0, &[started(SESSION)])))
}

fn of(stanzas: &[String]) -> Vec<u8> {
    with(&AgeFile::new(stanzas.to_vec()).bytes())
}

fn spell(text: impl Fn(&[u8]) -> String) -> impl Fn(&[u8]) -> Vec<String> {
    move |share| vec![text(share)]
}

fn sound(cases: &mut Cases) {
    let grease = || stanza("not-ours-grease", &["a", "b"], &[1; 100]);
    cases.both("age-one-stanza", "finished", of(&[ours()]));
    cases.both("age-second-stanza", "finished", of(&[anothers(), ours()]));
    cases.both("age-other-type-before", "finished", of(&[grease(), ours()]));
    cases.both("age-other-type-after", "finished", of(&[ours(), grease()]));
    cases.both("age-full-last-line", "finished", of(&[format!("-> old\n{}\n", "A".repeat(64)), ours()]));
    cases.both("age-no-body", "finished", of(&["-> old\n".to_owned(), ours()]));
    cases.both("age-malformed-after-the-one", "finished", of(&[ours(), stanza("X25519", &[], &[0; 32])]));
    cases.both("age-most-reviewers", "finished", of(&[vec![anothers(); 255], vec![ours()]].concat()));
    let header = |longer: usize| {
        let filled =
            |fill: usize| AgeFile::new(vec![format!("-> fill {}\n\n", "x".repeat(fill)), ours()]).bytes();
        with(&filled(65_360 + longer + 1 - filled(1).len()))
    };
    cases.both("header-longest", "finished", header(0));
    cases.both("header-too-long", "header_damaged", header(1));
}

fn stanzas(cases: &mut Cases) {
    let damaged = "header_damaged";
    let encoded = |share: &[u8]| BASE64_NOPAD.encode(share);
    cases.keyed("age-no-argument", damaged, of(&[spelled(|_| Vec::new(), 32)]));
    cases.keyed(
        "age-two-arguments",
        damaged,
        of(&[spelled(|share| vec![encoded(share), "x".to_owned()], 32)]),
    );
    cases.keyed("age-share-too-short", damaged, of(&[spelled(spell(|share| encoded(&share[..31])), 32)]));
    cases.keyed(
        "age-share-too-long",
        damaged,
        of(&[spelled(spell(|share| encoded(&[share, &[0]].concat())), 32)]),
    );
    cases.keyed("age-share-padded", damaged, of(&[spelled(spell(|share| encoded(share) + "="), 32)]));
    let unused = |share: &[u8]| {
        let mut text = encoded(share);
        let last = text.pop().unwrap();
        // The last character of 32 bytes has two unused bits.
        text + &char::from(u8::try_from(last).unwrap() + 1).to_string()
    };
    cases.keyed("age-share-unused-bits", damaged, of(&[spelled(spell(unused), 32)]));
    cases.keyed("age-share-zero", damaged, of(&[spelled(spell(|_| encoded(&[0; 32])), 32)]));
    cases.keyed("age-body-too-short", damaged, of(&[spelled(spell(encoded), 31)]));
    cases.keyed("age-malformed-before-the-one", damaged, of(&[stanza("X25519", &[], &[0; 32]), ours()]));
    cases.keyed("age-strangers-stanza", "wrong_key", of(&[anothers()]));
    cases.keyed("age-share-of-another", "wrong_key", of(&[spelled(spell(|_| encoded(&[9; 32])), 32)]));
    cases.keyed("age-type-lower-case", "wrong_key", of(&[ours().replace("X25519", "x25519")]));
    cases.keyed("age-scrypt-alone", "wrong_key", of(&[stanza("scrypt", &["AAAA", "18"], &[1; 32])]));
    cases.keyed("age-scrypt-beside", damaged, of(&[ours(), stanza("scrypt", &["AAAA", "18"], &[1; 32])]));
}

fn files(cases: &mut Cases) {
    let damaged = "header_damaged";
    let made = |change: &dyn Fn(&mut AgeFile)| {
        let mut file = AgeFile::new(vec![ours()]);
        change(&mut file);
        file.bytes()
    };
    let good = made(&|_| {});
    let text = |from: &str, to: &str| {
        let at = good.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        [&good[..at], to.as_bytes(), &good[at + from.len()..]].concat()
    };
    cases.keyed("age-mac-wrong", damaged, with(&made(&|file| file.mac_bit = 1)));
    cases.keyed("age-mac-cut", damaged, with(&text("--- ", "---")));
    cases.keyed("age-version-2", damaged, with(&made(&|file| file.version = "v2")));
    cases.keyed("age-no-stanza", damaged, with(&made(&|file| file.stanzas.clear())));
    cases.keyed("age-crlf", damaged, with(&made(&|file| file.version = "v1\r")));
    cases.keyed("age-two-spaces", damaged, of(&[ours().replace("X25519 ", "X25519  ")]));
    cases.keyed("age-long-line", damaged, of(&[ours(), format!("-> old\n{}\n", "A".repeat(65))]));
    cases.keyed("age-line-of-68", damaged, of(&[ours(), format!("-> old\n{}\n", "A".repeat(68))]));
    cases.keyed("age-payload-not-the-last", damaged, with(&made(&|file| file.is_last = 0)));
    cases.keyed("age-payload-empty", damaged, with(&made(&|file| file.plain.clear())));
    cases.keyed("age-payload-trailing-byte", damaged, with(&[good.as_slice(), &[0]].concat()));
    cases.keyed("age-payload-missing", damaged, with(&good[..good.len() - 48]));
    cases.keyed("age-nonce-cut", damaged, with(&good[..good.len() - 49]));
    cases.keyed("age-other-file-key", "commitment_mismatch", with(&made(&|file| file.plain = vec![1; 32])));
    let armored = format!(
        "-----BEGIN AGE ENCRYPTED FILE-----\n{}\n-----END AGE ENCRYPTED FILE-----\n",
        data_encoding::BASE64.encode(&good)
    );
    cases.keyed("age-armored", damaged, with(armored.as_bytes()));
}
