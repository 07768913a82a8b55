//! Redis for tests: alone, with TLS, with an ACL user, behind Sentinels, as a cluster.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use super::{Server, free_port, listens};

/// One Redis, which keeps its port when it is started again.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    port: u16,
    login: Vec<String>,
}

impl Redis {
    /// A server that keeps nothing on disk.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// A server with more lines in its configuration.
    pub fn start_with(lines: &str) -> Self {
        let port = free_port();
        Self::start_file(port, &format!("port {port}\n{COMMON}{lines}"), Vec::new(), &[])
    }

    /// A server that speaks TLS only and knows one user, with these ACL rules and the password
    /// `pass word`; its authority is in `ca.pem` in its folder.
    pub fn start_secure(user: &str, rules: &str) -> Self {
        Self::start_secure_with(user, rules, "", &certificates())
    }

    fn start_secure_with(user: &str, rules: &str, lines: &str, files: &[(&str, String)]) -> Self {
        let port = free_port();
        let lines = format!(
            "port 0\ntls-port {port}\ntls-cert-file cert.pem\ntls-key-file key.pem\ntls-ca-cert-file ca.pem\n\
             tls-auth-clients no\nuser default off\nuser admin on >admin ~* &* +@all\n\
             user {user} on #{PASSWORD_DIGEST} {rules}\n{COMMON}{lines}"
        );
        Self::start_file(port, &lines, LOGIN.map(str::to_owned).to_vec(), files)
    }

    fn start_file(port: u16, lines: &str, login: Vec<String>, files: &[(&str, String)]) -> Self {
        let folder = Server::folder();
        std::fs::write(folder.path().join("redis.conf"), lines).expect("a configuration");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("a file");
        }
        let server = Server::start(&mut command(), folder);
        let mut redis = Self { server, port, login };
        redis.wait_until_ready();
        redis
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL without a login.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Where its files are.
    pub fn path(&self) -> &Path {
        self.server.path()
    }

    /// What `redis-cli` prints for this command.
    pub fn command<const N: usize>(&self, arguments: [&str; N]) -> String {
        let output = cli(self.port).args(&self.login).args(arguments).output().expect("redis-cli");
        printed(&output)
    }

    /// The number behind `name:` or `name=` in what `INFO SECTION` prints; 0 if it is not there.
    pub fn figure(&self, section: &str, line: &str, name: &str) -> u64 {
        let info = self.command(["INFO", section]);
        let figures = info.lines().find_map(|found| found.strip_prefix(line)).unwrap_or_default();
        let figure = figures.split([':', ',']).find_map(|figure| figure.strip_prefix(name));
        figure.and_then(|figure| figure.trim_start_matches('=').trim().parse().ok()).unwrap_or(0)
    }

    /// It hangs: the kernel takes connections, but nothing answers.
    pub fn hang(&self) {
        self.server.signal("STOP");
    }

    /// It goes on.
    pub fn go_on(&self) {
        self.server.signal("CONT");
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again with the same files and port.
    pub fn start_again(&mut self) {
        self.server.start_again(&mut command());
        self.wait_until_ready();
    }

    fn wait_until_ready(&mut self) {
        let (port, login) = (self.port, self.login.clone());
        self.server.wait_until("answer to PING", || {
            listens(port)
                && cli(port).args(&login).arg("PING").output().is_ok_and(|out| printed(&out) == "PONG")
        });
    }
}

/// A master, two replicas and three Sentinels that call it `main`.
#[derive(Debug)]
pub struct Watched {
    /// The master is the first.
    pub servers: Vec<Redis>,
    sentinels: Vec<Redis>,
}

impl Watched {
    pub fn start() -> Self {
        let master = Redis::start_with("repl-diskless-sync-delay 0\n");
        let replica = format!("replicaof 127.0.0.1 {}\nrepl-diskless-sync-delay 0\n", master.port());
        let servers = vec![Redis::start_with(&replica), Redis::start_with(&replica)];
        let servers: Vec<Redis> = std::iter::once(master).chain(servers).collect();
        let sentinels = (0..3).map(|_| sentinel(servers[0].port())).collect();
        let mut watched = Self { servers, sentinels };
        watched.wait_until_agreed();
        watched
    }

    /// The URL of all its Sentinels.
    pub fn url(&self) -> String {
        let mut hosts = String::new();
        for sentinel in &self.sentinels {
            write!(hosts, ",127.0.0.1:{}", sentinel.port()).expect("a text");
        }
        format!("redis+sentinel://{}/main", hosts.trim_start_matches(','))
    }

