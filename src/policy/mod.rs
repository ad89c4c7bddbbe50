//! Decides: may this principal do this, now? With reasons. An error is a deny.
