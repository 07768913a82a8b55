//! SIGHUP reloads, SIGTERM and SIGINT stop; systemd is told of each (`sd_notify`).

use std::net::SocketAddr;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Gateway, Problems};

/// Serves until SIGTERM or SIGINT, then stops gracefully.
pub(super) async fn serve_until_stopped(gateway: Gateway) -> Result<(), Problems> {
    let mut hangup = listen(SignalKind::hangup())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    announce(&gateway);
    loop {
        tokio::select! {
            _ = hangup.recv() => reload(&gateway).await,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("stopping: no new connections; open requests may end");
    let drained = gateway.stop().await;
    tracing::info!(cut_requests = drained.cut_requests, cut_tunnels = drained.cut_tunnels, "stopped");
    Ok(())
}

fn listen(kind: SignalKind) -> Result<Signal, Problems> {
    signal(kind).map_err(Problems::one)
}

fn announce(gateway: &Gateway) {
    tracing::info!(
        https = listed(gateway.https_addresses()),
        http = listed(gateway.http_addresses()),
        admin = listed(gateway.admin_address().as_slice()),
        "listening"
    );
    notify(&[sd_notify::NotifyState::Ready]);
}

fn listed(addresses: &[SocketAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    addresses.join(", ")
}

async fn reload(gateway: &Gateway) {
    if let Ok(now) = sd_notify::NotifyState::monotonic_usec_now() {
        notify(&[sd_notify::NotifyState::Reloading, now]);
    }
    // The outcome is logged where it is known.
    let _outcome = gateway.reload().await;
    notify(&[sd_notify::NotifyState::Ready]);
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}
