//! Every parser of bytes from a peer: pure, bounded and panic-free. No sockets, no clock.
