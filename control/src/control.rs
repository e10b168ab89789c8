//! The parts of control, put together and taken apart in order.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use weir_driver::ContainerDriver;
use weir_persist::{Persistence, memory::Memory, postgres::Postgres, sqlite::Sqlite};

use crate::{
    Config, Storage,
    access::{NewToken, Role},
    api, configuration, drivers, event, figures, leader, reconcile,
    state::{State, now_ms},
    tls::{self, Tls},
    traffic, vga,
};

/// Name of the token that the first start makes.
const FIRST_TOKEN: &str = "admin";
/// Name of the database in the data folder.
const DATABASE: &str = "weir.db";

/// A running control.
#[derive(Debug)]
pub struct Control {
    address: SocketAddr,
    first_token: Option<String>,
    state: Arc<State>,
    /// Ends the API.
    stop_api: CancellationToken,
    /// Ends everything that works in the background.
    stop_tasks: CancellationToken,
    server: JoinHandle<()>,
    tasks: Vec<JoinHandle<()>>,
}

impl Control {
    /// Opens the storage and the drivers, starts the reconcilers and serves.
    ///
    /// # Errors
    /// The data folder cannot be used or is in use, the address cannot be listened on, or what the configuration
    /// says of a Docker Engine is wrong.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let driver = drivers::open(&config).await?;
        Self::start_with(config, driver).await
    }

    /// As [`Control::start`], with another driver.
    ///
    /// # Errors
    /// The data folder cannot be used or is in use, or the address cannot be listened on.
    pub async fn start_with(config: Config, driver: Arc<dyn ContainerDriver>) -> anyhow::Result<Self> {
        let persist = open(&config).await?;
        let tls = match config.tls.clone() {
            None => None,
            Some(files) => {
                let opened = tokio::task::spawn_blocking(move || Tls::open(files)).await;
                let opened = opened.context("reading the certificate panicked")?;
                Some(Arc::new(opened.context("the API cannot use TLS")?))
            }
        };
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("{} cannot be listened on", config.listen))?;
        let address = listener.local_addr().context("the listener has no address")?;
        let (namespace, strip) = (config.namespace.clone(), config.strip_path_segments);
        let state = Arc::new(State::new(config, persist, driver));
        configuration::load(&state)
            .await
            .context("the configuration cannot be read")?;
        let first_token = first_token(&state).await?;
        let stop_api = CancellationToken::new();
        let stop_tasks = CancellationToken::new();
        let scheme = if tls.is_some() { "https" } else { "http" };
        // Before anything acts: until the election is decided, this control follows.
        let election = leader::start(
            Arc::clone(&state),
            format!("{scheme}://{address}"),
            stop_tasks.clone(),
        );
        let mut tasks = vec![
            election,
            reconcile::start(Arc::clone(&state), stop_tasks.clone()),
            traffic::start(Arc::clone(&state), stop_tasks.clone()),
            drivers::start_notices(Arc::clone(&state), stop_tasks.clone()),
            event::retention::start(Arc::clone(&state), stop_tasks.clone()),
            figures::start(Arc::clone(&state), stop_tasks.clone()),
            vga::start(Arc::clone(&state), stop_tasks.clone()),
        ];
        tasks.extend(tls.clone().map(|tls| tls::watch(tls, stop_tasks.clone())));
        let secure = tls.is_some();
        let router = api::router(api::Api::new(Arc::clone(&state), address, stop_api.clone()));
        let server = tokio::spawn(api::serve(
            listener,
            tls,
            router,
            namespace,
            strip,
            stop_api.clone(),
        ));
        let authentication = state.config.authentication;
        tracing::info!(%address, tls = secure, authentication, "control serves");
        if !authentication && !address.ip().is_loopback() {
            tracing::warn!("whoever reaches this address can change everything, as authentication is off");
        }
        Ok(Self {
            address,
            first_token,
            state,
            stop_api,
            stop_tasks,
            server,
            tasks,
        })
    }

    /// Where the API is; with the port that the system chose if the configured one was 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The admin's token that this start made, as there was none yet; it is not shown again.
    pub fn first_token(&self) -> Option<&str> {
        self.first_token.as_deref()
    }

    /// Makes a token with the role `admin` in a data folder that no running control has, for whoever lost
    /// theirs. Answers its text.
    ///
    /// # Errors
    /// The data folder cannot be used or is in use, or there is a token of this name.
    pub async fn make_admin_token(config: Config, name: &str) -> anyhow::Result<String> {
        let persist = open(&config).await?;
        let state = State::new(config, persist, Arc::new(weir_driver::fake::Fake::new()));
        admin_token(&state, name).await
    }

    /// Writes a backup into the storage that a control of this configuration would use, which is not running.
    /// `over`: also if there is something in it (see [`weir_persist::backup::import`]).
    ///
    /// # Errors
    /// The storage cannot be used or is in use, holds something, or the backup is damaged.
    pub async fn restore(
        config: Config,
        backup: impl std::io::BufRead,
        over: bool,
    ) -> anyhow::Result<weir_persist::backup::Contents> {
        let storage = open(&config).await?;
        Ok(weir_persist::backup::import(&*storage, backup, over).await?)
    }

    /// Ends: first the API, then the reconcilers, then the instances unless they are to be kept.
    pub async fn shutdown(self) {
        self.stop_api.cancel();
        ended("the API", self.server).await;
        self.stop_tasks.cancel();
        for task in self.tasks {
            ended("a reconciler", task).await;
        }
        if !self.state.config.keep_instances {
            reconcile::stop_all(&self.state).await;
        }
        tracing::info!("control has stopped");
    }
}

