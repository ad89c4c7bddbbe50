//! The configuration file, parsed once into values that cannot be wrong.
