//! Every metric of the gateway: its name, its help and its value, in the OpenMetrics text format.
//!
//! Workers count requests in memory of their own, which is summed up when somebody asks; all other
//! values are read from the part that knows them. Invariant: counting takes no lock.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::rule::Rule;

/// What was done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The backend's answer was passed on.
    Forwarded,
    /// One of the gateway's own pages.
    Portal,
    /// What the route says itself: a redirect or a fixed response.
    Fixed,
    /// Nobody is signed in: sent to the login page, or 401.
    LoginNeeded,
    /// The rule of the route does not let this caller pass.
    Forbidden,
    /// The request itself was refused: malformed, too large, no route.
    Refused,
    /// A part that was needed did not answer: backend or session store.
    Failed,
}

impl Outcome {
    /// The label in metrics and access lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Portal => "portal",
            Self::Fixed => "fixed",
            Self::LoginNeeded => "login_needed",
            Self::Forbidden => "forbidden",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    const ALL: [Self; 7] = [
        Self::Forwarded,
        Self::Portal,
        Self::Fixed,
        Self::LoginNeeded,
        Self::Forbidden,
        Self::Refused,
        Self::Failed,
    ];
}

/// Why a stream that was open is ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// Its session has ended, by whatever way.
    SessionEnded,
    /// The rules no longer let its request pass.
    RuleChanged,
    /// The hours at which its route is open are over.
    HoursOver,
    /// The session store has not said for too long whether its session lives.
    StoreSilent,
}

impl StreamEnd {
    /// The label in metrics and access lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SessionEnded => "session_ended",
            Self::RuleChanged => "rule_changed",
            Self::HoursOver => "hours_over",
            Self::StoreSilent => "store_silent",
        }
    }

    const ALL: [Self; 4] = [Self::SessionEnded, Self::RuleChanged, Self::HoursOver, Self::StoreSilent];
}

/// A value that another part knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meter {
    /// Open client connections.
    Connections,
    /// Client connections since the start.
    ConnectionsAccepted,
    /// Client connections that were closed unheard.
    ConnectionsRefused,
    /// TLS handshakes that failed.
    HandshakesFailed,
    /// Access lines that could not be written.
    AccessLinesDropped,
    /// Audit lines that could not be written.
    AuditLinesDropped,
    /// 1 if the last reload was taken over, 0 if it was refused.
    ReloadSucceeded,
    /// When the first certificate expires, in seconds since 1970.
    CertificateExpiry,
    /// Sessions in the first-level cache.
    SessionsCached,
    /// Expired sessions that the sweep removed.
    SessionsSwept,
    /// Whether the session store is left alone because it does not answer.
    SessionStoreDown,
}

impl Meter {
    const fn describe(self) -> (&'static str, &'static str, MetricType) {
        match self {
            Self::Connections => ("connections", "Open client connections", MetricType::Gauge),
            Self::ConnectionsAccepted => {
                ("connections_accepted", "Client connections since the start", MetricType::Counter)
            }
            Self::ConnectionsRefused => (
                "connections_refused",
                "Client connections closed unheard: too many from one address, or no PROXY header of a trusted proxy",
                MetricType::Counter,
            ),
            Self::HandshakesFailed => {
                ("tls_handshakes_failed", "TLS handshakes that failed", MetricType::Counter)
            }
            Self::AccessLinesDropped => {
                ("access_lines_dropped", "Access lines that could not be written", MetricType::Counter)
            }
            Self::AuditLinesDropped => {
                ("audit_lines_dropped", "Audit lines that could not be written", MetricType::Counter)
            }
            Self::ReloadSucceeded => (
                "config_last_reload_successful",
                "1 if the last reload was taken over, 0 if it was refused",
                MetricType::Gauge,
            ),
            Self::CertificateExpiry => (
                "certificate_expiry_timestamp_seconds",
                "When the first certificate expires, in seconds since 1970",
                MetricType::Gauge,
            ),
            Self::SessionsCached => {
                ("sessions_cached", "Sessions in the first-level cache", MetricType::Gauge)
            }
            Self::SessionsSwept => {
                ("sessions_swept", "Expired sessions that the sweep removed", MetricType::Counter)
            }
            Self::SessionStoreDown => {
                ("session_store_down", "Whether the session store does not answer", MetricType::Gauge)
            }
        }
    }
}

