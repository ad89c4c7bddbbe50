//! Keys wrapped, opened, and wrapped again.
//!
//! Whole recordings with each of these are among the vectors in `recordings-schema/`.

use super::super::header::Parts;
use super::*;
use crate::model::{Secret, SigningKey, Timestamp};

/// A header whose key is wrapped to `recipients`.
fn header(key: &FileKey, recipients: &[Recipient]) -> Header {
    let parts = Parts {
        recording: [1; 16],
        session: "ses_aaaaaaaaaaaaaaaa".parse().unwrap(),
        started: Timestamp::UNIX_EPOCH,
        commitment: commitment(key, &[1; 16]).unwrap(),
        wrapped: wrap(key, recipients).unwrap(),
    };
    Header::sign(parts, &SigningKey::from_seed(&Secret::new([3; 32])).unwrap()).unwrap().0
}

#[test]
fn a_key_opens_for_its_reviewers_only() {
    let (one, two, stranger) =
        (ReviewerIdentity::generate(), ReviewerIdentity::generate(), ReviewerIdentity::generate());
    let key = fresh().unwrap();
    let recipients: Vec<_> = one.recipients().into_iter().chain(two.recipients()).collect();
    let header = header(&key, &recipients);
    for identity in [&one, &two] {
        assert_eq!(unlock(&header, identity).unwrap().expose(), key.expose());
    }
    assert_eq!(unlock(&header, &stranger).unwrap_err().name(), "wrong_key");
    let mut other = header;
    other.recording = [2; 16];
    assert_eq!(unlock(&other, &one).unwrap_err().name(), "commitment_mismatch");
}

#[test]
fn a_key_wrapped_again_opens_for_others_too_and_a_wrong_one_for_nobody() {
    let (old, new, stranger) = (
        ReviewerIdentity::generate(),
        ReviewerIdentity::generate_hybrid().unwrap(),
        ReviewerIdentity::generate(),
    );
    let key = fresh().unwrap();
    let header = header(&key, &old.recipients());
    let again = rewrap(&header, &old, &new.recipients()).unwrap();
    assert!(matches!(
        rewrap(&header, &stranger, &new.recipients()),
        Err(RewrapError::Recording(RecordingError::WrongKey))
    ));
    assert_eq!(unlock(&header, &new).unwrap_err().name(), "wrong_key", "nobody told it");
    for identity in [&old, &new, &stranger] {
        identity.learn(&header, again.clone());
    }
    assert_eq!(unlock(&header, &new).unwrap().expose(), key.expose());
    assert_eq!(unlock(&header, &old).unwrap().expose(), key.expose(), "as before");
    assert_eq!(unlock(&header, &stranger).unwrap_err().name(), "wrong_key");
    // Wrapped on by somebody who could only read it the second way.
    assert!(rewrap(&header, &new, &old.recipients()).is_ok());
    let other = wrap(&fresh().unwrap(), &new.recipients()).unwrap();
    for (wrong, name) in [
        (other, "commitment_mismatch"),
        (again[..again.len() - 1].to_vec(), "rewrap_damaged"),
        (b"nothing".to_vec(), "rewrap_damaged"),
    ] {
        new.learn(&header, wrong.clone());
        old.learn(&header, wrong);
        assert_eq!(unlock(&header, &new).unwrap_err().name(), name);
        assert!(unlock(&header, &old).is_ok(), "who could read it goes on");
    }
}

#[test]
fn a_post_quantum_key_opens_for_its_reviewers_and_is_not_mixed_with_others() {
    let (one, two, classic) = (
        ReviewerIdentity::generate_hybrid().unwrap(),
        ReviewerIdentity::generate_hybrid().unwrap(),
        ReviewerIdentity::generate(),
    );
    let key = fresh().unwrap();
    let mut recipients: Vec<_> = one.recipients().into_iter().chain(two.recipients()).collect();
    let header = header(&key, &recipients);
    let again = ReviewerIdentity::parse(two.to_secret_text().expose_secret()).unwrap();
    for identity in [&one, &two, &again] {
        assert_eq!(unlock(&header, identity).unwrap().expose(), key.expose());
    }
    assert_eq!(unlock(&header, &classic).unwrap_err().name(), "wrong_key");
    assert_eq!(
        recipients[0].to_string().parse::<Recipient>().unwrap().to_string(),
        recipients[0].to_string()
    );
    recipients.extend(classic.recipients());
    assert_eq!(wrap(&key, &recipients).unwrap_err(), KeyError::MixedRecipients);
}

#[test]
fn recipients_that_need_a_plugin_are_refused_by_name() {
    for text in
        ["age1tpm1qg86fn5esp30u9h6jy6zvu9gcsvnac09vn8jzjxt8s3qtlcv5h2x287wm36", "ssh-ed25519 AAAA", "age1"]
    {
        assert_eq!(text.parse::<Recipient>().unwrap_err(), KeyError::NotARecipient(text.to_owned()));
    }
    assert_eq!(wrap(&fresh().unwrap(), &[]).unwrap_err(), KeyError::NoRecipient);
}

#[test]
fn an_identity_file_survives_with_its_comments() {
    let identity = ReviewerIdentity::generate();
    let text = format!("# created: today\n\n{}", identity.to_secret_text().expose_secret());
    let again = ReviewerIdentity::parse(&text).unwrap();
    assert_eq!(again.recipients().len(), 1);
    assert_eq!(again.recipients()[0].to_string(), identity.recipients()[0].to_string());
    assert_eq!(ReviewerIdentity::parse("# nothing\n").unwrap_err(), KeyError::NoIdentity);
    assert_eq!(ReviewerIdentity::parse("\nhello\n").unwrap_err(), KeyError::NotAnIdentity { line: 2 });
}
