//! The algorithms offered, to clients and to targets: modern ones only, strict key exchange always (CVE-2023-48795),
//! no compression (a small packet must not become a large one).
//!
//! Windows and buffers stand here too, because they decide how much is under way when a session is cut. Who gets in is
//! not decided here.

use std::borrow::Cow;
use std::time::Duration;

use russh::keys::Algorithm;
use russh::{Limits, MethodKind, MethodSet, Preferred, SshId, cipher, client, compression, kex, mac, server};

const KEX: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];
const CIPHERS: &[cipher::Name] =
    &[cipher::AES_256_GCM, cipher::AES_128_GCM, cipher::CHACHA20_POLY1305, cipher::AES_256_CTR];
const MACS: &[mac::Name] = &[mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM];
const NO_COMPRESSION: &[compression::Name] = &[compression::NONE];

/// A window that OpenSSH's buffers handle well; larger ones make sshd slower.
const WINDOW: u32 = 2 << 20;
/// Towards the target less is in flight, so that Ctrl-C is felt at once.
const TARGET_WINDOW: u32 = 512 << 10;
const PACKET: u32 = 32 << 10;
const TARGET_BUFFER: usize = 16;
/// Longer than any session.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
const LOGIN_ATTEMPTS: usize = 12;

/// What a client sees.
pub(super) fn to_clients() -> server::Config {
    server::Config {
        server_id: SshId::Standard(Cow::Borrowed("SSH-2.0-Postern")),
        methods: MethodSet::from(&[MethodKind::PublicKey, MethodKind::KeyboardInteractive][..]),
        // Keys are not guessed: a pause would only slow clients that offer several.
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        limits: limits(),
        window_size: WINDOW,
        maximum_packet_size: PACKET,
        preferred: preferred(&[]),
        max_auth_attempts: LOGIN_ATTEMPTS,
        // Idle sessions are ended by the session's own limit, login by the login deadline.
        inactivity_timeout: None,
        nodelay: true,
        ..server::Config::default()
    }
}

/// What a target sees.
pub(super) fn to_targets(certificates: &'static [Algorithm]) -> client::Config {
    client::Config {
        client_id: SshId::Standard(Cow::Borrowed("SSH-2.0-Postern")),
        limits: limits(),
        window_size: TARGET_WINDOW,
        maximum_packet_size: PACKET,
        channel_buffer_size: TARGET_BUFFER,
        preferred: preferred(certificates),
        nodelay: true,
        ..client::Config::default()
    }
}

/// New keys after a gigabyte, as by default, but never because of the time alone, as with OpenSSH: whoever has suspended
/// their client must not be asked for a key exchange that they cannot finish in time.
const fn limits() -> Limits {
    Limits { rekey_write_limit: 1 << 30, rekey_read_limit: 1 << 30, rekey_time_limit: NEVER }
}

fn preferred(host_key_certificates: &'static [Algorithm]) -> Preferred {
    Preferred {
        kex: Cow::Borrowed(KEX),
        host_key_certificates: Cow::Borrowed(host_key_certificates),
        cipher: Cow::Borrowed(CIPHERS),
        mac: Cow::Borrowed(MACS),
        compression: Cow::Borrowed(NO_COMPRESSION),
        ..Preferred::DEFAULT
    }
}
