//! Images: names, who may pull, and pulls with their progress.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bollard::{
    auth::DockerCredentials, errors::Error, models::CreateImageInfo, query_parameters::CreateImageOptions,
};
use futures::StreamExt as _;
use serde_json::Value;
use thiserror::Error as ThisError;
use weir_driver::DriverError;

use crate::{Credentials, engine::Engine, fault};

/// Registry of names that have none.
const DEFAULT_REGISTRY: &str = "docker.io";
/// Under which Docker's own client keeps credentials for it.
const DEFAULT_REGISTRY_KEY: &str = "https://index.docker.io/v1/";
/// Longest credentials file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Layers whose progress is summed; further ones are not counted.
const LAYERS_MAX: usize = 512;

/// The parts of an image's name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name<'a> {
    registry: &'a str,
    /// All before the tag or digest.
    base: &'a str,
    /// Tag or digest; `latest` unless there is one.
    tag: &'a str,
}

impl<'a> Name<'a> {
    fn of(text: &'a str) -> Name<'a> {
        let (base, tag) = match text.split_once('@') {
            Some((base, digest)) => {
                // A tag beside a digest says nothing.
                let colon = base
                    .rfind(':')
                    .filter(|at| base.rfind('/').is_none_or(|slash| slash < *at));
                (colon.and_then(|at| base.get(..at)).unwrap_or(base), digest)
            }
            None => match text.rsplit_once(':') {
                Some((base, tag)) if !tag.contains('/') => (base, tag),
                _ => (text, "latest"),
            },
        };
        let registry = match base.split_once('/') {
            Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
            _ => DEFAULT_REGISTRY,
        };
        Name { registry, base, tag }
    }
}

/// Why credentials cannot be read.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The file cannot be read.
    #[error("the credentials in {} cannot be read", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not a file of Docker's client.
    #[error("{} is not a configuration of Docker's client: {reason}", path.display())]
    Form {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Credentials that `docker login` left in a file (`~/.docker/config.json`). Those in a store of the desktop
/// (`credsStore`) are not in it and are left out.
///
/// # Errors
/// The file cannot be read, or is not one of Docker's client.
pub fn credentials_of_file(path: &Path) -> Result<Vec<Credentials>, CredentialsError> {
    let failed = |source| CredentialsError::File {
        path: path.to_owned(),
        source,
    };
    let wrong = |reason: String| CredentialsError::Form {
        path: path.to_owned(),
        reason,
    };
    if std::fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(wrong(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let file: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let Some(entries) = file.get("auths").and_then(Value::as_object) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for (server, entry) in entries {
        let Some(auth) = entry
            .get("auth")
            .and_then(Value::as_str)
            .filter(|auth| !auth.is_empty())
        else {
            continue;
        };
        let decoded = STANDARD
            .decode(auth)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
        let Some((username, password)) = pair else {
            return Err(wrong(format!("the entry for {server} is damaged")));
        };
        found.push(Credentials {
            server: server.clone(),
            username: username.to_owned(),
            password: password.trim_end_matches('\0').to_owned(),
        });
    }
    Ok(found)
}

/// Those for this registry.
fn credentials(all: &[Credentials], registry: &str) -> Option<DockerCredentials> {
    let key = |server: &str| {
        if server == DEFAULT_REGISTRY_KEY {
            return DEFAULT_REGISTRY.to_owned();
        }
        let server = server.split_once("://").map_or(server, |(_, rest)| rest);
        server.split('/').next().unwrap_or_default().to_owned()
    };
    let found = all
        .iter()
        .find(|credentials| key(&credentials.server) == registry)?;
    Some(DockerCredentials {
        username: Some(found.username.clone()),
        password: Some(found.password.clone()),
        serveraddress: Some(if registry == DEFAULT_REGISTRY {
            DEFAULT_REGISTRY_KEY.to_owned()
        } else {
            registry.to_owned()
        }),
        ..DockerCredentials::default()
    })
}

/// Whether the engine has an image.
pub(crate) async fn is_there(engine: &Engine, image: &str) -> Result<bool, Error> {
    match engine.bounded(engine.client().inspect_image(image)).await {
        Ok(_) => Ok(true),
        Err(error) if fault::status(&error) == Some(404) => Ok(false),
        Err(error) => Err(error),
    }
}

/// How far a pull is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    layers: HashMap<String, (u64, u64)>,
}

impl Progress {
    fn hear(&mut self, info: &CreateImageInfo) {
        let (Some(layer), Some(detail)) = (&info.id, &info.progress_detail) else {
            return;
        };
        let number = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
        let (Some(current), Some(total)) = (number(detail.current), number(detail.total)) else {
            return;
        };
        // Unpacking counts from nothing again: only what comes over the network is counted.
        let is_download = info.status.as_deref() == Some("Downloading");
        if is_download && (self.layers.contains_key(layer) || self.layers.len() < LAYERS_MAX) {
            self.layers.insert(layer.clone(), (current.min(total), total));
        }
    }

    /// Bytes that are here, of how many that are known of.
    fn bytes(&self) -> (u64, u64) {
        self.layers
            .values()
            .fold((0, 0), |(here, all), (current, total)| {
                (here + current, all + total)
            })
    }

    /// How many quarters are here, 0 to 4.
    pub(crate) fn quarter(&self) -> u64 {
        match self.bytes() {
            (_, 0) => 0,
            (here, all) => 4 * here / all,
        }
    }

    /// For people.
    pub(crate) fn words(&self, image: &str) -> String {
        #[expect(
            clippy::cast_precision_loss,
            reason = "it is shown with one digit after the point"
        )]
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        match self.bytes() {
            (_, 0) => format!("pulling the image `{image}`"),
            (here, all) => format!(
                "pulling the image `{image}`: {:.1} of {:.1} MB",
                megabytes(here),
                megabytes(all)
            ),
        }
    }
}

/// Pulls an image; `tell` hears how far it is.
pub(crate) async fn pull(
    engine: &Engine,
    image: &str,
    all: &[Credentials],
    mut tell: impl FnMut(&Progress),
) -> Result<(), DriverError> {
    let name = Name::of(image);
    let options = CreateImageOptions {
        from_image: Some(name.base.to_owned()),
        tag: Some(name.tag.to_owned()),
        ..CreateImageOptions::default()
    };
    let credentials = credentials(all, name.registry);
    let with = credentials.is_some();
    let mut steps = engine.client().create_image(Some(options), None, credentials);
    let mut progress = Progress::default();
    tell(&progress);
    while let Some(step) = steps.next().await {
        match step {
            Ok(info) => {
                let before = progress.bytes();
                progress.hear(&info);
                if progress.bytes() != before {
                    tell(&progress);
                }
            }
            Err(error) => return Err(refused(&error, image, name.registry, with)),
        }
    }
    Ok(())
}

/// What a failed pull means. Registries answer a name that is not there as they answer one that is not for us.
fn refused(error: &Error, image: &str, registry: &str, with_credentials: bool) -> DriverError {
    let message = fault::words(error);
    let lower = message.to_lowercase();
    let of_the_name = [
        "not found",
        "manifest unknown",
        "does not exist",
        "invalid reference",
        "no matching manifest",
        "name unknown",
        "repository name must",
    ];
    let of_us = [
        "access denied",
        "unauthorized",
        "authentication required",
        "no basic auth",
        "forbidden",
    ];
    if of_us.iter().any(|words| lower.contains(words)) {
        let who = if with_credentials {
            "it does not take the credentials that there are for it"
        } else {
            "there are no credentials for it"
        };
        DriverError::Definition(format!(
            "the image `{image}` is not on the engine, and {registry} does not give it away ({who}): {message}"
        ))
    } else if fault::status(error).is_some_and(|status| matches!(status, 400 | 404))
        || of_the_name.iter().any(|words| lower.contains(words))
    {
        DriverError::Definition(format!("the image `{image}` is missing: {message}"))
    } else {
        DriverError::Unavailable(format!("the image `{image}` cannot be pulled now: {message}").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_names() {
        let parts = |text| {
            let name = Name::of(text);
            (
                name.registry.to_owned(),
                name.base.to_owned(),
                name.tag.to_owned(),
            )
        };
        let of =
            |registry: &str, base: &str, tag: &str| (registry.to_owned(), base.to_owned(), tag.to_owned());
        assert_eq!(parts("redis"), of("docker.io", "redis", "latest"));
        assert_eq!(parts("shop/front:1.0"), of("docker.io", "shop/front", "1.0"));
        assert_eq!(
            parts("localhost:5000/a/b"),
            of("localhost:5000", "localhost:5000/a/b", "latest")
        );
        assert_eq!(parts("r.io/a:1@sha256:ab"), of("r.io", "r.io/a", "sha256:ab"));
        assert_eq!(parts("r.io:5/a@sha256:ab"), of("r.io:5", "r.io:5/a", "sha256:ab"));
    }

    #[test]
    fn credentials_are_of_their_registry_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let auth = STANDARD.encode("me:secret:with:colons");
        std::fs::write(
            &path,
            format!(r#"{{"auths": {{"https://index.docker.io/v1/": {{"auth": "{auth}"}}, "r.io:5": {{}}, "https://q.io/v1": {{"auth": "{auth}"}}}}}}"#),
        )
        .unwrap();
        let all = credentials_of_file(&path).unwrap();
        assert_eq!(all.len(), 2);
        let of = |registry| credentials(&all, registry).and_then(|found| found.password);
        assert_eq!(of("docker.io").as_deref(), Some("secret:with:colons"));
        assert_eq!(of("q.io").as_deref(), Some("secret:with:colons"));
        assert_eq!(of("r.io:5"), None);
        assert!(!format!("{all:?}").contains("secret"), "secrets are not shown");
        std::fs::write(&path, r#"{"auths": {"x": {"auth": "!"}}}"#).unwrap();
        assert!(
            credentials_of_file(&path)
                .unwrap_err()
                .to_string()
                .contains("entry for x")
        );
    }

    #[test]
    fn progress_sums_what_comes_over_the_network() {
        let mut progress = Progress::default();
        let mut hear = |layer: &str, status: &str, current: i64, total: i64| {
            let info = serde_json::json!({
                "id": layer, "status": status, "progressDetail": {"current": current, "total": total},
            });
            progress.hear(&serde_json::from_value(info).unwrap());
            progress.words("x")
        };
        assert_eq!(hear("a", "Waiting", 0, 0), "pulling the image `x`");
        assert_eq!(
            hear("a", "Downloading", 500_000, 2_000_000),
            "pulling the image `x`: 0.5 of 2.0 MB"
        );
        assert_eq!(
            hear("b", "Downloading", 1_000_000, 1_000_000),
            "pulling the image `x`: 1.5 of 3.0 MB"
        );
        assert_eq!(
            hear("b", "Extracting", 1, 1_000_000),
            "pulling the image `x`: 1.5 of 3.0 MB"
        );
    }

    #[test]
    fn refusals() {
        let of = |text: &str, with| {
            let error = Error::DockerStreamError {
                error: text.to_owned(),
            };
            refused(&error, "r.io/x:1", "r.io", with)
        };
        let missing = of("manifest for r.io/x:1 not found: manifest unknown", false);
        assert!(matches!(missing, DriverError::Definition(text) if text.contains("`r.io/x:1` is missing")));
        let denied = of("pull access denied for r.io/x", false).to_string();
        assert!(denied.contains("no credentials"), "{denied}");
        let denied = of("unauthorized: authentication required", true).to_string();
        assert!(denied.contains("does not take the credentials"), "{denied}");
        assert!(matches!(
            of("dial tcp: lookup r.io: no such host", false),
            DriverError::Unavailable(_)
        ));
    }
}