/// A server behind the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// The name of its upstream.
    pub upstream: String,
    /// Its address.
    pub server: String,
    /// Whether it serves, as far as is known.
    pub is_up: bool,
}

/// All metrics of a gateway.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Sources>);

impl Metrics {
    /// Counters for one more worker.
    #[must_use]
    pub fn worker(&self) -> Arc<RequestCounters> {
        let counters = Arc::new(RequestCounters::default());
        lock(&self.0.workers).push(Arc::clone(&counters));
        counters
    }

    /// Reads `meter` by `read` whenever somebody asks.
    pub fn read(&self, meter: Meter, read: impl Fn() -> u64 + Send + Sync + 'static) {
        lock(&self.0.meters).push((meter, Box::new(read)));
    }

    /// Reads the number of audit events by kind whenever somebody asks.
    pub fn read_events(&self, read: impl Fn() -> Vec<(&'static str, u64)> + Send + Sync + 'static) {
        *lock(&self.0.events) = Some(Box::new(read));
    }

    /// Reads which servers are up whenever somebody asks.
    pub fn read_servers(&self, read: impl Fn() -> Vec<ServerState> + Send + Sync + 'static) {
        *lock(&self.0.servers) = Some(Box::new(read));
    }

    /// The OpenMetrics text, as `/metrics` shows it.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut registry = Registry::with_prefix("vestibule");
        registry.register_collector(Box::new(Arc::clone(&self.0)));
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _infallible = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    }
}

/// What one worker counts of its requests.
#[derive(Debug, Default)]
pub struct RequestCounters {
    by_outcome_and_class: [[AtomicU64; CLASSES.len()]; Outcome::ALL.len()],
    by_duration: [AtomicU64; BUCKETS.len() + 1],
    microseconds: AtomicU64,
    bytes: AtomicU64,
    open_streams: AtomicU64,
    streams_by_end: [AtomicU64; StreamEnd::ALL.len()],
    spared_by_rule: [AtomicU64; Rule::ALL.len()],
}

