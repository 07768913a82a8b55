//! An engine on a store of its own, and sessions as people have them.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::{COOKIE, HeaderValue};
use tempfile::TempDir;
use tokio::task::JoinSet;
use vestibule::clock::{Clock, ClockHand};
use vestibule::identity::{AuthMethod, Group, Identity, UserId};
use vestibule::session::cookie::Ticket;
use vestibule::session::{
    Activity, Binding, Config, CookieConfig, Device, Engine, Guests, KeyRing, Lifetimes, Live, Login, Policy,
    Presented, Proofs, Remember, Resumed, SameSite, StoreDown, StoreKind, Visit,
};
use vestibule::storage::redis::Location;
use vestibule::telemetry::audit::Audit;

use crate::servers::redis::Redis;

/// Where sessions are kept.
pub enum Keeper {
    Memory,
    Browser,
    Sqlite(TempDir),
    Redis(Box<Redis>),
}

impl Keeper {
    pub fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().expect("a folder"))
    }

    pub fn redis() -> Self {
        Self::Redis(Box::new(Redis::start()))
    }

    pub const fn name(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Browser => "cookies",
            Self::Sqlite(_) => "SQLite",
            Self::Redis(_) => "Redis",
        }
    }

    /// Bytes in files, or in the memory of its server.
    pub fn size(&self) -> u64 {
        match self {
            Self::Memory | Self::Browser => 0,
            Self::Sqlite(folder) => {
                ["", "-wal"].iter().map(|end| length(&database(folder.path(), end))).sum()
            }
            Self::Redis(server) => server.figure("memory", "used_memory:", ""),
        }
    }

    fn kind(&self) -> StoreKind {
        match self {
            Self::Memory => StoreKind::Memory,
            Self::Browser => StoreKind::Browser(Box::new(StoreKind::Memory)),
            Self::Sqlite(folder) => StoreKind::Sqlite(database(folder.path(), "")),
            Self::Redis(server) => StoreKind::Redis(Location::parse(&server.url()).expect("a URL")),
        }
    }
}

/// What outlives an engine: its store, its keys and the time.
pub struct Stand {
    pub keeper: Keeper,
    hand: ClockHand,
    clock: Clock,
    ring: Arc<KeyRing>,
    folder: TempDir,
}

impl Stand {
    pub fn new(keeper: Keeper) -> Self {
        let (clock, hand) = Clock::movable();
        let ring = Arc::new(KeyRing::generate(clock.now()));
        Self { keeper, hand, clock, ring, folder: tempfile::tempdir().expect("a folder") }
    }

    /// With the machine's own clock, which takes its time.
    pub fn at_present(keeper: Keeper) -> Self {
        Self { clock: Clock::system(), ..Self::new(keeper) }
    }

    /// Moves the time.
    pub fn advance(&self, by: Duration) {
        self.hand.advance(by);
    }

    /// A gateway that has just started: nothing is in its memory.
    pub async fn engine(&self) -> Engine {
        let config = Config { store: self.keeper.kind(), policy: policy() };
        let ring = Arc::clone(&self.ring);
        Engine::start(config, ring, self.clock.clone(), self.audit()).await.expect("a store that opens")
    }

    /// Where memory is counted, no other thread gives back what this one took.
    fn audit(&self) -> Audit {
        match &self.keeper {
            Keeper::Memory | Keeper::Browser => Audit::discard(),
            _ => Audit::to_file(&self.folder.path().join("audit.log"), self.clock.clone()).expect("a file"),
        }
    }
}

/// The rules of a careful house.
fn policy() -> Policy {
    Policy {
        lifetimes: Lifetimes {
            idle: Duration::from_mins(30),
            absolute: Duration::from_hours(12),
            remember: Duration::from_hours(30 * 24),
            renew_id: Duration::from_mins(15),
        },
        cookie: CookieConfig { name: "__Host-vestibule".to_owned(), same_site: SameSite::Lax },
        limit: None,
        binding: Binding { user_agent: true, address: false },
        guests: Guests::Unknown,
        store_down: StoreDown::Refuse,
        recheck: Duration::from_secs(5),
    }
}

/// The user with this number.
pub fn user(number: usize) -> UserId {
    UserId::try_from(format!("person{number:06}")).expect("a name")
}

/// Opens a session for the user with this number; answers the headers of its browser's requests.
pub async fn log_in(engine: &Engine, number: usize) -> HeaderMap {
    let groups = ["staff", "engineering", "office-berlin"].map(|name| Group::try_from(name).expect("a name"));
    let login = Login {
        identity: Identity {
            user: user(number),
            groups: groups.to_vec(),
            name: Some(format!("Person Number {number}")),
            email: Some(format!("person{number:06}@example.com")),
        },
        method: AuthMethod::Password,
        proofs: Proofs::default(),
        remember: Remember::No,
        device: DEVICE,
    };
    let opened = engine.open(login).await.expect("a session");
    let pairs = opened.cookies.iter().filter_map(|cookie| cookie.to_str().ok()?.split(';').next());
    let line = pairs.collect::<Vec<_>>().join("; ");
    HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(&line).expect("a header"))])
}

/// Opens `count` sessions for users who have five each, many at once. Answers the headers of about
/// `kept` of them, spread evenly.
pub async fn fill(engine: &Engine, count: usize, kept: usize) -> Vec<HeaderMap> {
    let every = (count / kept).max(1);
    let mut lanes = JoinSet::new();
    for lane in 0..LANES {
        let engine = engine.clone();
        lanes.spawn(async move {
            let mut headers = Vec::new();
            for number in (lane..count).step_by(LANES) {
                let one = log_in(&engine, number / SESSIONS_PER_USER).await;
                if number.is_multiple_of(every) {
                    headers.push(one);
                }
            }
            headers
        });
    }
    lanes.join_all().await.into_iter().flatten().collect()
}

/// The ticket in a request.
pub fn present(engine: &Engine, headers: &HeaderMap) -> Ticket {
    match engine.present(headers) {
        Presented::Valid(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

/// Resumes the session of a request, which must be live.
pub async fn resume(engine: &Engine, headers: &HeaderMap) -> Live {
    match engine.resume(&present(engine, headers), VISIT).await {
        Ok(Resumed::Live(live)) => live,
        other => panic!("{other:?}"),
    }
}

fn database(folder: &Path, end: &str) -> PathBuf {
    folder.join(format!("sessions.db{end}"))
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

pub const SESSIONS_PER_USER: usize = 5;

pub const VISIT: Visit<'static> = Visit { device: DEVICE, activity: Activity::Counts, request_id: "bench" };

const DEVICE: Device<'static> = Device {
    user_agent: "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                 Chrome/142.0.0.0 Safari/537.36",
    address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
};

/// Logins at the same time while a store is filled.
const LANES: usize = 256;
