//! Writes a gateway's configuration: small, with free ports and everything in its folder.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::folder::Folder;
use super::people::Person;

/// A configuration in the making.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    settings: BTreeMap<String, BTreeMap<String, String>>,
    certificates: Vec<String>,
    upstreams: Vec<String>,
    routes: Vec<String>,
    pub(crate) people: Vec<Person>,
}

impl Setup {
    /// Nothing but listeners on free ports and the files of the folder.
    pub(crate) fn new() -> Self {
        Self::default()
            .set("server.https", "[\"127.0.0.1:0\"]")
            .set("server.workers", "2")
            .set("admin.listen", "\"127.0.0.1:0\"")
            .set("log.access", "false")
            .certificate("gateway")
    }

    /// One backend for everything; `/` needs a login, `/public` none, `/optional` takes both, `/admin` needs
    /// the group `admin`, `/closed` lets nobody pass. Alice (group `staff`) and Ada (group `admin`) may sign in.
    pub(crate) fn in_front_of(backend: &str) -> Self {
        Self::new()
            .upstream("app", backend)
            .route("path = '/'; upstream = 'app'; access = 'login'")
            .route("path = '/public'; upstream = 'app'; access = 'public'")
            .route("path = '/optional'; upstream = 'app'; access = 'optional'")
            .route("path = '/admin'; upstream = 'app'; access = 'login'; groups = ['admin']")
            .route("path = '/closed'; access = 'deny'")
            .person(Person::named("alice").in_group("staff"))
            .person(Person::named("ada").in_group("admin"))
    }

    /// Sets one value, as in `.set("session.idle", "'5m'")`.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        let (section, key) = key.rsplit_once('.').expect("a dotted key");
        self.settings.entry(section.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        self
    }

    /// Keeps sessions in the store of this URL, or in the folder's own if it is empty.
    pub(crate) fn store(self, url: &str) -> Self {
        if url.is_empty() { self } else { self.set("session.store", &format!("'{url}'")) }
    }

    /// Adds the certificate `stem.pem` with the key `stem.key`.
    pub(crate) fn certificate(mut self, stem: &str) -> Self {
        self.certificates.push(stem.to_owned());
        self
    }

    pub(crate) fn upstream(self, name: &str, url: &str) -> Self {
        self.upstream_with(name, &format!("servers = ['{url}']"))
    }

    /// An upstream from its lines, separated by `;`.
    pub(crate) fn upstream_with(mut self, name: &str, lines: &str) -> Self {
        self.upstreams.push(format!("name = '{name}'; {lines}"));
        self
    }

    /// A route from its lines, separated by `;`.
    pub(crate) fn route(mut self, lines: &str) -> Self {
        self.routes.push(lines.to_owned());
        self
    }

    /// Several of them.
    pub(crate) fn routes(self, routes: &[&str]) -> Self {
        routes.iter().fold(self, |setup, lines| setup.route(lines))
    }

    /// Somebody who may sign in.
    pub(crate) fn person(mut self, person: Person) -> Self {
        self.people.push(person);
        self
    }

    /// Writes the configuration into `folder`.
    pub(crate) fn write_to(&self, folder: &Folder) {
        folder.write("vestibule.toml", &self.text(folder));
    }

    fn text(&self, folder: &Folder) -> String {
        let mut text = String::new();
        for (section, values) in &self.all_settings(folder) {
            let lines = values.iter().map(|(key, value)| format!("{key} = {value}"));
            push_table(&mut text, &format!("[{section}]"), lines);
        }
        for stem in &self.certificates {
            let files = [("cert", "pem"), ("key", "key")].map(|(key, ending)| {
                format!("{key} = '{}'", folder.path(&format!("{stem}.{ending}")).display())
            });
            push_table(&mut text, "[[tls.certificate]]", files);
        }
        for (header, tables) in [("[[upstream]]", &self.upstreams), ("[[route]]", &self.routes)] {
            for table in tables {
                push_table(&mut text, header, table.split(';').map(|line| line.trim().to_owned()));
            }
        }
        text
    }

    /// What was set, and the files in `folder` where nothing else was said.
    fn all_settings(&self, folder: &Folder) -> BTreeMap<String, BTreeMap<String, String>> {
        let mut settings = self.settings.clone();
        let path = |name: &str| folder.path(name).display().to_string();
        for (section, key, value) in [
            ("server", "state_dir", folder.root().display().to_string()),
            ("keys", "file", path("keys.toml")),
            ("session", "store", format!("sqlite:{}", path("sessions.db"))),
            ("login.password", "users", format!("sqlite:{}", path("users.db"))),
            ("admin", "socket", path("admin.sock")),
            ("log", "audit", path("audit.log")),
        ] {
            let section = settings.entry(section.to_owned()).or_default();
            section.entry(key.to_owned()).or_insert_with(|| format!("'{value}'"));
        }
        settings
    }
}

fn push_table(text: &mut String, header: &str, lines: impl IntoIterator<Item = String>) {
    writeln!(text, "{header}").expect("text");
    for line in lines {
        writeln!(text, "{line}").expect("text");
    }
    text.push('\n');
}
