//! `vestibule quickstart`: from an empty folder to a protected application in one command.
//!
//! Writes everything a gateway needs into the current folder, the configuration last, so that an
//! interrupted first run is simply begun again. A second run finds all of it and serves the same.

use std::fs;
use std::io::Write;
use std::net::{Ipv6Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use clap::Args;
use http::Uri;

use super::place::wait;
use super::report::{Failure, say};
use super::run;
use crate::clock::Clock;
use crate::config::Config;
use crate::identity::UserId;
use crate::login::Login;
use crate::login::accounts::{Accounts, Profile};
use crate::login::password::{Hasher, HashingConfig};
use crate::secret::Secret;
use crate::session::keyring::KeyRing;

/// Write a configuration, keys, a localhost certificate and a first user here, then serve.
#[derive(Debug, Args)]
pub(super) struct Quickstart {
    /// Your application, as in `http://127.0.0.1:5000`; without one a built-in page answers
    backend_url: Option<String>,
}

impl Quickstart {
    pub(super) fn run(self) -> Result<String, Failure> {
        let file = Path::new("vestibule.toml");
        let backend = self.backend_url.as_deref().map(Backend::parse).transpose()?;
        if file.exists() {
            find_again(file, backend.as_ref())?;
        } else {
            let password = set_up(file, backend.as_ref())?;
            introduce(backend.as_ref(), password.as_ref());
        }
        run::serve(file)
    }
}

/// The address of an application, as it stands in `servers`.
#[derive(Debug)]
struct Backend(String);

impl Backend {
    fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| {
            Failure::usage(format!(
                "`{text}` {why}; write your application's address as in `http://127.0.0.1:5000`"
            ))
        };
        let uri: Uri = text.parse().map_err(|_| wrong("is not an address"))?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong("does not begin with `http://`"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong("has a path"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("names no host"))?;
        Ok(Self(format!("http://{authority}")))
    }
}

/// A second run serves what the first one wrote; another backend is not taken over silently.
fn find_again(file: &Path, backend: Option<&Backend>) -> Result<(), Failure> {
    let config = Config::load(file).map_err(Failure::usage)?;
    let Some(Backend(url)) = backend else { return Ok(()) };
    let with_port = format!("{url}:80");
    let servers = config.upstreams.iter().flat_map(|upstream| &upstream.servers);
    let mut servers = servers.map(|server| server.address.to_string());
    let is_known = servers.any(|server| server == *url || server == with_port);
    if is_known {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "`{}` is here already and names another application than `{url}`; change `servers` there, or begin in an \
         empty folder",
        file.display()
    )))
}

/// Writes all files; returns the first user's password if the user is new.
fn set_up(file: &Path, backend: Option<&Backend>) -> Result<Option<Secret<String>>, Failure> {
    write_keys(Path::new("keys.toml"))?;
    write_certificate(Path::new("localhost.pem"), Path::new("localhost.key"))?;
    let password = add_first_user(Path::new("users.db"))?;
    write_whole(file, configuration(backend).as_bytes(), 0o644)?;
    Ok(password)
}

fn write_keys(path: &Path) -> Result<(), Failure> {
    if path.exists() {
        return Ok(());
    }
    KeyRing::generate(Clock::system().now()).save(path).map_err(|error| cannot_write(path, &error))
}

fn write_certificate(certificate: &Path, key: &Path) -> Result<(), Failure> {
    if certificate.exists() && key.exists() {
        return Ok(());
    }
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let signed = rcgen::generate_simple_self_signed(names).map_err(Failure::failed)?;
    write_whole(key, signed.signing_key.serialize_pem().as_bytes(), 0o600)?;
    write_whole(certificate, signed.cert.pem().as_bytes(), 0o644)
}

fn add_first_user(database: &Path) -> Result<Option<Secret<String>>, Failure> {
    let user = UserId::try_from(FIRST_USER).map_err(Failure::failed)?;
    wait(async {
        let accounts = Accounts::open(database).await.map_err(Failure::failed)?;
        if accounts.find(&user).await.map_err(Failure::failed)?.is_some() {
            return Ok(None);
        }
        let password = Login::generate_password().map_err(Failure::failed)?;
        let hasher = Hasher::start(HashingConfig::default()).map_err(Failure::failed)?;
        let hash = hasher.hash(password.clone()).await.map_err(Failure::failed)?;
        let now = Clock::system().now();
        accounts.add(&user, hash, Profile::default(), now).await.map_err(Failure::failed)?;
        accounts.close().await;
        Ok(Some(password))
    })
}

fn configuration(backend: Option<&Backend>) -> String {
    // Some machines have no IPv6; listening there would keep the gateway from starting.
    let https = match TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
        Ok(_) => r#"["127.0.0.1:8443", "[::1]:8443"]"#,
        Err(_) => r#"["127.0.0.1:8443"]"#,
    };
    let (upstream, name) = match backend {
        Some(Backend(url)) => (
            format!(
                "\n[[upstream]]                  # your application\nname = \"app\"\nservers = [\"{url}\"]\n"
            ),
            "app",
        ),
        None => (String::new(), "builtin"),
    };
    format!(
        "# https://localhost:8443 asks for a login, then passes requests on.\n\
         [server]\n\
         https = {https}\n\
         state_dir = \".\"               # sessions.db, users.db, audit.log, admin.sock\n\
         \n\
         [[tls.certificate]]           # made for localhost; browsers ask before they trust it\n\
         cert = \"localhost.pem\"\n\
         key = \"localhost.key\"\n\
         {upstream}\n\
         [[route]]                     # everything needs a login; who: `vestibule users`\n\
         upstream = \"{name}\"\n\
         access = \"login\"\n"
    )
}

fn introduce(backend: Option<&Backend>, password: Option<&Secret<String>>) {
    let what = backend.map_or("a built-in page that shows what a backend gets", |Backend(url)| url);
    let user = match password {
        Some(password) => format!(
            "Sign in as  {FIRST_USER}\npassword    {}\n            (shown only this once; `vestibule users passwd {FIRST_USER}` sets another)\n",
            password.expose()
        ),
        None => format!("Sign in as  {FIRST_USER}, with the password you have.\n"),
    };
    say(&format!(
        "\nhttps://localhost:8443  protects  {what}\n\n{user}\nThe settings are in vestibule.toml.\n\n"
    ));
}

/// Writes a file whole or not at all: beside its place first, then renamed.
fn write_whole(path: &Path, content: &[u8], mode: u32) -> Result<(), Failure> {
    let beside = path.with_extension("new");
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&beside)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path));
    written.map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot write `{}` in this folder: {error}", path.display()))
}

/// The name of the account that a first run makes.
const FIRST_USER: &str = "admin";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_has_at_most_twenty_lines_and_is_in_order() {
        for backend in [None, Some(Backend("http://127.0.0.1:5000".to_owned()))] {
            let text = configuration(backend.as_ref());
            assert!(text.lines().count() <= 20, "{text}");
            Config::parse(&text, Path::new("vestibule.toml")).unwrap();
        }
    }

    #[test]
    fn a_backend_is_an_http_address_without_a_path() {
        assert_eq!(Backend::parse("http://127.0.0.1:5000/").unwrap().0, "http://127.0.0.1:5000");
        for wrong in ["127.0.0.1:5000", "https://a", "http://a/b", "http://", "not an address"] {
            assert!(Backend::parse(wrong).is_err(), "{wrong}");
        }
    }
}
