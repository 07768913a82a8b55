//! `[admin]`: where administrators and monitoring ask.

use std::net::SocketAddr;

use crate::admin::Config;

use super::address::socket;
use super::path::file_in;
use super::problem::Wrong;
use super::read::{Empty, Section};
use super::route::group;
use super::server::Server;

/// Reads `[admin]`; the socket is relative to `server.state_dir`.
pub(super) fn read(root: &mut Section<'_>, server: &Server) -> Config {
    root.within("admin", |section| {
        let socket = section.text("socket", |text| file_in(&server.state_dir, text));
        let listen = section.text("listen", |text| listener(server, text));
        Config {
            socket: socket.unwrap_or_else(|| server.state_dir.join("admin.sock")),
            listen: listen.unwrap_or_else(|| Some(SocketAddr::from(([127, 0, 0, 1], PORT)))),
            groups: section.list("groups", Empty::Allowed, group).unwrap_or_default(),
        }
    })
}

fn listener(server: &Server, text: &str) -> Result<Option<SocketAddr>, Wrong> {
    if text == "off" {
        return Ok(None);
    }
    let address = socket(text)?;
    match server.listener(address) {
        Some(key) => {
            Err(Wrong::new(format!("`{address}` is also in `{key}`")).help("give each its own port"))
        }
        None => Ok(Some(address)),
    }
}

const PORT: u16 = 9443;
