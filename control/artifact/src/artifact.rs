//! The artifacts as checked values. Field names are Vamp's (spec of the artifacts §2 to §12).

use indexmap::IndexMap;
use serde_json::{Map, Value};
use weir_model::{
    Condition, ConditionStrength, GatewayOptions, PathRewrite, Protocol, RouteOptions, Sticky, Weight,
};

pub use self::{
    kind::Kind,
    service::{Cluster, Health, Intention, Phase, Service, ServiceInstance, ServiceRuntime, ServiceStatus},
    sla::{ClusterSla, Escalation, NamedEscalation, NamedSla, ScaleStep, Sla, SlaReference, SlaRule},
    workflow::{Period, Schedule, Start, TimeSchedule, Workflow, WorkflowStatus},
};

mod kind;
mod service;
mod sla;
mod workflow;

/// One artifact of any kind.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "artifacts are read, used and dropped: few of them are in memory in this form"
)]
pub enum Artifact {
    /// What can be run.
    Breed(Breed),
    /// What should run together.
    Blueprint(Blueprint),
    /// What is promised, and what happens when it is not kept.
    Sla(NamedSla),
    /// How much of it.
    Scale(NamedScale),
    /// What happens when a promise is not kept.
    Escalation(NamedEscalation),
    /// One of the ways of gateways.
    Route(NamedRoute),
    /// Which requests.
    Condition(NamedCondition),
    /// How paths are changed on the way.
    Rewrite(NamedRewrite),
    /// What runs beside, to watch and to act.
    Workflow(Workflow),
    /// Where traffic enters and how it is split.
    Gateway(Gateway),
    /// What runs.
    Deployment(Deployment),
    /// What other documents may import.
    Template(Template),
}

impl Artifact {
    /// What it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Breed(_) => Kind::Breed,
            Self::Blueprint(_) => Kind::Blueprint,
            Self::Sla(_) => Kind::Sla,
            Self::Scale(_) => Kind::Scale,
            Self::Escalation(_) => Kind::Escalation,
            Self::Route(_) => Kind::Route,
            Self::Condition(_) => Kind::Condition,
            Self::Rewrite(_) => Kind::Rewrite,
            Self::Workflow(_) => Kind::Workflow,
            Self::Gateway(_) => Kind::Gateway,
            Self::Deployment(_) => Kind::Deployment,
            Self::Template(_) => Kind::Template,
        }
    }

    /// Its name, unique within its kind.
    pub fn name(&self) -> &str {
        match self {
            Self::Breed(artifact) => &artifact.name,
            Self::Blueprint(artifact) => &artifact.name,
            Self::Sla(artifact) => &artifact.name,
            Self::Scale(artifact) => &artifact.name,
            Self::Escalation(artifact) => &artifact.name,
            Self::Route(artifact) => &artifact.name,
            Self::Condition(artifact) => &artifact.name,
            Self::Rewrite(artifact) => &artifact.name,
            Self::Workflow(artifact) => &artifact.name,
            Self::Gateway(artifact) => &artifact.name,
            Self::Deployment(artifact) => &artifact.name,
            Self::Template(artifact) => &artifact.name,
        }
    }
}

/// Free content that is kept and returned.
pub type Metadata = Map<String, Value>;

/// A thing that is either named or given in place.
#[derive(Clone, Debug, PartialEq)]
pub enum OrReference<T> {
    /// By name; looked up when it is deployed.
    Reference(String),
    /// In place.
    Inline(T),
}

/// What can be run: an image, a command, a script, with the traits that others may refer to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Breed {
    /// Unique among breeds.
    pub name: String,
    /// Free content.
    pub metadata: Metadata,
    /// What is run.
    pub deployable: Deployable,
    /// Port name to number and protocol.
    pub ports: IndexMap<String, PortValue>,
    /// Variables; a value of `None` must be given before deploying.
    pub environment_variables: IndexMap<String, EnvironmentVariable>,
    /// Values that dependents may refer to.
    pub constants: IndexMap<String, String>,
    /// Driver arguments, in order.
    pub arguments: Vec<(String, String)>,
    /// Alias to breed; a reference that ends in `*` matches by prefix.
    pub dependencies: IndexMap<String, OrReference<Box<Breed>>>,
    /// `None`: not given (differs from an empty list when levels are merged).
    pub health_checks: Option<Vec<HealthCheck>>,
}

/// What a breed runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Deployable {
    /// `container/docker`, `command`, ...; `None`: the configured default.
    pub kind: Option<String>,
    /// Image name, command line, ...
    pub definition: String,
}

/// A port as written: `8080`, `8080/http`, `8080/tcp`, or text with references.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortValue {
    /// As written, with `/http` added to a bare number.
    pub text: String,
    /// 0: not assigned (the driver chooses).
    pub number: u16,
    /// http unless `/tcp` is written.
    pub protocol: Protocol,
}

/// A variable of a breed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentVariable {
    /// Name inside the container, if it differs (`CACHE_URL[CACHE]`).
    pub alias: Option<String>,
    /// Value, possibly with references.
    pub value: Option<String>,
}

