//! How a command ends: done, or an error with words for a person and one of three exit codes.
//!
//! 0 done; 1 refused or failed; 2 wrong usage; 3 the bastion could not be reached. Scripts may rely on them. Every
//! error says what happened and, where there is something to do, what to do next.

use std::fmt::Display;
use std::process::ExitCode;

/// What a command gives back.
pub(crate) type Outcome = Result<ExitCode, CliError>;

/// Why a command did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct CliError {
    fault: Fault,
    message: String,
    hint: Option<String>,
    /// The bastion's own name for its refusal.
    code: Option<String>,
}

/// Whose fault it is, which is what the exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It failed.
    Failed,
    /// The bastion said no.
    Refused,
    /// The bastion could not be reached.
    Unreachable,
    /// The arguments make no sense.
    Usage,
}

impl CliError {
    /// It failed.
    pub(crate) fn failed(message: impl Display) -> Self {
        Self { fault: Fault::Failed, message: message.to_string(), hint: None, code: None }
    }

    /// The bastion does not let this person do it.
    pub(crate) fn refused(message: impl Display) -> Self {
        Self { fault: Fault::Refused, message: message.to_string(), hint: None, code: None }
    }

    /// Whether it is the right that is missing.
    pub(crate) const fn is_refusal(&self) -> bool {
        matches!(self.fault, Fault::Refused)
    }

    /// Whether the bastion was not there to ask.
    pub(crate) const fn is_absence(&self) -> bool {
        matches!(self.fault, Fault::Unreachable)
    }

    /// Arguments that make no sense together.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self { fault: Fault::Usage, message: message.to_string(), hint: None, code: None }
    }

    /// The bastion could not be reached.
    pub(crate) fn unreachable(message: impl Display) -> Self {
        Self { fault: Fault::Unreachable, message: message.to_string(), hint: None, code: None }
    }

    /// Adds the bastion's own name for it.
    pub(crate) fn coded(mut self, code: &str) -> Self {
        self.code = Some(code.to_owned());
        self
    }

    /// Whether this is the bastion's name for it.
    pub(crate) fn has_code(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// Adds what to do next.
    pub(crate) fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Says what it is about, before the message.
    pub(crate) fn about(mut self, what: impl Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// What to do next.
    pub(crate) fn next_step(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The exit code.
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.number())
    }

    const fn number(&self) -> u8 {
        match self.fault {
            Fault::Failed | Fault::Refused => 1,
            Fault::Usage => 2,
            Fault::Unreachable => 3,
        }
    }
}

/// For `map_err`: the file that could not be read or written.
pub(crate) fn io_error(doing: &str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> CliError {
    let words = format!("cannot {doing} {}", path.display());
    move |error| CliError::failed(format!("{words}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_the_code_scripts_rely_on() {
        assert_eq!(CliError::failed("x").number(), 1);
        assert_eq!(CliError::usage("x").number(), 2);
        assert_eq!(CliError::unreachable("x").hint("y").number(), 3);
        assert_eq!(CliError::unreachable("x").hint("y").next_step(), Some("y"));
    }
}
