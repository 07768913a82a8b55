//! The only room that knows TOML: a file in, the settings of every room out.
//!
//! [`Config::load`] reads the file and reports all its problems at once, each with its line, its
//! dotted key, what is wrong and what would be right. One file here reads one section of the
//! configuration. Files that the configuration names (certificates, keys, databases) are not
//! opened here; the rooms that use them do that.
//!
//! Invariants: a key that no code reads is an error; a [`Config`] exists only if nothing was wrong.

mod address;
mod admin;
pub mod change;
mod handling;
mod headers;
mod hours;
mod identity;
mod keys;
mod kind;
mod log;
mod login;
mod path;
pub mod people;
mod portal;
pub mod problem;
pub mod quantity;
mod read;
mod reader;
mod report_only;
mod route;
mod secret_text;
mod server;
mod session;
mod syntax;
mod tls;
mod upstream;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use self::problem::{Problem, Problems};
use self::read::Section;
use self::reader::{Errand, Reader};

/// The settings of every room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file all this comes from.
    pub file: PathBuf,
    /// The folder of what the gateway itself writes; a change needs a restart.
    pub state_dir: PathBuf,
    /// Listeners, workers, limits, TLS.
    pub server: crate::server::Config,
    /// The file of the key ring.
    pub keys: PathBuf,
    /// Sessions and their cookie.
    pub session: crate::session::Config,
    /// Accounts and the throttle before them.
    pub login: crate::login::Config,
    /// The backends.
    pub upstreams: Vec<crate::proxy::UpstreamConfig>,
    /// Routes and headers.
    pub gateway: crate::gateway::Config,
    /// The gateway's own pages.
    pub portal: crate::portal::Config,
    /// The administrator's socket and listener.
    pub admin: crate::admin::Config,
    /// Logs and the audit trail.
    pub telemetry: crate::telemetry::Config,
}

impl Config {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, in the order of the file.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
        Self::parse(&text, path)
    }

    /// Reads `text` as the content of the file `path`, which need not exist.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, Problems> {
        let reader = Reader::new(path, text, Errand::Load);
        let (table, errors) = DeTable::parse_recoverable(text);
        reader.syntax_errors(text, &errors);
        let readable = errors.is_empty().then(|| table.get_ref());
        let config = readable.map(|table| reader.root(table, |root| Self::read(root, path)));
        reader.outcome(config)
    }

    fn read(root: &mut Section<'_>, path: &Path) -> Self {
        let folder = path.parent().unwrap_or(Path::new(""));
        let server = server::read(root, folder);
        let tls = tls::read(root, folder);
        let keys = keys::read(root, folder);
        let session = session::read(root, folder, &server.state_dir);
        let login = login::read(root, folder, &server.state_dir, &session);
        let upstreams = upstream::read(root, folder);
        let portal = portal::read(root, folder);
        let routes = route::read(root, &upstreams, &portal.path);
        let admin = admin::read(root, &server);
        let gateway = crate::gateway::Config {
            routes,
            identity: identity::read(root),
            headers: headers::read(root),
            trusted_proxies: server.trusted_proxies.clone(),
            forwarded_by: server.forwarded_by,
            administrators: admin.groups.clone(),
        };
        Self {
            file: path.to_owned(),
            admin,
            telemetry: log::read(root, &server.state_dir),
            state_dir: server.state_dir.clone(),
            server: server.into_config(tls),
            keys,
            session,
            login,
            upstreams: upstreams.sound,
            gateway,
            portal,
        }
    }
}

/// Every key that this version reads, as in `server.drain` or `route[].path`.
///
/// The list comes from the reading code itself, so it cannot name a key too many or too few.
#[must_use]
pub fn known_keys() -> Vec<String> {
    let nothing = DeTable::new();
    let file = Path::new("");
    let reader = Reader::new(file, "", Errand::ListKeys);
    reader.root(&nothing, |root| Config::read(root, file));
    reader.into_known()
}

fn unreadable(path: &Path, error: &io::Error) -> Problems {
    let (message, help) = match error.kind() {
        io::ErrorKind::NotFound => {
            let help = "name the file with `-c FILE`, or let `vestibule quickstart` write one";
            ("there is no such file".to_owned(), Some(help.to_owned()))
        }
        io::ErrorKind::InvalidData => ("the file is not UTF-8 text".to_owned(), None),
        _ => (format!("the file cannot be read: {error}"), None),
    };
    Problem { file: path.to_owned(), place: None, key: String::new(), message, help }.into()
}

#[cfg(test)]
mod tests;