/// How much a service gets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Processors; two decimals.
    pub cpu: f64,
    /// Megabytes.
    pub memory_mb: f64,
    /// Instances, 0 or more.
    pub instances: u32,
}

/// A scale that is stored on its own.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedScale {
    /// Unique among scales.
    pub name: String,
    /// Free content.
    pub metadata: Metadata,
    /// The values.
    pub scale: Scale,
}

/// A condition that is stored on its own.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedCondition {
    /// Unique among conditions.
    pub name: String,
    /// Free content.
    pub metadata: Metadata,
    /// The expression.
    pub condition: Condition,
}

/// A check by requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Default `/`.
    pub path: String,
    /// A port's *name*.
    pub port: String,
    /// Seconds before the first check.
    pub initial_delay_s: u64,
    /// Seconds that an answer may take.
    pub timeout_s: u64,
    /// Seconds between checks.
    pub interval_s: u64,
    /// Failures in a row that make it unhealthy.
    pub failures: u32,
    /// `HTTP` (default) or `TCP`; others are kept for drivers.
    pub protocol: String,
}

/// What should run together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Blueprint {
    /// Unique among blueprints.
    pub name: String,
    /// Free content.
    pub metadata: Metadata,
    /// External gateways, in order; their routes are `cluster/port`.
    pub gateways: Vec<Gateway>,
    /// Clusters by name, in order.
    pub clusters: IndexMap<String, Cluster>,
    /// `cluster.NAME` to value.
    pub environment_variables: IndexMap<String, Option<String>>,
    /// Driver to anything.
    pub dialects: Map<String, Value>,
}

/// Where traffic enters and how it is split. Also the body of a blueprint's and a cluster's gateways,
/// where the name is empty and `metadata`, `service` and `deployed` are neither printed nor read; nor is the
/// `port` inside a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gateway {
    /// One to four segments; exactly three is an internal gateway.
    pub name: String,
    /// Free content.
    pub metadata: Metadata,
    /// `None` or number 0: assigned from the range.
    pub port: Option<PortValue>,
    /// Address at which services reach it; set by the core.
    pub service: Option<GatewayService>,
    /// Affinity.
    pub sticky: Sticky,
    /// Host names.
    pub virtual_hosts: Vec<String>,
    /// In order; keyed by path: `gateway`, `deployment/port`, `deployment/cluster/port`,
    /// `deployment/cluster/service/port`, `[host:port]`, or a short form inside a blueprint.
    pub routes: IndexMap<String, OrReference<Route>>,
    /// How its socket is used.
    pub options: GatewayOptions,
    /// Whether the core publishes it.
    pub deployed: bool,
}

/// Address at which services reach a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayService {
    /// Host.
    pub host: String,
    /// Port.
    pub port: PortValue,
}

/// One of a gateway's ways.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Route {
    /// `None`: not given; the rest of 100 % is shared by such routes.
    pub weight: Option<Weight>,
    /// Which requests it wants.
    pub condition: Option<OrReference<Condition>>,
    /// `None`: not given.
    pub condition_strength: Option<ConditionStrength>,
    /// References to rewrites, or rules in place; each sees what those before it made.
    pub rewrites: Vec<Rewrite>,
    /// `default` if not given.
    pub balance: Option<String>,
    /// How its instances are reached; the rewrites are above. A health check here goes before those of the service.
    pub options: RouteOptions,
    /// Output only: where it leads.
    pub targets: Vec<RouteTarget>,
}

/// A path rewrite of a route.
#[derive(Clone, Debug, PartialEq)]
pub enum Rewrite {
    /// A stored rewrite.
    Reference(String),
    /// `NEW if CONDITION`.
    Path(PathRewrite),
}

/// A rewrite that is stored on its own.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedRewrite {
    /// Unique among rewrites.
    pub name: String,
    /// Free content.
    pub metadata: Metadata,
    /// The rule.
    pub path: PathRewrite,
}

/// A route that is stored on its own; a gateway gives it its path.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedRoute {
    /// Unique among routes.
    pub name: String,
    /// Free content.
    pub metadata: Metadata,
    /// The way.
    pub route: Route,
}

/// What other documents may import.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Template {
    /// Unique among templates.
    pub name: String,
    /// Free content.
    pub metadata: Metadata,
    /// Free content, merged into what imports it.
    pub definition: Map<String, Value>,
}

/// Where a route leads at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTarget {
    /// Instance name or `host:port`.
    pub name: String,
    /// `None`: the gateway's own address.
    pub host: Option<String>,
    /// Port.
    pub port: u16,
}

/// What runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Deployment {
    /// Unique among deployments.
    pub name: String,
    /// Free content.
    pub metadata: Metadata,
    /// Clusters by name. Their services have a runtime, breeds and scales are in place.
    pub clusters: IndexMap<String, Cluster>,
    /// `cluster.port` to value.
    pub ports: IndexMap<String, String>,
    /// `cluster.NAME` to value.
    pub environment_variables: IndexMap<String, Option<String>>,
    /// Cluster to host.
    pub hosts: IndexMap<String, String>,
    /// Driver to anything.
    pub dialects: Map<String, Value>,
}
