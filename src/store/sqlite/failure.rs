//! SQLite's errors, sorted into ours: damaged, busy, full, or failed.
//!
//! The difference decides what happens next: a full disk and another's lock are waited out, damage is never written over, and anything else
//! stops writing until restart. Which is which stands here and nowhere else.

use rusqlite::{Error, ErrorCode};

use crate::store::error::BackendError;

/// Sorts SQLite's errors into ours.
pub(super) fn failure(error: &Error) -> BackendError {
    if matches!(
        error,
        Error::InvalidColumnType(..)
            | Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
    ) {
        return BackendError::Damaged(error.to_string());
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            BackendError::Damaged(error.to_string())
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => BackendError::Busy,
        Some(ErrorCode::DiskFull) => BackendError::Full,
        Some(_) | None => BackendError::Failed(error.to_string()),
    }
}
