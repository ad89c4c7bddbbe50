//! What can go wrong with a store, by what to do about it: again later, never again for this one, or for none.
//!
//! A store's own words are kept for whoever runs the bastion; credentials are never among them.

/// Why a store did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The store lets the bastion do nothing: trying again is for when somebody has changed something.
    #[error("{0}")]
    Barred(String),
    /// There is an object of that name already.
    #[error("there is an object of that name already")]
    Exists,
    /// No such object, upload or bucket.
    #[error("not there: {0}")]
    Missing(String),
    /// This one cannot be done, now or later.
    #[error("{0}")]
    Refused(String),
    /// It may well work later.
    #[error("{0}")]
    Transient(String),
}

impl Fault {
    /// What failed on this machine: a full disk or a file that cannot be read may be better later.
    pub(super) fn local(doing: &str, error: &std::io::Error) -> Self {
        Self::Transient(format!("cannot {doing}: {error}"))
    }

    /// What a store's answer means, by its HTTP status and the code in its text.
    pub(super) fn answered(status: u16, words: &str) -> Self {
        let says = |codes: &[&str]| codes.iter().any(|code| words.contains(code));
        let words = words.to_owned();
        let credentials =
            |words: &str| Self::Barred(format!("it refuses the bastion's credentials: {words}"));
        match status {
            404 => Self::Missing(words),
            // A part that is gone: the upload begins anew.
            400 if says(&["InvalidPart"]) => Self::Missing(words),
            // The connection was slow, broke off, or changed a bit.
            400 if says(&["RequestTimeout", "IncompleteBody", "BadDigest"]) => Self::Transient(words),
            400 if says(&["ExpiredToken", "InvalidToken"]) => credentials(&words),
            401 | 403 => credentials(&words),
            // 409 is what some stores say when two write at once.
            409 | 412 => Self::Exists,
            408 | 425 | 429 => Self::Transient(words),
            // It cannot do what is asked, whichever object it is.
            501 => Self::Barred(words),
            400..=499 => Self::Refused(words),
            _ => Self::Transient(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_better_later_is_told_from_what_never_is() {
        for (status, words, expected) in [
            (503, "SlowDown", Fault::Transient("SlowDown".to_owned())),
            (500, "x", Fault::Transient("x".to_owned())),
            (429, "x", Fault::Transient("x".to_owned())),
            (404, "NoSuchUpload", Fault::Missing("NoSuchUpload".to_owned())),
            (400, "<Code>InvalidPart</Code>", Fault::Missing("<Code>InvalidPart</Code>".to_owned())),
            (400, "InvalidArgument", Fault::Refused("InvalidArgument".to_owned())),
            (400, "RequestTimeout: x", Fault::Transient("RequestTimeout: x".to_owned())),
            (400, "IncompleteBody: x", Fault::Transient("IncompleteBody: x".to_owned())),
            (400, "BadDigest: x", Fault::Transient("BadDigest: x".to_owned())),
            (501, "NotImplemented: x", Fault::Barred("NotImplemented: x".to_owned())),
            (412, "", Fault::Exists),
            (409, "", Fault::Exists),
        ] {
            assert_eq!(Fault::answered(status, words), expected, "{status}");
        }
        assert!(
            matches!(Fault::answered(403, "AccessDenied"), Fault::Barred(words) if words.contains("AccessDenied"))
        );
        assert!(matches!(Fault::answered(401, ""), Fault::Barred(_)));
        for code in ["ExpiredToken", "InvalidToken"] {
            assert!(matches!(Fault::answered(400, code), Fault::Barred(words) if words.contains(code)));
        }
    }
}
