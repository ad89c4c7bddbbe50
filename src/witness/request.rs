//! What a ledger submits: the size it believes the witness knows, a proof from there, and its new signed head.
//!
//! The form is C2SP `tlog-witness` part "add-checkpoint". Hostile bytes end here as `None`.

use crate::ledger::TreeHash;

/// The most hashes a proof may have.
const MOST_HASHES: usize = 63;

/// A submission, with its note not yet looked into.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Submission<'a> {
    pub(super) old: u64,
    pub(super) proof: Vec<TreeHash>,
    pub(super) note: &'a str,
}

impl<'a> Submission<'a> {
    /// Reads one; `None` when it is not in the form.
    pub(super) fn parse(body: &'a str) -> Option<Self> {
        let (head, note) = body.split_once("\n\n")?;
        let mut lines = head.split('\n');
        let old = number(lines.next()?.strip_prefix("old ")?)?;
        let proof = lines.map(TreeHash::from_base64).collect::<Option<Vec<_>>>()?;
        (proof.len() <= MOST_HASHES).then_some(Self { old, proof, note })
    }
}

/// A decimal number without leading zeroes.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_form_is_the_documents() {
        let hash = TreeHash::leaf(b"x");
        let body = format!("old 20852014\n{0}\n{0}\n\nlog\n1\nx\n\n— log abc\n", hash.to_base64());
        let read = Submission::parse(&body).unwrap();
        assert_eq!((read.old, read.proof), (20_852_014, vec![hash, hash]));
        assert_eq!(read.note, "log\n1\nx\n\n— log abc\n");
        assert_eq!(Submission::parse("old 0\n\nlog").unwrap().proof, []);
        let long = format!("old 0\n{}\nlog", format!("{}\n", hash.to_base64()).repeat(64));
        for body in [
            "",
            "old 0",
            "old 01\n\nx",
            "old -1\n\nx",
            "new 0\n\nx",
            "old 0\nAAAA\n\nx",
            "old  0\n\nx",
            &long,
        ] {
            assert_eq!(Submission::parse(body), None, "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(body in "(old )?[0-9]{0,4}\n?[A-Za-z0-9+/=\n]{0,60}") {
            Submission::parse(&body);
        }
    }
}
