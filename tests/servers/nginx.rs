//! nginx for tests: tells which path it read, or keeps files.

use std::process::Command;

use super::{Server, as_nobody, free_port, listens};

/// An nginx on a loopback port of its own.
#[derive(Debug)]
pub struct Nginx {
    _server: Server,
    port: u16,
}

impl Nginx {
    /// Starts one that answers with the target as it came, a line end, and the path that it would serve.
    pub fn telling_paths() -> Self {
        Self::start("return 200 \"$request_uri\\n$uri\";")
    }

    /// Starts one that keeps files over WebDAV.
    pub fn keeping_files() -> Self {
        Self::start("root files; dav_methods PUT DELETE MKCOL COPY MOVE; create_full_put_path on;")
    }

    fn start(location: &str) -> Self {
        let (folder, port) = (Server::folder(), free_port());
        let settings = SETTINGS.replace("PORT", &port.to_string()).replace("LOCATION", location);
        std::fs::write(folder.path().join("nginx.conf"), settings).expect("settings");
        let mut command = command();
        command.arg("-p").arg(folder.path()).args(["-c", "nginx.conf", "-e", "stderr"]);
        let mut server = Server::start(&mut command, folder);
        server.wait_until("nginx listens", || listens(port));
        Self { _server: server, port }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// Debian keeps it beside the path of ordinary people.
fn command() -> Command {
    let usual = "/usr/sbin/nginx";
    as_nobody(if std::path::Path::new(usual).exists() { usual } else { "nginx" })
}

/// As the package has it, but for one process, its own folder, and what it answers.
const SETTINGS: &str = r"
daemon off;
master_process off;
pid nginx.pid;
events {}
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    default_type text/plain;
    server {
        listen 127.0.0.1:PORT;
        location / {
            LOCATION
        }
    }
}
";
