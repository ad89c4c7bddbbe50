//! Mints one credential per session and takes it back.
