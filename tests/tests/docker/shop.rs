//! Control, an agent and an engine, and what tests ask of them.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use weir_agent::Agent;
use weir_control::{Control, Docker, DockerEngine};
use weir_store::{Store, embedded::Embedded};
use weir_test_docker::{Engine, Options, image::SERVICE};
use weir_tests::{load::exchange, ports::port};

/// How long a test waits for something that should happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct Shop {
    control: Option<Control>,
    agent: Option<Agent>,
    store: Arc<dyn Store>,
    http: reqwest::Client,
    /// Port of the gateway.
    pub(crate) port: u16,
    folder: TempDir,
    pub(crate) engine: Engine,
}

async fn control(engine: &Engine, folder: &Path, store: &Arc<dyn Store>) -> Control {
    let mut config = weir_control::Config::new(folder.join("control"), Arc::clone(store));
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.gateway_address = [0, 0, 0, 0].into();
    config.keep_instances = true;
    let docker = Docker::At(DockerEngine {
        endpoint: Some(engine.endpoint()),
        ..DockerEngine::default()
    });
    config.gateway_host = docker.gateway_address().await.unwrap().unwrap().to_string();
    config.docker = docker;
    Control::start(config).await.unwrap()
}

impl Shop {
    /// `None`: there can be no engine here.
    pub(crate) async fn open() -> Option<Shop> {
        let engine = tokio::task::spawn_blocking(|| {
            let engine = Engine::start(Options::default())?;
            for version in ["1", "2"] {
                engine.image(&format!("weir/front:{version}"), &[SERVICE, "serve", version]);
            }
            Some(engine)
        })
        .await
        .unwrap()?;
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Embedded::open(&folder.path().join("store.redb")).unwrap());
        let control = control(&engine, folder.path(), &store).await;
        let mut config = weir_agent::Config::new(Arc::clone(&store), folder.path().join("agent"));
        config.admin = "127.0.0.1:0".parse().unwrap();
        config.proxy.workers = 2;
        let agent = Agent::start(config).await.unwrap();
        Some(Shop {
            control: Some(control),
            agent: Some(agent),
            store,
            http: reqwest::Client::new(),
            port: port(),
            folder,
            engine,
        })
    }

    /// Ends control and starts another one on the same data; instances run on.
    pub(crate) async fn restart_control(&mut self) {
        self.control.take().unwrap().shutdown().await;
        self.control = Some(control(&self.engine, self.folder.path(), &self.store).await);
    }

    fn api(&self, path: &str) -> String {
        format!(
            "http://{}/api/v1/{path}",
            self.control.as_ref().unwrap().address()
        )
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.http.get(self.api(path)).send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap_or(Value::Null)
    }

    pub(crate) async fn deploy(&self, blueprint: &str) {
        let request = self.http.put(self.api("deployments/shop"));
        let request = request
            .header("content-type", "application/x-yaml")
            .body(blueprint.to_owned());
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// Waits until a service is as wanted; the service.
    pub(crate) async fn until(
        &self,
        cluster: &str,
        service: usize,
        what: &str,
        is: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let deployment = self.get("deployments/shop").await;
            let found = deployment["clusters"][cluster]["services"][service].clone();
            if is(&found) {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "{cluster}/{service} is not {what}: {found:#}\n{}",
                self.engine.log()
            );
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    pub(crate) async fn done(&self, cluster: &str, service: usize) -> Value {
        self.until(cluster, service, "done", |service| {
            service["status"]["phase"]["name"] == "Done"
        })
        .await
    }

    /// A request to the gateway.
    pub(crate) async fn ask(&self) -> Result<String, String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))
            .await
            .map_err(|error| error.to_string())?;
        exchange(&mut stream, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n").await
    }

    /// Waits until the gateway answers.
    pub(crate) async fn serves(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.ask().await {
                Ok(_) => return,
                Err(error) => assert!(Instant::now() < deadline, "the gateway does not serve: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Containers of ours that run.
    pub(crate) fn running(&self) -> Vec<String> {
        let ours = self.engine.containers().into_iter().filter(|container| {
            container["State"] == "running" && container["Labels"]["io.weir.namespace"] == "default"
        });
        ours.filter_map(|container| container["Id"].as_str().map(str::to_owned))
            .collect()
    }

    pub(crate) async fn eventually(&self, what: &str, is: impl Fn(&Shop) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is(self) {
            assert!(Instant::now() < deadline, "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    pub(crate) async fn close(mut self) {
        if let Some(control) = self.control.take() {
            control.shutdown().await;
        }
        if let Some(agent) = self.agent.take() {
            agent.shutdown(Duration::from_secs(2)).await;
        }
    }
}
