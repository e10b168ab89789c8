//! An agent as its owner sees it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_model::{Acknowledgement, AgentId};
use weir_proxy::{Drained, Proxy};

use crate::{
    Config,
    admin::{self, Admin},
    feed::Feed,
    follow::Follower,
    identity::{self, FolderLock},
    last_good::LastGood,
    presence::Presence,
    status::Status,
};

/// A running agent. Dropping it ends it without drain.
#[derive(Debug)]
pub struct Agent {
    id: AgentId,
    proxy: Proxy,
    status: Arc<Status>,
    admin: Option<Admin>,
    admin_address: SocketAddr,
    follower: (CancellationToken, JoinHandle<()>),
    presence: (CancellationToken, Option<JoinHandle<()>>),
    /// Released when all else has ended.
    _folder: FolderLock,
}

impl Agent {
    /// Starts the proxy, serves the last good snapshot of the disk, and begins to follow the store. Does not
    /// wait for the store.
    ///
    /// # Errors
    /// If the data folder cannot be used, the admin listener cannot bind or the proxy cannot start.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let data_dir = config.data_dir.clone();
        let given = config.id.clone();
        let (folder, id) = tokio::task::spawn_blocking(move || {
            let folder = identity::lock(&data_dir)?;
            let id = match given {
                Some(id) => id,
                None => identity::load_or_create(&data_dir)?,
            };
            identity::check(&id)?;
            anyhow::Ok((folder, id))
        })
        .await??;
        let bound = admin::bind(config.admin)?;
        let advertised = config.advertise.unwrap_or_else(|| bound.address.to_string());
        let proxy = Proxy::start_as(id.clone(), config.proxy).context("the proxy cannot start")?;
        let capabilities = config.store.capabilities();
        let status = Arc::new(Status::new(
            id.clone(),
            advertised,
            config.store.kind(),
            config.prefix.clone(),
        ));
        let admin = Admin::start(bound, &proxy, Arc::clone(&status))?;
        tracing::info!(agent = %id, admin = %admin.address, store = config.store.kind(), prefix = config.prefix, "the agent starts");

        let last_good = LastGood::in_folder(&config.data_dir);
        let mut feed = Feed::new(
            proxy.clone(),
            last_good,
            Arc::clone(&status),
            capabilities.writable,
        );
        feed.begin().await;
        let follower = Follower {
            store: Arc::clone(&config.store),
            prefix: config.prefix.clone(),
            feed,
            status: Arc::clone(&status),
            taken: None,
        };
        let presence = Presence {
            store: config.store,
            prefix: config.prefix,
            status: Arc::clone(&status),
            ttl: config.lease_ttl,
        };
        let (end_follower, end_presence) = (CancellationToken::new(), CancellationToken::new());
        let present = capabilities.leases && capabilities.writable;
        Ok(Self {
            id,
            proxy,
            status,
            admin_address: admin.address,
            admin: Some(admin),
            follower: (end_follower.clone(), tokio::spawn(follower.run(end_follower))),
            presence: (
                end_presence.clone(),
                present.then(|| tokio::spawn(presence.run(end_presence))),
            ),
            _folder: folder,
        })
    }

    /// Who it is.
    pub fn id(&self) -> &AgentId {
        &self.id
    }

    /// Where the admin listener is bound.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// The data plane.
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// What it serves, as it tells the store.
    pub fn acknowledgement(&self) -> Acknowledgement {
        self.status.acknowledgement()
    }

    /// Opens the file of the access log anew, within a moment: its old one was moved away.
    pub fn reopen_access_log(&self) {
        self.proxy.reopen_access_log();
    }

    /// As [`Agent::shutdown`], after `/health` has answered 503 for `delay`: whoever balances over several agents sends
    /// new connections elsewhere before this one stops to accept them.
    pub async fn leave(self, delay: Duration, deadline: Duration) -> Drained {
        self.proxy.announce_leave();
        if !delay.is_zero() {
            tracing::info!(agent = %self.id, delay_s = delay.as_secs(), "leaving: connections are still accepted");
            tokio::time::sleep(delay).await;
        }
        self.shutdown(deadline).await
    }

    /// Stops following, lets connections finish until the deadline, and only then leaves the store: whoever
    /// waits for this agent before stopping an instance must not be misled while requests are under way.
    pub async fn shutdown(mut self, deadline: Duration) -> Drained {
        self.follower.0.cancel();
        let _ = (&mut self.follower.1).await;
        tracing::info!(agent = %self.id, deadline_s = deadline.as_secs(), "connections may finish");
        let drained = self.proxy.shutdown(deadline).await;
        self.presence.0.cancel();
        if let Some(presence) = self.presence.1.take() {
            let _ = presence.await;
        }
        if let Some(admin) = self.admin.take() {
            admin.shutdown().await;
        }
        tracing::info!(
            agent = %self.id,
            idle = drained.idle,
            cut = drained.cut,
            cut_tunnels = drained.cut_tunnels,
            "the agent has ended"
        );
        drained
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.follower.0.cancel();
        self.presence.0.cancel();
    }
}
