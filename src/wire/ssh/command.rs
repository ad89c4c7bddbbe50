//! What an exec command line is: a file transfer we can follow, a known tool, or anything else.
//!
//! This is advice for the recording, never a decision: the target's shell has the last word on what a line means, and a
//! line that holds shell syntax is therefore always [`Kind::Other`]. Never here: refusing or rewriting a command.

/// Longest command line looked at; a longer one is [`Kind::Other`].
const LONGEST: usize = 32 * 1024;
/// Most words looked at.
const MOST_WORDS: usize = 512;

/// What a command line is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Git's side of a fetch, push or archive.
    Git {
        /// `git-upload-pack`, `git-receive-pack` or `git-upload-archive`.
        service: String,
        /// The repository.
        repository: String,
    },
    /// Anything else.
    Other,
    /// rsync's server side.
    Rsync {
        /// Whether files come from the target.
        is_download: bool,
    },
    /// The target writes what the client sends (`scp -t`).
    ScpTo(Scp),
    /// The target sends files to the client (`scp -f`).
    ScpFrom(Scp),
    /// An SFTP server started by command.
    SftpServer,
}

/// An scp command line's target side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scp {
    /// Whole directories (`-r`).
    pub is_recursive: bool,
    /// The paths, as the shell would pass them.
    pub paths: Vec<String>,
}

/// Looks at a command line.
#[must_use]
pub fn classify(line: &[u8]) -> Kind {
    let Some(words) = words(line) else { return Kind::Other };
    let Some((program, arguments)) = words.split_first() else { return Kind::Other };
    match program.rsplit('/').next().unwrap_or_default() {
        "scp" => scp(arguments),
        // `-Q` and `-h` print something and serve nothing.
        "sftp-server" if !arguments.iter().any(|a| a.starts_with("-Q") || a == "-h") => Kind::SftpServer,
        "rsync" if arguments.first().is_some_and(|first| first == "--server") => {
            Kind::Rsync { is_download: arguments.iter().any(|a| a == "--sender") }
        }
        "git" => match arguments.split_first() {
            Some((service, rest)) => git(&format!("git-{service}"), rest),
            None => Kind::Other,
        },
        service => git(service, arguments),
    }
}

fn git(service: &str, arguments: &[String]) -> Kind {
    let is_service = matches!(service, "git-receive-pack" | "git-upload-archive" | "git-upload-pack");
    match arguments.iter().rfind(|argument| !argument.starts_with('-')) {
        Some(repository) if is_service => {
            Kind::Git { service: service.to_owned(), repository: repository.clone() }
        }
        Some(_) | None => Kind::Other,
    }
}

/// Flags may be joined (`-rpt`) and end at `--`.
fn scp(arguments: &[String]) -> Kind {
    let mut flags = String::new();
    let mut paths = Vec::new();
    let mut are_flags = true;
    for argument in arguments {
        match argument.strip_prefix('-') {
            Some("-") if are_flags => are_flags = false,
            Some(given) if are_flags && !given.is_empty() => flags.push_str(given),
            Some(_) | None => {
                are_flags = false;
                paths.push(argument.clone());
            }
        }
    }
    let scp = Scp { is_recursive: flags.contains('r'), paths };
    let is_known = flags.chars().all(|flag| "1234CdfprqtvT".contains(flag));
    match (is_known && !scp.paths.is_empty(), flags.contains('t'), flags.contains('f')) {
        (true, true, false) => Kind::ScpTo(scp),
        (true, false, true) => Kind::ScpFrom(scp),
        (true, true, true) | (true, false, false) | (false, _, _) => Kind::Other,
    }
}

/// The line's words when it is a plain command: quotes and backslashes as a POSIX shell reads them, and nothing that a
/// shell would act on.
fn words(line: &[u8]) -> Option<Vec<String>> {
    let text = std::str::from_utf8(line).ok().filter(|text| text.len() <= LONGEST)?;
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\t' => words.extend(word.take()),
            '\'' => loop {
                match rest.next()? {
                    '\'' => {
                        word.get_or_insert_default();
                        break;
                    }
                    c => word.get_or_insert_default().push(c),
                }
            },
            '"' => loop {
                match rest.next()? {
                    '"' => {
                        word.get_or_insert_default();
                        break;
                    }
                    '\\' => word.get_or_insert_default().push(rest.next().filter(|c| "\\\"".contains(*c))?),
                    '$' | '`' => return None,
                    c => word.get_or_insert_default().push(c),
                }
            },
            '\\' => word.get_or_insert_default().push(rest.next().filter(|c| *c != '\n')?),
            c if c.is_control() || ";|&`$<>(){}*?[]!#~".contains(c) => return None,
            c => word.get_or_insert_default().push(c),
        }
        if words.len() > MOST_WORDS {
            return None;
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scp(is_recursive: bool, path: &str) -> Scp {
        Scp { is_recursive, paths: vec![path.to_owned()] }
    }

    #[test]
    fn tools_are_recognised_as_their_clients_send_them() {
        let git =
            |service: &str| Kind::Git { service: service.to_owned(), repository: "/srv/a b.git".to_owned() };
        for (line, kind) in [
            ("scp -t /srv/", Kind::ScpTo(scp(false, "/srv/"))),
            ("scp -v -r -p -d -t -- '/srv/a b'", Kind::ScpTo(scp(true, "/srv/a b"))),
            ("scp -rpf a\\ b", Kind::ScpFrom(scp(true, "a b"))),
            ("/usr/bin/scp -f -- -x", Kind::ScpFrom(scp(false, "-x"))),
            ("/usr/lib/openssh/sftp-server -l INFO", Kind::SftpServer),
            ("rsync --server --sender -vlogDtpre.iLsfxCIvu . /srv", Kind::Rsync { is_download: true }),
            ("rsync --server -vlogDtpre.iLsfxCIvu . /srv", Kind::Rsync { is_download: false }),
            ("git-upload-pack '/srv/a b.git'", git("git-upload-pack")),
            ("git receive-pack '/srv/a b.git'", git("git-receive-pack")),
        ] {
            assert_eq!(classify(line.as_bytes()), kind, "{line}");
        }
    }

    #[test]
    fn what_a_shell_would_act_on_is_other() {
        for line in [
            "",
            "ls",
            "scp",
            "scp -t",
            "scp -t -f x",
            "scp -S sh -t x",
            "scp -t x; id",
            "scp -t $(id)",
            "scp -t \"$HOME\"",
            "scp -t ~/x",
            "scp -t x\nid",
            "scp -t 'x",
            "git-upload-pack",
            "git gc",
            "rsync x y",
            "scp -f *",
            "scp -t x # y",
            "sftp-server -Q requests",
        ] {
            assert_eq!(classify(line.as_bytes()), Kind::Other, "{line:?}");
        }
        assert_eq!(classify(b"scp -t \xff"), Kind::Other);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_and_only_text_is_a_tool(tail in proptest::collection::vec(any::<u8>(), 0..200)) {
            let line = [b"scp -t ", &tail[..]].concat();
            prop_assert!(std::str::from_utf8(&line).is_ok() || classify(&line) == Kind::Other);
        }

        #[test]
        fn a_quoted_path_survives(path in "[^'\\x00-\\x1f\\x7f-\\x9f]{1,40}") {
            let kind = classify(format!("scp -t -- '{path}'").as_bytes());
            prop_assert_eq!(kind, Kind::ScpTo(scp(false, &path)));
        }
    }
}
