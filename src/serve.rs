//! Composition: opens the store, builds the parts, binds listeners, drains on shutdown.