/// Makes the first token, if requests need one and there is none that could make others.
async fn first_token(state: &State) -> anyhow::Result<Option<String>> {
    if !state.config.authentication {
        return Ok(None);
    }
    let known = state
        .access
        .list(state)
        .await
        .context("the tokens cannot be read")?;
    let namespace = &state.config.namespace;
    if known.iter().any(|token| token.is_admin_of(namespace)) {
        return Ok(None);
    }
    let mut name = FIRST_TOKEN.to_owned();
    if known.iter().any(|token| token.name == name) {
        name = format!("{FIRST_TOKEN}-{}", now_ms());
    }
    let text = admin_token(state, &name).await?;
    if let Some(path) = &state.config.admin_token_file
        && let Err(error) = write_secret(path, &text)
    {
        // Nobody would have it; the next start makes another one.
        state.access.revoke(state, &name, "weir-control").await?;
        return Err(error)
            .with_context(|| format!("the admin's token cannot be written to {}", path.display()));
    }
    Ok(Some(text))
}

async fn admin_token(state: &State, name: &str) -> anyhow::Result<String> {
    let asked = NewToken {
        name: name.to_owned(),
        role: Role::Admin,
        namespace: "*".to_owned(),
        lifetime: None,
    };
    let made = state.access.create(state, asked, "weir-control").await;
    let (token, _) = made.context("the admin's token cannot be made")?;
    Ok(token.text().to_owned())
}

/// Writes a file that its owner alone can read.
fn write_secret(path: &std::path::Path, text: &str) -> std::io::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    // An old file would keep its rights.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

async fn open(config: &Config) -> anyhow::Result<Arc<dyn Persistence>> {
    Ok(match &config.storage {
        Storage::Memory => Arc::new(Memory::new()),
        Storage::Postgres(url) => {
            let word = |letter: char| {
                if letter.is_ascii_alphanumeric() {
                    letter
                } else {
                    '_'
                }
            };
            let schema: String = format!("weir_{}", config.namespace).chars().map(word).collect();
            let postgres = Postgres::connect(url, &schema)
                .await
                .context("the database cannot be used")?;
            Arc::new(postgres)
        }
        Storage::Sqlite => {
            let path = config.data_dir.join(DATABASE);
            let sqlite = tokio::task::spawn_blocking(move || Sqlite::open(&path))
                .await
                .context("opening the database panicked")?
                .context("the database cannot be opened")?;
            Arc::new(sqlite)
        }
    })
}

async fn ended(what: &str, task: JoinHandle<()>) {
    if let Err(error) = task.await {
        tracing::error!(%error, "{what} did not end well");
    }
}
