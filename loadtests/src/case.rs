//! Cases as data.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::Deserialize;

/// One case: what load is made.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// Name of its folder.
    #[serde(skip)]
    pub(crate) name: String,
    #[serde(skip)]
    folder: PathBuf,
    /// For people.
    pub(crate) title: String,
    /// Clients at a time.
    pub(crate) connections: usize,
    /// Requests of a round, over all clients.
    pub(crate) requests: u64,
    /// Length of an answer's body.
    pub(crate) body_bytes: usize,
    /// Whether a client keeps its connection.
    #[serde(default = "yes")]
    pub(crate) keep_alive: bool,
    /// The case of ours with which ours is compared, instead of other targets.
    pub(crate) baseline: Option<String>,
    /// What is measured.
    #[serde(default)]
    pub(crate) measure: Measure,
    /// Gateways beside the one under load.
    #[serde(default)]
    generate_gateways: usize,
    /// Routes with a condition that never matches, before the others.
    #[serde(default)]
    generate_conditions: usize,
    /// Whether clients speak TLS 1.3.
    #[serde(default)]
    pub(crate) tls: bool,
    /// Whether clients speak HTTP/2 (over TLS).
    #[serde(default)]
    pub(crate) http2: bool,
    /// Whether TLS sessions are resumed where the target offers it.
    #[serde(default = "yes")]
    pub(crate) resume: bool,
    /// Whether a request is a WebSocket message, and its answer the echo.
    #[serde(default)]
    pub(crate) websocket: bool,
    /// Requests are sent when they are due, not when the one before was answered.
    #[serde(default)]
    pub(crate) requests_per_second: u32,
    /// Workers of ours, each on a processor of its own.
    #[serde(default = "one")]
    pub(crate) workers: usize,
    /// What our agent is told besides.
    #[serde(default)]
    weir_arguments: Vec<String>,
    /// Changes of the configuration while the load runs.
    #[serde(default)]
    pub(crate) swaps_per_second: u32,
}

/// What is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Measure {
    /// Processor time per request.
    #[default]
    Cpu,
    /// Resident memory per open, idle connection.
    Memory,
    /// Resident memory of the whole target after its first request.
    Resident,
}

const fn yes() -> bool {
    true
}

const fn one() -> usize {
    1
}

/// Where the run happens.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) listen: std::net::SocketAddr,
    pub(crate) backend: std::net::SocketAddr,
    pub(crate) dir: PathBuf,
}

impl Case {
    /// Every case, in order of names.
    pub(crate) fn all() -> anyhow::Result<Vec<Self>> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
        let mut cases = Vec::new();
        for entry in fs::read_dir(&root).with_context(|| format!("reading {}", root.display()))? {
            let folder = entry?.path();
            let file = folder.join("case.toml");
            if !file.exists() {
                continue;
            }
            let text = fs::read_to_string(&file)?;
            let mut case: Self =
                toml::from_str(&text).with_context(|| format!("reading {}", file.display()))?;
            case.name = folder
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            case.folder = folder;
            cases.push(case);
        }
        cases.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(cases)
    }

    /// The configuration of a target for this run; `None` if the target takes no part.
    pub(crate) fn configuration(&self, file: &str, place: &Place) -> anyhow::Result<Option<String>> {
        let path = self.folder.join(file);
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(self.filled(&fs::read_to_string(&path)?, place)))
    }

    /// Arguments of our agent beside those of every case.
    pub(crate) fn arguments<'c>(&'c self, place: &'c Place) -> impl Iterator<Item = String> + 'c {
        self.weir_arguments
            .iter()
            .map(|argument| self.filled(argument, place))
    }

    fn filled(&self, text: &str, place: &Place) -> String {
        text.replace("{{listen}}", &place.listen.to_string())
            .replace("{{listen_host}}", &place.listen.ip().to_string())
            .replace("{{listen_port}}", &place.listen.port().to_string())
            .replace("{{backend}}", &place.backend.to_string())
            .replace("{{backend_port}}", &place.backend.port().to_string())
            .replace("{{dir}}", &place.dir.display().to_string())
            .replace("{{generated_routes}}", &self.routes(place))
            .replace("{{generated_gateways}}", &self.gateways(place))
    }

    fn routes(&self, place: &Place) -> String {
        (0..self.generate_conditions).fold(String::new(), |mut text, n| {
            let _ = writeln!(
                text,
                "      c{n}: {{ weight: 0%, condition: \"header X-Case has never-{n}\", instances: [\"{}\"] }}",
                place.backend
            );
            text
        })
    }

    fn gateways(&self, place: &Place) -> String {
        (0..self.generate_gateways).fold(String::new(), |mut text, n| {
            let _ = writeln!(
                text,
                "  other{n}:\n    virtual_hosts: [\"other{n}.example\"]\n    routes:\n      a: {{ weight: 90%, instances: [\"{0}\"] }}\n      b: {{ weight: 10%, instances: [\"{0}\"] }}",
                place.backend
            );
            text
        })
    }
}
