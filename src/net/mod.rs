//! Sockets: listeners, limits before login, dialling targets.
