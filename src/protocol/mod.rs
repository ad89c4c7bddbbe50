//! Thin adapters: one folder for each protocol.
