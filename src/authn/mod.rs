//! From evidence to a principal. One file per method.
