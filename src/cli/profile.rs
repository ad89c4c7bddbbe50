//! What `postern login` leaves for later commands: which bastion, how to know it, and the token.
//!
//! One TOML file, mode 0600, at `~/.config/postern/config.toml` unless `--config` or `POSTERN_CONFIG` says otherwise.
//! It is replaced whole, never edited in place. Private keys are never here.

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::exit::{CliError, io_error};
use crate::model::{Secret, Timestamp};

const FILE: &str = "config.toml";

/// A bearer token: wiped when it is let go, and written nowhere but into the profile.
#[derive(Debug)]
pub(crate) struct Token(Secret<String>);

impl Token {
    /// The token itself, for the one header that carries it.
    pub(crate) fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|token| Self(Secret::new(token)))
    }
}

/// One signed-in (or signed-out) bastion.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// `https://HOST:PORT`.
    pub(crate) server: String,
    /// The fingerprint of its certificate.
    pub(crate) fingerprint: String,
    /// Who signed in.
    pub(crate) person: Option<String>,
    /// The `SHA256:…` fingerprint of the SSH key they signed in with; approvals are signed with the same.
    pub(crate) key: Option<String>,
    /// The file that key was in, when it was not in an agent.
    #[serde(default)]
    pub(crate) key_file: Option<PathBuf>,
    /// The bearer token.
    pub(crate) token: Option<Token>,
    /// Until when it is good at most.
    pub(crate) until: Option<Timestamp>,
}

impl Profile {
    /// Reads the profile; `None` when nobody ever logged in.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>, CliError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("read", path)(error)),
        };
        toml::from_str(&text).map(Some).map_err(|error| {
            CliError::failed(format!("{}: {}", path.display(), error.message()))
                .hint("remove the file and run 'postern login' again")
        })
    }

    /// The key file somebody signed in with, while it is still there.
    pub(crate) fn key_file(&self) -> Option<PathBuf> {
        self.key_file.clone().filter(|path| path.exists())
    }

    /// Writes the profile, readable by its owner alone.
    pub(crate) fn save(&self, path: &Path) -> Result<(), CliError> {
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !directory.exists() {
            std::fs::create_dir_all(directory).map_err(io_error("make", directory))?;
            std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))
                .map_err(io_error("protect", directory))?;
        }
        let text = Zeroizing::new(toml::to_string(self).map_err(CliError::failed)?);
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(io_error("write in", directory))?;
        file.write_all(text.as_bytes()).map_err(io_error("write", path))?;
        file.persist(path).map_err(|error| io_error("write", path)(error.error))?;
        Ok(())
    }

    /// The profile's place, unless somebody says otherwise.
    pub(crate) fn default_path() -> PathBuf {
        configuration_directory().join(FILE)
    }
}

/// Where this person's Postern files are.
pub(crate) fn configuration_directory() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CONFIG_HOME").unwrap_or_else(|| home().join(".config")).join("postern")
}

/// The home directory; the current one for somebody without.
pub(crate) fn home() -> PathBuf {
    std::env::var_os("HOME").filter(|home| !home.is_empty()).map_or_else(|| PathBuf::from("."), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_survives_and_is_private() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("new/config.toml");
        assert!(Profile::load(&path).unwrap().is_none());
        let mut profile = Profile {
            server: "https://bastion:8443".into(),
            fingerprint: "SHA256:x".into(),
            person: Some("alice".into()),
            key: None,
            key_file: Some("/home/alice/key".into()),
            token: Some(Token(Secret::new("pst_api_x".into()))),
            until: Some(Timestamp::from_second(1_700_000_000).unwrap()),
        };
        let written = |profile: &Profile| toml::to_string(profile).unwrap();
        profile.save(&path).unwrap();
        assert_eq!(written(&Profile::load(&path).unwrap().unwrap()), written(&profile));
        assert!(written(&profile).contains("pst_api_x") && !format!("{profile:?}").contains("pst_api_x"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        profile.token = None;
        profile.save(&path).unwrap();
        assert_eq!(written(&Profile::load(&path).unwrap().unwrap()), written(&profile));
        std::fs::write(&path, "server = 1").unwrap();
        assert!(Profile::load(&path).unwrap_err().next_step().unwrap().contains("login"));
    }
}