    fn wait_until_agreed(&mut self) {
        let Self { servers, sentinels } = self;
        for sentinel in sentinels.iter_mut() {
            let port = sentinel.port();
            sentinel.server.wait_until("view of all replicas and Sentinels", || {
                let seen =
                    |what| cli(port).args(["SENTINEL", what, "main"]).output().map(|out| printed(&out));
                let count = |what| seen(what).unwrap_or_default().matches("runid").count();
                count("replicas") == 2 && count("sentinels") == 2
            });
        }
        let port = servers[0].port();
        servers[0].server.wait_until("two replicas in step", || {
            let info = cli(port).args(["INFO", "replication"]).output().map(|out| printed(&out));
            info.unwrap_or_default().matches("state=online").count() == 2
        });
    }
}

/// Three primaries with a replica each.
#[derive(Debug)]
pub struct Cluster {
    pub servers: Vec<Redis>,
}

impl Cluster {
    pub fn start() -> Self {
        Self::of((0..6).map(|_| Redis::start_with(CLUSTER)).collect())
    }

    /// The same with TLS everywhere, and a user as [`Redis::start_secure`] has.
    pub fn start_secure(user: &str, rules: &str) -> Self {
        let files = certificates();
        let lines =
            format!("{CLUSTER}tls-cluster yes\ntls-replication yes\nmasteruser admin\nmasterauth admin\n");
        Self::of((0..6).map(|_| Redis::start_secure_with(user, rules, &lines, &files)).collect())
    }

    fn of(servers: Vec<Redis>) -> Self {
        let addresses = servers.iter().map(|server| format!("127.0.0.1:{}", server.port()));
        let mut create = Command::new("timeout");
        create.args(["20", "redis-cli", "--cluster", "create"]).args(addresses);
        create.args(["--cluster-replicas", "1", "--cluster-yes"]).args(&servers[0].login);
        let made = create.output().expect("redis-cli");
        assert!(made.status.success(), "{}", printed(&made));
        let mut cluster = Self { servers };
        cluster.wait_until_whole();
        cluster
    }

    /// The URL of three of its servers.
    pub fn url(&self) -> String {
        format!("redis+cluster://{}", self.hosts())
    }

    /// What stands for the host in its URL.
    pub fn hosts(&self) -> String {
        let ports: Vec<u16> = self.servers.iter().map(Redis::port).collect();
        format!("127.0.0.1:{},127.0.0.1:{},127.0.0.1:{}", ports[0], ports[2], ports[4])
    }

    /// One of its primaries.
    pub fn primary(&mut self) -> &mut Redis {
        let primary = self.servers.iter_mut().find(|server| server.command(["ROLE"]).starts_with("master"));
        primary.expect("a primary")
    }

    fn wait_until_whole(&mut self) {
        for redis in &mut self.servers {
            let (port, login) = (redis.port, &redis.login);
            redis.server.wait_until("whole cluster", || {
                let ask =
                    |what| cli(port).args(login).args(["CLUSTER", what]).output().map(|out| printed(&out));
                let is_ok = ask("INFO").is_ok_and(|info| info.contains("cluster_state:ok"));
                is_ok && ask("NODES").is_ok_and(|nodes| nodes.matches("slave ").count() == 3)
            });
        }
    }
}

fn sentinel(master: u16) -> Redis {
    let port = free_port();
    let lines = format!(
        "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {master} 2\n\
         sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n\
         sentinel parallel-syncs main 2\n"
    );
    let folder = Server::folder();
    std::fs::write(folder.path().join("redis.conf"), lines).expect("a configuration");
    let server = Server::start(command().arg("--sentinel"), folder);
    let mut sentinel = Redis { server, port, login: Vec::new() };
    sentinel.wait_until_ready();
    sentinel
}

fn command() -> Command {
    let mut command = Command::new("redis-server");
    command.arg("redis.conf");
    command
}

fn cli(port: u16) -> Command {
    let mut command = Command::new("timeout");
    command.args([CLI_PATIENCE.as_secs().to_string().as_str(), "redis-cli", "-p", &port.to_string()]);
    command
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The files of an authority, a certificate for 127.0.0.1 and its key.
fn certificates() -> [(&'static str, String); 3] {
    let authority_key = rcgen::KeyPair::generate().expect("a key");
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    // OpenSSL takes a certificate that bears the name of its issuer for one that signed itself.
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "authority of a test");
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = parameters.self_signed(&authority_key).expect("a certificate");
    let issuer = rcgen::Issuer::new(parameters, authority_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
    [("ca.pem", authority.pem()), ("cert.pem", leaf.pem()), ("key.pem", key.serialize_pem())]
}

const CLUSTER: &str = "cluster-enabled yes\ncluster-node-timeout 1000\n\
                       cluster-replica-validity-factor 0\nrepl-diskless-sync-delay 0\n";
const LOGIN: [&str; 7] = ["--tls", "--insecure", "--user", "admin", "--pass", "admin", "--no-auth-warning"];
const COMMON: &str = "bind 127.0.0.1\nsave \"\"\nappendonly no\nloglevel notice\n";
/// SHA-256 of `pass word`.
const PASSWORD_DIGEST: &str = "78980e257f412437fbf9343787bc00ec5b10636429bc000b290107335b089786";
const CLI_PATIENCE: Duration = Duration::from_secs(2);
