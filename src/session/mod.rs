//! The lifecycle of a session, written once for every protocol.
