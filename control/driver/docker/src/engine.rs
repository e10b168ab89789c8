//! The engine's client: every call has a bound.

use std::{future::Future, sync::Arc, time::Duration};

use bollard::{
    API_DEFAULT_VERSION, BollardRequest, Docker,
    errors::Error,
    models::{ContainerInspectResponse, ContainerSummary},
    query_parameters::{
        InspectContainerOptions, ListContainersOptions, RemoveContainerOptions, StartContainerOptions,
        StopContainerOptions,
    },
};
use tokio::time::timeout;

use crate::{Config, labels};

/// The client's own limit; ours are shorter, but for pulls and stops.
const CLIENT_TIMEOUT_S: u64 = 24 * 60 * 60;
/// Longest wait for a container to be made or started.
const START_MAX: Duration = Duration::from_secs(60);

/// An engine.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    client: Docker,
    namespace: Arc<str>,
    request_timeout: Duration,
}

impl Engine {
    pub(crate) fn new(config: &Config) -> Result<Engine, Error> {
        let endpoint = config.endpoint.clone();
        let client = Docker::connect_with_custom_transport(
            move |request: BollardRequest| endpoint.send(request),
            Some("http://docker"),
            CLIENT_TIMEOUT_S,
            API_DEFAULT_VERSION,
        )?;
        Ok(Engine {
            client,
            namespace: config.namespace.as_str().into(),
            request_timeout: config.request_timeout,
        })
    }

    /// For calls whose bound is another.
    pub(crate) fn client(&self) -> &Docker {
        &self.client
    }

    /// Waits for an answer, at most the configured time.
    pub(crate) async fn bounded<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        timeout(self.request_timeout, call)
            .await
            .unwrap_or(Err(Error::RequestTimeoutError))
    }

    /// All containers of the namespace.
    pub(crate) async fn ours(&self) -> Result<Vec<ContainerSummary>, Error> {
        let label = format!("{}={}", labels::NAMESPACE, self.namespace);
        self.labelled(vec![label]).await
    }

    /// Containers of one instance; more than one only if somebody made copies.
    pub(crate) async fn of_instance(&self, id: &str) -> Result<Vec<ContainerSummary>, Error> {
        let labels = vec![
            format!("{}={}", labels::NAMESPACE, self.namespace),
            format!("{}={id}", labels::INSTANCE),
        ];
        self.labelled(labels).await
    }

    async fn labelled(&self, labels: Vec<String>) -> Result<Vec<ContainerSummary>, Error> {
        let options = ListContainersOptions {
            all: true,
            filters: Some([("label".to_owned(), labels)].into()),
            ..ListContainersOptions::default()
        };
        self.bounded(self.client.list_containers(Some(options))).await
    }

    /// `None`: there is no such container.
    pub(crate) async fn inspect(&self, container: &str) -> Result<Option<ContainerInspectResponse>, Error> {
        let call = self
            .client
            .inspect_container(container, None::<InspectContainerOptions>);
        absent(self.bounded(call).await)
    }

    pub(crate) async fn start(&self, container: &str) -> Result<(), Error> {
        let call = self
            .client
            .start_container(container, None::<StartContainerOptions>);
        self.patiently(call).await
    }

    /// As [`Engine::bounded`], for what a busy engine may take long for: making and starting.
    pub(crate) async fn patiently<T>(
        &self,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        timeout(self.request_timeout.max(START_MAX), call)
            .await
            .unwrap_or(Err(Error::RequestTimeoutError))
    }

    /// Asks a container to end, kills it after `grace` (whole seconds, rounded up), and removes it. One that
    /// is gone is fine.
    pub(crate) async fn end(&self, container: &str, grace: Duration) -> Result<(), Error> {
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        let options = StopContainerOptions {
            t: Some(i32::try_from(seconds).unwrap_or(i32::MAX)),
            ..StopContainerOptions::default()
        };
        let stop = self.client.stop_container(container, Some(options));
        let stopped = timeout(grace + self.request_timeout, stop)
            .await
            .unwrap_or(Err(Error::RequestTimeoutError));
        absent(stopped)?;
        self.remove(container).await
    }

    /// Removes a container by force, with its nameless volumes. One that is gone is fine.
    pub(crate) async fn remove(&self, container: &str) -> Result<(), Error> {
        let options = RemoveContainerOptions {
            force: true,
            v: true,
            ..RemoveContainerOptions::default()
        };
        let removed = self
            .bounded(self.client.remove_container(container, Some(options)))
            .await;
        match absent(removed) {
            // Somebody else is at it.
            Err(error) if crate::fault::status(&error) == Some(409) => self.until_gone(container).await,
            other => other.map(|_| ()),
        }
    }

    async fn until_gone(&self, container: &str) -> Result<(), Error> {
        let gone = async {
            while self.inspect(container).await?.is_some() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(())
        };
        self.bounded(gone).await
    }
}

/// What is not there is no error.
fn absent<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if crate::fault::status(&error) == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}
