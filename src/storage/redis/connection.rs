//! How a connection is made: to one server, to the master that Sentinels name, or to a cluster.
//!
//! Invariant: nothing waits longer than [`CONNECT_DEADLINE`] for one server, or [`CLUSTER_DEADLINE`]
//! for a cluster, and TLS is verified.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo as _,
    ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError, RedisResult, TlsCertificates, TlsMode, Value,
};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::location::{Address, Credentials, Location, Topology, Transport, Watch};

/// What hears of pushes and of the end of a connection; it must not block.
pub(super) type PushSink = Box<dyn Fn(PushInfo) + Send + Sync>;

/// A connection that any number of callers may use at once.
#[derive(Clone)]
pub(super) enum Connection {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    /// Connects to what `location` names; `ended` is called when the connection breaks.
    pub(super) async fn open(location: &Location, ended: PushSink) -> RedisResult<Self> {
        match &location.topology {
            Topology::Single(address) => node(location, address, ended).await.map(Self::Node),
            Topology::Sentinel(watch) => master(location, watch, ended).await.map(Self::Node),
            Topology::Cluster(nodes) => cluster(location, nodes).await.map(Self::Cluster),
        }
    }

    /// Sends all commands at once and answers in their order; an error of one command is among the
    /// answers.
    pub(super) async fn send(self, mut commands: Vec<Cmd>) -> RedisResult<Vec<Value>> {
        match self {
            Self::Node(mut connection) if commands.len() == 1 => match commands.pop() {
                Some(command) => Ok(vec![connection.send_packed_command(&command).await?]),
                None => Ok(Vec::new()),
            },
            Self::Node(mut connection) => {
                let count = commands.len();
                let mut pipeline = redis::Pipeline::with_capacity(count);
                for command in commands {
                    pipeline.add_command(command);
                }
                connection.send_packed_commands(&pipeline, 0, count).await
            }
            Self::Cluster(connection) => send_each(&connection, commands).await,
        }
    }
}

/// A cluster's keys live on different servers: each command finds its own way, all at the same time.
async fn send_each(connection: &ClusterConnection, commands: Vec<Cmd>) -> RedisResult<Vec<Value>> {
    let mut answers = vec![Value::Nil; commands.len()];
    let mut sending = JoinSet::new();
    for (index, command) in commands.into_iter().enumerate() {
        let mut connection = connection.clone();
        sending.spawn(async move {
            (index, redis::aio::ConnectionLike::req_packed_command(&mut connection, &command).await)
        });
    }
    while let Some(joined) = sending.join_next().await {
        let (index, answer) = joined.map_err(|_| closed("the command was given up"))?;
        let answer = match answer.map_err(redis::ServerError::try_from) {
            Ok(value) => value,
            Err(Ok(refusal)) => Value::ServerError(refusal),
            Err(Err(error)) => return Err(error),
        };
        if let Some(place) = answers.get_mut(index) {
            *place = answer;
        }
    }
    Ok(answers)
}

/// A connection to one server, which need not be a master.
pub(super) async fn node(
    location: &Location,
    address: &Address,
    pushes: PushSink,
) -> RedisResult<MultiplexedConnection> {
    let info = info(location, address, location.credentials.as_ref(), location.database).await?;
    let client = Client::open(info)?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_DEADLINE))
        .set_response_timeout(Some(ANSWER_DEADLINE))
        .set_pipeline_buffer_size(PIPELINE_BUFFER)
        .set_push_sender(move |push: PushInfo| {
            pushes(push);
            Ok::<(), redis::aio::SendError>(())
        });
    within(CONNECT_DEADLINE, client.get_multiplexed_async_connection_with_config(&config)).await
}

/// A connection to the master, as one of the Sentinels names it.
pub(super) async fn master(
    location: &Location,
    watch: &Watch,
    pushes: PushSink,
) -> RedisResult<MultiplexedConnection> {
    let address = ask_sentinels(location, watch).await?;
    let mut connection = node(location, &address, pushes).await?;
    // A Sentinel that lags may name a server that was a master.
    let role = connection.send_packed_command(&redis::cmd("ROLE")).await?.extract_error()?;
    if is_master(&role) {
        Ok(connection)
    } else {
        Err(closed("the server that a Sentinel names is no master; a failover is under way"))
    }
}

/// The servers that hold the slots of a cluster, as one of them says.
pub(super) fn primaries(slots: &Value, asked: &Address) -> Vec<Address> {
    let ranges = slots.as_sequence().unwrap_or_default();
    let mut primaries: Vec<Address> = ranges.iter().filter_map(|range| primary(range, asked)).collect();
    primaries.sort();
    primaries.dedup();
    primaries
}

/// Whether an answer to `ROLE` is that of a master.
pub(super) fn is_master(role: &Value) -> bool {
    let name = role.as_sequence().and_then(<[Value]>::first);
    name.and_then(text).is_some_and(|name| name == "master")
}

/// One of `CLUSTER SLOTS`: from, to, then the primary, then its replicas.
fn primary(range: &Value, asked: &Address) -> Option<Address> {
    let node = range.as_sequence()?.get(2)?.as_sequence()?;
    let port = match node.get(1)? {
        Value::Int(port) => u16::try_from(*port).ok()?,
        _ => return None,
    };
    // A server that does not know its own name means the one by which it was asked.
    let host = node.first().and_then(text).filter(|host| !host.is_empty() && host != "?");
    Some(Address { host: host.unwrap_or_else(|| asked.host.clone()), port })
}

