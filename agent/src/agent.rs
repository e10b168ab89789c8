//! An agent as its owner sees it.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_model::{Acknowledgement, AgentId};
use weir_proxy::{Drained, Proxy};
use weir_store::protocol;

use crate::{
    Config,
    admin::{self, Admin, MoreMetrics},
    dns::Answerer,
    feed::Feed,
    follow::Follower,
    handover::{self, Inherited, Offered, Successor},
    identity::{self, FolderLock},
    last_good::LastGood,
    presence::Presence,
    saver::Saver,
    ship::Shipper,
    status::Status,
};

/// A running agent. Dropping it ends it without drain.
#[derive(Debug)]
pub struct Agent {
    id: AgentId,
    proxy: Proxy,
    status: Arc<Status>,
    admin: Option<Admin>,
    shipper: Option<Shipper>,
    dns: Option<Answerer>,
    admin_address: SocketAddr,
    follower: (CancellationToken, JoinHandle<()>),
    saver: Saver,
    presence: (CancellationToken, Option<JoinHandle<()>>),
    data_dir: PathBuf,
    /// Released when all else has ended.
    folder: FolderLock,
}

impl Agent {
    /// Starts the proxy, serves the last good snapshot of the disk, and begins to follow the store. Does not
    /// wait for the store.
    ///
    /// # Errors
    /// If the data folder cannot be used, the admin listener cannot bind or the proxy cannot start.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        Box::pin(Self::take_over(config, None)).await
    }

    /// As [`Agent::start`], with what the process before had, which serves until this one does.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub async fn take_over(config: Config, mut inherited: Option<Inherited>) -> anyhow::Result<Self> {
        let data_dir = config.data_dir.clone();
        let given = config.id.clone();
        let taken = inherited.as_mut().and_then(Inherited::lock);
        let (folder, id, faults) = tokio::task::spawn_blocking(move || {
            let (folder, unwritable) = match taken {
                Some(lock) => (FolderLock::taken_over(lock), None),
                None => identity::lock(&data_dir)?,
            };
            let (id, fault) = match given {
                Some(id) => (id, None),
                None => identity::load_or_create(&data_dir),
            };
            identity::check(&id)?;
            anyhow::Ok((folder, id, unwritable.or(fault)))
        })
        .await??;
        let bound = admin::bind(&config, inherited.as_mut())?;
        let advertised = bound.advertised(config.advertise.as_deref());
        let proxy = Proxy::start_as(id.clone(), config.proxy).context("the proxy cannot start")?;
        let capabilities = config.store.capabilities();
        let status = Arc::new(Status::new(
            id.clone(),
            advertised,
            config.store.kind(),
            config.prefix.clone(),
        ));
        if let Some(fault) = faults {
            status.folder(fault);
        }
        let shipper = config
            .shipping
            .map(|shipping| Shipper::start(shipping, &id, status.acknowledgement().started_at_ms))
            .transpose()?;
        let more = shipper.as_ref().map(|shipper| -> MoreMetrics {
            let figures = shipper.figures();
            Arc::new(move |text: &mut String| figures.expose(text))
        });
        let dns = match config.dns {
            Some(dns) => {
                Some(Answerer::start(dns, proxy.clone(), inherited.as_mut().and_then(Inherited::dns)).await?)
            }
            None => None,
        };
        let admin = Admin::start(bound, &proxy, Arc::clone(&status), more)?;
        tracing::info!(agent = %id, admin = %admin.address, store = config.store.kind(), prefix = config.prefix, "the agent starts");

        let last_good = LastGood::in_folder(&config.data_dir);
        let mut feed = Feed::new(
            proxy.clone(),
            last_good,
            Arc::clone(&status),
            capabilities.writable,
        );
        if let Some(inherited) = &mut inherited {
            inherited.give_to(&proxy).await;
        }
        feed.begin().await;
        if let Some(inherited) = inherited {
            inherited.served(&proxy).await;
        }
        handover::note_process(&config.data_dir);
        let saver = feed.saver().clone();
        let follower = Follower {
            store: Arc::clone(&config.store),
            prefix: config.prefix.clone(),
            feed,
            status: Arc::clone(&status),
            reader: protocol::Reader::new(),
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
            shipper,
            dns,
            follower: (end_follower.clone(), tokio::spawn(follower.run(end_follower))),
            saver,
            presence: (
                end_presence.clone(),
                present.then(|| tokio::spawn(presence.run(end_presence))),
            ),
            data_dir: config.data_dir,
            folder,
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

    /// Where names of virtual hosts are answered, if they are.
    pub fn dns_address(&self) -> Option<SocketAddr> {
        Some(self.dns.as_ref()?.address)
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

    /// Starts a successor, which serves beside this process when this returns. Then [`Agent::hand_over`] must follow.
    ///
    /// # Errors
    /// Why there is no successor: this process goes on as before.
    pub async fn offer(&self, successor: &Successor) -> anyhow::Result<Offered> {
        anyhow::ensure!(
            std::process::id() != 1,
            "the first process of a container cannot be succeeded: start another container"
        );
        let mut named = Vec::new();
        if let Some(lock) = self.folder.share()? {
            named.push((handover::LOCK, lock));
        }
        if let Some(admin) = &self.admin {
            named.extend(admin.share()?);
        }
        if let Some(dns) = &self.dns {
            named.push((handover::DNS, dns.share()?));
        }
        let listeners = self.proxy.share().await;
        let successor = successor.clone();
        // The successor begins with what is on disk, and saves there from then on.
        self.saver
            .hold()
            .await
            .context("what is served cannot be saved for the successor")?;
        let offering = tokio::task::spawn_blocking(move || handover::offer(&successor, &named, &listeners));
        let offered = offering
            .await
            .map_err(anyhow::Error::from)
            .and_then(|offered| offered);
        if offered.is_err() {
            self.saver.release();
        }
        offered
    }

    /// Leaves the store and everything else to the successor, and takes leave of the connections.
    pub async fn hand_over(mut self, offered: Offered, deadline: Duration) -> Drained {
        self.follower.0.cancel();
        let _ = (&mut self.follower.1).await;
        self.presence.0.cancel();
        if let Some(presence) = self.presence.1.take() {
            let _ = presence.await;
        }
        if let Some(admin) = self.admin.take() {
            admin.keep_file();
            admin.shutdown().await;
        }
        self.dns = None;
        let process = offered.process();
        offered.left();
        tracing::info!(agent = %self.id, process, deadline_s = deadline.as_secs(), "another process has taken over; connections may finish");
        let drained = self.proxy.hand_over(deadline).await;
        if let Some(shipper) = self.shipper.take() {
            shipper.shutdown().await;
        }
        tracing::info!(agent = %self.id, idle = drained.idle, cut = drained.cut, "the process before has ended");
        drained
    }

    /// Notes what became of an attempt to hand over, for whoever asked for it.
    pub fn note_upgrade(&self, outcome: &anyhow::Result<Offered>) {
        let outcome = match outcome {
            Ok(offered) => Ok(offered.process()),
            Err(error) => Err(format!("{error:#}")),
        };
        handover::note_outcome(&self.data_dir, &outcome);
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
        if let Some(shipper) = self.shipper.take() {
            shipper.shutdown().await;
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