impl RequestCounters {
    /// Counts one request that was answered with `status` and `bytes` of body.
    pub fn count(&self, outcome: Outcome, status: u16, duration: Duration, bytes: u64) {
        self.count_answer(outcome, status);
        let microseconds = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.iter().take_while(|&&bound| microseconds > bound).count();
        if let Some(counter) = self.by_duration.get(bucket) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.microseconds.fetch_add(microseconds, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts what was refused before it was a request: it took no time and no body. Without a status
    /// its connection was closed.
    pub fn count_unheard(&self, status: Option<u16>) {
        self.count_answer(Outcome::Refused, status.unwrap_or_default());
    }

    fn count_answer(&self, outcome: Outcome, status: u16) {
        let class = usize::from(status / 100);
        if let Some(counter) = self.by_outcome_and_class.get(outcome as usize).and_then(|row| row.get(class))
        {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a request that passed although a rule, which only reports, would have refused it.
    pub fn count_spared(&self, rule: Rule) {
        if let Some(counter) = self.spared_by_rule.get(rule as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes how many streams the worker has open.
    pub fn streams_are_open(&self, count: usize) {
        self.open_streams.store(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Counts a stream that was ended before its time.
    pub fn count_stream_end(&self, end: StreamEnd) {
        if let Some(counter) = self.streams_by_end.get(end as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

type Read<T> = Box<dyn Fn() -> T + Send + Sync>;

type EventCounts = Vec<(&'static str, u64)>;

#[derive(Default)]
struct Sources {
    workers: Mutex<Vec<Arc<RequestCounters>>>,
    meters: Mutex<Vec<(Meter, Read<u64>)>>,
    events: Mutex<Option<Read<EventCounts>>>,
    servers: Mutex<Option<Read<Vec<ServerState>>>>,
}

impl Sources {
    fn encode_requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let workers = lock(&self.workers);
        let mut family = encoder.encode_descriptor(
            "requests",
            "Requests by what was done and by class of status",
            None,
            MetricType::Counter,
        )?;
        for outcome in Outcome::ALL {
            for (class, status) in CLASSES.iter().enumerate() {
                let total = sum(workers.iter().filter_map(|worker| {
                    worker.by_outcome_and_class.get(outcome as usize).and_then(|row| row.get(class))
                }));
                if total > 0 {
                    let labels = [("outcome", outcome.as_str()), ("status", status)];
                    family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&total, None)?;
                }
            }
        }
        Ok(())
    }

    fn encode_durations(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let workers = lock(&self.workers);
        let mut buckets = Vec::with_capacity(BUCKETS.len() + 1);
        for index in 0..=BUCKETS.len() {
            let bound = BUCKETS.get(index).map_or(f64::MAX, |&microseconds| seconds(microseconds));
            buckets.push((bound, sum(workers.iter().filter_map(|worker| worker.by_duration.get(index)))));
        }
        let count = buckets.iter().map(|(_, count)| count).sum();
        let total = seconds(sum(workers.iter().map(|worker| &worker.microseconds)));
        encoder
            .encode_descriptor(
                "request_duration_seconds",
                "From the request head to the end of the response",
                None,
                MetricType::Histogram,
            )?
            .encode_histogram::<NoLabelSet>(total, count, &buckets, None)
    }

    fn encode_bytes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let total = sum(lock(&self.workers).iter().map(|worker| &worker.bytes));
        encoder
            .encode_descriptor(
                "response_body_bytes",
                "Bytes of response bodies sent",
                None,
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, _, u64>(&total, None)
    }

    fn encode_streams(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let workers = lock(&self.workers);
        let help = "Open tunnels, and responses that wait for their backend or are long";
        let open = sum(workers.iter().map(|worker| &worker.open_streams));
        encoder.encode_descriptor("streams", help, None, MetricType::Gauge)?.encode_gauge(&open)?;
        let help = "Streams ended before their time, by why";
        let mut family = encoder.encode_descriptor("streams_ended", help, None, MetricType::Counter)?;
        for end in StreamEnd::ALL {
            let total = sum(workers.iter().filter_map(|worker| worker.streams_by_end.get(end as usize)));
            let labels = [("reason", end.as_str())];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&total, None)?;
        }
        Ok(())
    }

    fn encode_spared(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let workers = lock(&self.workers);
        let help = "Requests that passed although a rule that only reports would have refused them";
        let mut family = encoder.encode_descriptor("report_only", help, None, MetricType::Counter)?;
        for rule in Rule::ALL {
            let total = sum(workers.iter().filter_map(|worker| worker.spared_by_rule.get(rule as usize)));
            let labels = [("rule", rule.as_str())];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&total, None)?;
        }
        Ok(())
    }

    fn encode_meters(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (meter, read) in lock(&self.meters).iter() {
            let (name, help, kind) = meter.describe();
            let value = read();
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            match kind {
                MetricType::Counter => metric.encode_counter::<NoLabelSet, _, u64>(&value, None)?,
                _ => metric.encode_gauge(&value)?,
            }
        }
        Ok(())
    }

    fn encode_events(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let events = lock(&self.events);
        let Some(read) = events.as_ref() else { return Ok(()) };
        let mut family =
            encoder.encode_descriptor("events", "Audit events by kind", None, MetricType::Counter)?;
        for (event, count) in read() {
            family.encode_family(&[("event", event)])?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        Ok(())
    }
}

impl Sources {
    fn encode_servers(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let servers = lock(&self.servers);
        let Some(read) = servers.as_ref() else { return Ok(()) };
        let help = "1 if the server of an upstream serves, 0 if it is left alone";
        let mut family = encoder.encode_descriptor("upstream_server_up", help, None, MetricType::Gauge)?;
        for ServerState { upstream, server, is_up } in read() {
            let labels = [("upstream", upstream), ("server", server)];
            family.encode_family(&labels)?.encode_gauge(&u64::from(is_up))?;
        }
        Ok(())
    }
}

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_requests(&mut encoder)?;
        self.encode_durations(&mut encoder)?;
        self.encode_bytes(&mut encoder)?;
        self.encode_streams(&mut encoder)?;
        self.encode_spared(&mut encoder)?;
        self.encode_meters(&mut encoder)?;
        self.encode_events(&mut encoder)?;
        self.encode_servers(&mut encoder)
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

fn sum<'a>(counters: impl Iterator<Item = &'a AtomicU64>) -> u64 {
    counters.map(|counter| counter.load(Ordering::Relaxed)).sum()
}

#[expect(clippy::cast_precision_loss, reason = "2^53 microseconds are 285 years")]
fn seconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e6
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Classes of status; `none` is for connections that were closed without an answer.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Upper bounds of the durations, in microseconds.
const BUCKETS: [u64; 12] =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000, 30_000_000];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_workers_count_is_summed_up() {
        let metrics = Metrics::default();
        let (one, two) = (metrics.worker(), metrics.worker());
        one.count(Outcome::Forwarded, 200, Duration::from_micros(600), 10);
        two.count(Outcome::Forwarded, 204, Duration::from_micros(700), 5);
        two.count(Outcome::Failed, 502, Duration::from_mins(1), 0);
        let text = metrics.encode();
        assert!(
            text.contains("vestibule_requests_total{outcome=\"forwarded\",status=\"2xx\"} 2\n"),
            "{text}"
        );
        assert!(text.contains("vestibule_requests_total{outcome=\"failed\",status=\"5xx\"} 1\n"), "{text}");
        assert!(text.contains("vestibule_request_duration_seconds_count 3\n"), "{text}");
        assert!(text.contains("vestibule_response_body_bytes_total 15\n"), "{text}");
    }

    #[test]
    fn streams_are_counted_while_open_and_by_what_ended_them() {
        let metrics = Metrics::default();
        let (one, two) = (metrics.worker(), metrics.worker());
        one.streams_are_open(3);
        two.streams_are_open(1);
        one.streams_are_open(2);
        one.count_stream_end(StreamEnd::SessionEnded);
        two.count_stream_end(StreamEnd::SessionEnded);
        two.count_stream_end(StreamEnd::RuleChanged);
        let text = metrics.encode();
        assert!(text.contains("# TYPE vestibule_streams gauge\nvestibule_streams 3\n"), "{text}");
        for (reason, count) in [("session_ended", 2), ("rule_changed", 1), ("store_silent", 0)] {
            let line = format!("vestibule_streams_ended_total{{reason=\"{reason}\"}} {count}\n");
            assert!(text.contains(&line), "{text}");
        }
    }

    #[test]
    fn each_server_is_up_or_not() {
        let metrics = Metrics::default();
        let state = |server: &str, is_up| ServerState {
            upstream: "wiki".to_owned(),
            server: server.to_owned(),
            is_up,
        };
        metrics.read_servers(move || vec![state("http://a:80", true), state("unix:/b", false)]);
        let text = metrics.encode();
        for (server, value) in [("http://a:80", 1), ("unix:/b", 0)] {
            let line =
                format!("vestibule_upstream_server_up{{upstream=\"wiki\",server=\"{server}\"}} {value}\n");
            assert!(text.contains(&line), "{text}");
        }
    }

    #[test]
    fn what_other_parts_know_is_read_when_asked() {
        let metrics = Metrics::default();
        metrics.read(Meter::Connections, || 7);
        metrics.read_events(|| vec![("session_created", 3)]);
        let text = metrics.encode();
        assert!(text.contains("# TYPE vestibule_connections gauge\nvestibule_connections 7\n"), "{text}");
        assert!(text.contains("vestibule_events_total{event=\"session_created\"} 3\n"), "{text}");
    }
}