async fn cluster(location: &Location, nodes: &[Address]) -> RedisResult<ClusterConnection> {
    let mut infos = Vec::with_capacity(nodes.len());
    for address in nodes {
        infos.push(info(location, address, location.credentials.as_ref(), 0).await?);
    }
    let mut builder = ClusterClient::builder(infos)
        .use_protocol(ProtocolVersion::RESP3)
        .connection_timeout(ANSWER_DEADLINE)
        .response_timeout(ANSWER_DEADLINE)
        .retries(CLUSTER_RETRIES)
        .min_retry_wait(10)
        .max_retry_wait(100)
        .tcp_settings(tcp_settings());
    if let Transport::Tls { .. } = &location.transport {
        builder = builder.tls(TlsMode::Secure);
        if let Some(certificates) = certificates(location).await? {
            builder = builder.certs(certificates);
        }
    }
    within(CLUSTER_DEADLINE, builder.build()?.get_async_connection()).await
}

/// Asks one Sentinel after the other: the first that knows the master is believed.
pub(super) async fn ask_sentinels(location: &Location, watch: &Watch) -> RedisResult<Address> {
    let mut last = closed("there is no Sentinel");
    for sentinel in &watch.sentinels {
        match timeout(SENTINEL_DEADLINE, ask_sentinel(location, watch, sentinel)).await {
            Ok(Ok(master)) => return Ok(master),
            Ok(Err(error)) => last = error,
            Err(_) => last = closed("a Sentinel does not answer"),
        }
    }
    Err(last)
}

async fn ask_sentinel(location: &Location, watch: &Watch, sentinel: &Address) -> RedisResult<Address> {
    let info = info(location, sentinel, watch.credentials.as_ref(), 0).await?;
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(SENTINEL_DEADLINE));
    let mut connection = Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await?;
    let mut question = redis::cmd("SENTINEL");
    question.arg("GET-MASTER-ADDR-BY-NAME").arg(&watch.master);
    let answer = connection.send_packed_command(&question).await?.extract_error()?;
    let parts: Vec<String> = answer.as_sequence().unwrap_or_default().iter().filter_map(text).collect();
    match parts.as_slice() {
        [host, port] => {
            let port = port.parse().map_err(|_| closed("a Sentinel gives the master a strange port"))?;
            Ok(Address { host: host.clone(), port })
        }
        _ => Err(closed("the Sentinels know no master of this name")),
    }
}

async fn info(
    location: &Location,
    address: &Address,
    credentials: Option<&Credentials>,
    database: u16,
) -> RedisResult<ConnectionInfo> {
    // Nothing that a proxy or an ACL could refuse is sent without need.
    let mut settings = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP3)
        .set_skip_set_lib_name()
        .set_db(i64::from(database));
    if let Some(Credentials { user, password }) = credentials {
        settings = settings.set_password(password.expose());
        if let Some(user) = user {
            settings = settings.set_username(user);
        }
    }
    let (host, port) = (address.host.clone(), address.port);
    let plain = match &location.transport {
        Transport::Plain => ConnectionAddr::Tcp(host, port).into_connection_info()?,
        Transport::Tls { .. } => {
            // SECURITY: `insecure` would skip the verification of the certificate; nothing sets it.
            let secure = ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None };
            match certificates(location).await? {
                None => secure.into_connection_info()?,
                Some(own) => Client::build_with_tls(secure, own)?.get_connection_info().clone(),
            }
        }
    };
    Ok(plain.set_redis_settings(settings).set_tcp_settings(tcp_settings()))
}

/// Read at every connect, so that a renewed file needs no restart.
async fn certificates(location: &Location) -> RedisResult<Option<TlsCertificates>> {
    let Some(path) = location.transport.authorities() else { return Ok(None) };
    let unreadable = |error: std::io::Error| {
        let detail = format!("cannot read `{}`: {error}", path.display());
        RedisError::from((ErrorKind::InvalidClientConfig, "certificate authorities", detail))
    };
    let root_cert = Some(tokio::fs::read(path).await.map_err(unreadable)?);
    Ok(Some(TlsCertificates { client_tls: None, root_cert }))
}

/// A dead peer is noticed by the kernel too, not only by our deadlines.
fn tcp_settings() -> TcpSettings {
    let probes = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    TcpSettings::default().set_nodelay(true).set_keepalive(probes).set_user_timeout(USER_TIMEOUT)
}

async fn within<T>(deadline: Duration, connecting: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    timeout(deadline, connecting).await.unwrap_or_else(|_| Err(closed("it does not answer")))
}

pub(super) fn closed(reason: &'static str) -> RedisError {
    RedisError::from((ErrorKind::Io, "connection", reason.to_owned()))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

/// How long a connect may take, greeting and login included.
pub(super) const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// How long an answer may take.
pub(super) const ANSWER_DEADLINE: Duration = Duration::from_millis(500);
/// A server of a cluster that hangs is waited for once as a seed and once as one that holds keys.
const CLUSTER_DEADLINE: Duration = Duration::from_secs(2);
const SENTINEL_DEADLINE: Duration = Duration::from_millis(300);
const KEEPALIVE: Duration = Duration::from_secs(5);
const USER_TIMEOUT: Duration = Duration::from_secs(3);
const PIPELINE_BUFFER: usize = 1024;
const CLUSTER_RETRIES: u32 = 4;
