//! Values that wipe themselves and cannot be printed.
//!
//! What a secret cannot do is tested by the programs in `tests/compile_fail/`. Never here: encryption, or key formats.

use std::fmt;

use zeroize::Zeroize;

/// A secret with one owner: no `Clone`, no contents in `Debug`, wiped when dropped.
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes ownership of a secret.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Looks at the secret; the borrow is the only way to it.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
