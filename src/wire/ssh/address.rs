//! The SSH user name people type: `LOGIN@TARGET`, the address of a right.
//!
//! `ssh deploy@web-1@bastion` reaches us as user `deploy@web-1`, because OpenSSH splits at the last `@`; `deploy+web-1`
//! is the same for tools that cannot send an `@`. Never here: whether such a login or target exists, nor who is asking;
//! names get their strict shape in the model.

/// Longest user name looked at: two names and a separator.
pub const LONGEST_USER: usize = 127;

/// A user name, split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address<'a> {
    /// The account on the target, or a bare name.
    pub login: &'a str,
    /// The target; absent when the user name is a bare name, as on the way to a jump.
    pub target: Option<&'a str>,
}

/// A user name that is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// One side of the separator is empty, or there is nothing at all.
    #[error("a name is missing: use LOGIN@TARGET, as in deploy@web-1")]
    Empty,
    /// More than one separator.
    #[error("more than one '@' or '+': use LOGIN@TARGET, as in deploy@web-1")]
    Separators,
    /// Longer than any two names.
    #[error("the user name is longer than {LONGEST_USER} bytes: use LOGIN@TARGET, as in deploy@web-1")]
    TooLong,
}

/// Splits an SSH user name.
///
/// # Errors
/// When it is empty, too long, or has more than one separator.
pub fn parse(user: &str) -> Result<Address<'_>, AddressError> {
    const SEPARATORS: [char; 2] = ['@', '+'];
    if user.len() > LONGEST_USER {
        return Err(AddressError::TooLong);
    }
    let (login, target) =
        user.split_once(SEPARATORS).map_or((user, None), |(login, target)| (login, Some(target)));
    if login.is_empty() || target.is_some_and(str::is_empty) {
        return Err(AddressError::Empty);
    }
    if target.is_some_and(|target| target.contains(SEPARATORS)) {
        return Err(AddressError::Separators);
    }
    Ok(Address { login, target })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_separators_mean_the_same() {
        let web = Address { login: "deploy", target: Some("web-1") };
        assert_eq!(parse("deploy@web-1"), Ok(web));
        assert_eq!(parse("deploy+web-1"), Ok(web));
        assert_eq!(parse("olga"), Ok(Address { login: "olga", target: None }));
    }

    #[test]
    fn what_is_no_address_says_why() {
        for (user, error) in [
            ("", AddressError::Empty),
            ("@web-1", AddressError::Empty),
            ("deploy@", AddressError::Empty),
            ("a@b@c", AddressError::Separators),
            ("a+b@c", AddressError::Separators),
            ("a@@b", AddressError::Separators),
        ] {
            assert_eq!(parse(user), Err(error), "{user:?}");
        }
        assert_eq!(parse(&"a".repeat(LONGEST_USER + 1)), Err(AddressError::TooLong));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_invented(user in "[a-c@+ä\\x00]{0,12}") {
            if let Ok(address) = parse(&user) {
                let whole = match address.target {
                    None => address.login.to_owned(),
                    Some(target) => format!("{}@{target}", address.login),
                };
                prop_assert_eq!(whole, user.replace('+', "@"));
            }
        }
    }
}
