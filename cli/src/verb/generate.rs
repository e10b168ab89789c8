//! `weir generate`: artifacts made or changed on the way through a pipe.

use clap::{Args, ValueEnum};
use serde_json::{Map, Number, Value, json};

use super::{
    Context,
    get::missing,
    input::{Input, only},
};
use crate::{client, failure::Failure, kind::Kind};

/// Make an artifact, or change one on its way through a pipe; prints it, stores nothing.
///
/// It begins with the document of --file or --stdin, with a stored one (--source), or with nothing.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir generate breed front:2 --deployable acme/front:2\n  \
    weir generate blueprint -s shop -c front -b front:2 -t shop:2\n  \
    weir inspect deployment shop --as-blueprint |\n    \
    weir generate blueprint --cluster front --breed front:2 --stdin |\n    weir deploy --deployment shop --stdin"
)]
pub(crate) struct Generate {
    /// What is made
    what: What,
    /// Its name
    name: Option<String>,
    #[command(flatten)]
    input: Input,
    /// Stored breed or blueprint to begin with
    #[arg(short, long, value_name = "NAME", conflicts_with_all = ["file", "stdin"])]
    source: Option<String>,
    /// The same as NAME
    #[arg(
        short,
        long,
        visible_alias = "name",
        value_name = "NAME",
        conflicts_with = "name"
    )]
    target: Option<String>,
    /// Breed: what is run
    #[arg(short, long)]
    deployable: Option<String>,
    /// Blueprint: the cluster whose only service is set
    #[arg(short, long, requires = "breed")]
    cluster: Option<String>,
    /// Blueprint: the breed of that service
    #[arg(short, long, requires = "cluster")]
    breed: Option<String>,
    /// Blueprint: the scale of that service, by name
    #[arg(long, requires = "cluster")]
    scale: Option<String>,
    /// Blueprint: the SLA of that cluster, by name
    #[arg(long, requires = "cluster")]
    sla: Option<String>,
    /// Escalation: least of what is scaled
    #[arg(long, value_name = "NUMBER")]
    minimum: Option<Number>,
    /// Escalation: most of what is scaled
    #[arg(long, value_name = "NUMBER")]
    maximum: Option<Number>,
    /// Escalation: by how much it is scaled
    #[arg(long, alias = "scale_by", value_name = "NUMBER")]
    scale_by: Option<Number>,
    /// Escalation: the cluster that is scaled; default: that of the SLA
    #[arg(long, alias = "target_cluster", value_name = "CLUSTER")]
    target_cluster: Option<String>,
    /// SLA: response time above which it escalates, in milliseconds
    #[arg(long, value_name = "MS")]
    upper: Option<u32>,
    /// SLA: response time below which it goes back, in milliseconds
    #[arg(long, value_name = "MS")]
    lower: Option<u32>,
    /// SLA: the time that is looked at, in seconds
    #[arg(long, value_name = "S")]
    interval: Option<u32>,
    /// SLA: the time after a change in which there is no other, in seconds
    #[arg(long, value_name = "S")]
    cooldown: Option<u32>,
}

/// What can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    #[value(alias = "breeds")]
    Breed,
    #[value(alias = "blueprints")]
    Blueprint,
    #[value(alias = "scales")]
    Scale,
    #[value(aliases = ["conditions", "filter", "filters"])]
    Condition,
    #[value(alias = "rewrites")]
    Rewrite,
    #[value(alias = "routes")]
    Route,
    #[value(alias = "escalation_cpu")]
    EscalationCpu,
    #[value(alias = "escalation_memory")]
    EscalationMemory,
    #[value(aliases = ["escalation_instance", "escalation-instances", "escalation_instances"])]
    EscalationInstance,
    #[value(alias = "sla_response_time_sliding_window")]
    SlaResponseTimeSlidingWindow,
}

impl What {
    fn kind(self) -> Kind {
        match self {
            Self::Breed => Kind::Breeds,
            Self::Blueprint => Kind::Blueprints,
            Self::Scale => Kind::Scales,
            Self::Condition => Kind::Conditions,
            Self::Rewrite => Kind::Rewrites,
            Self::Route => Kind::Routes,
            Self::EscalationCpu | Self::EscalationMemory | Self::EscalationInstance => Kind::Escalations,
            Self::SlaResponseTimeSlidingWindow => Kind::Slas,
        }
    }

    /// The type that the artifact says, if its kind has types.
    fn type_word(self) -> Option<&'static str> {
        match self {
            Self::EscalationCpu => Some("scale_cpu"),
            Self::EscalationMemory => Some("scale_memory"),
            Self::EscalationInstance => Some("scale_instances"),
            Self::SlaResponseTimeSlidingWindow => Some("response_time_sliding_window"),
            _ => None,
        }
    }
}

pub(crate) async fn run(context: &Context, generate: &Generate) -> Result<(), Failure> {
    generate.fits()?;
    let kind = generate.what.kind();
    let begin = match (&generate.source, generate.input.read()?) {
        (Some(name), _) => {
            let found = context.client.get(&client::artifact(kind, name), &[]).await;
            found.map_err(|error| missing(error, kind, name))?
        }
        (None, Some(source)) => only(&source)?,
        (None, None) => json!({}),
    };
    let Value::Object(mut tree) = begin else {
        return Err(Failure::Usage("an artifact is a map".to_owned()));
    };
    tree.retain(|_, value| !is_empty(value));
    generate.apply(&mut tree);
    context.output.tree(&Value::Object(tree))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

impl Generate {
    /// Refuses options that say nothing about what is made.
    fn fits(&self) -> Result<(), Failure> {
        let kind = self.what.kind();
        let options = [
            (
                "source",
                self.source.is_some(),
                &[Kind::Breeds, Kind::Blueprints][..],
            ),
            ("deployable", self.deployable.is_some(), &[Kind::Breeds]),
            ("cluster", self.cluster.is_some(), &[Kind::Blueprints]),
            ("minimum", self.minimum.is_some(), &[Kind::Escalations]),
            ("maximum", self.maximum.is_some(), &[Kind::Escalations]),
            ("scale-by", self.scale_by.is_some(), &[Kind::Escalations]),
            (
                "target-cluster",
                self.target_cluster.is_some(),
                &[Kind::Escalations],
            ),
            ("upper", self.upper.is_some(), &[Kind::Slas]),
            ("lower", self.lower.is_some(), &[Kind::Slas]),
            ("interval", self.interval.is_some(), &[Kind::Slas]),
            ("cooldown", self.cooldown.is_some(), &[Kind::Slas]),
        ];
        match options
            .iter()
            .find(|(_, given, kinds)| *given && !kinds.contains(&kind))
        {
            None => Ok(()),
            Some((option, ..)) => Err(Failure::Usage(format!(
                "--{option} says nothing about a {}",
                kind.singular()
            ))),
        }
    }

    fn apply(&self, tree: &mut Map<String, Value>) {
        if let Some(name) = self.target.as_ref().or(self.name.as_ref()) {
            tree.insert("name".to_owned(), json!(name));
        }
        let kind = self.what.kind().singular();
        tree.entry("kind").or_insert_with(|| json!(kind));
        if let Some(word) = self.what.type_word() {
            tree.insert("type".to_owned(), json!(word));
        }
        if let Some(deployable) = &self.deployable {
            match tree.get_mut("deployable") {
                Some(Value::Object(known)) => known.insert("definition".to_owned(), json!(deployable)),
                _ => tree.insert("deployable".to_owned(), json!(deployable)),
            };
        }
        if let (Some(cluster), Some(breed)) = (&self.cluster, &self.breed) {
            self.service(tree, cluster, breed);
        }
        for (key, value) in [
            ("minimum", &self.minimum),
            ("maximum", &self.maximum),
            ("scale_by", &self.scale_by),
        ] {
            if let Some(number) = value {
                tree.insert(key.to_owned(), Value::Number(number.clone()));
            }
        }
        if let Some(target) = &self.target_cluster {
            tree.insert("target".to_owned(), json!(target));
        }
        for (group, key, value) in [
            ("threshold", "upper", self.upper),
            ("threshold", "lower", self.lower),
            ("window", "interval", self.interval),
            ("window", "cooldown", self.cooldown),
        ] {
            if let Some(number) = value {
                table(tree, group).insert(key.to_owned(), json!(number));
            }
        }
    }

    /// Makes a breed the only service of a cluster; the cluster's gateways, SLA and the rest stay.
    fn service(&self, tree: &mut Map<String, Value>, cluster: &str, breed: &str) {
        let clusters = table(tree, "clusters");
        if let Some(Value::Object(short)) = clusters.get_mut(cluster)
            && short.get("services").is_none_or(Value::is_null)
        {
            // A cluster without `services` is its service, but for what is its own. A breed in place has the metadata.
            let is_breed = short.contains_key("name") && !short.contains_key("breed");
            short.retain(|key, _| match key.as_str() {
                "gateways" | "sla" => true,
                "metadata" => !is_breed,
                _ => false,
            });
        }
        let cluster = table(clusters, cluster);
        let mut service = json!({"breed": breed});
        if let Some(scale) = &self.scale {
            service["scale"] = json!(scale);
        }
        cluster.insert("services".to_owned(), json!([service]));
        if let Some(sla) = &self.sla {
            cluster.insert("sla".to_owned(), json!(sla));
        }
    }
}

/// The map under a key, which is made if there is none.
fn table<'a>(tree: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = tree.entry(key).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("it was made a map")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::{Value, json};

    use super::Generate;
    use crate::args::{Cli, Command};

    fn generate(arguments: &[&str]) -> Generate {
        match Cli::try_parse_from([&["weir", "generate"], arguments].concat()).map(|cli| cli.command) {
            Ok(Command::Generate(generate)) => generate,
            other => panic!("{other:?}"),
        }
    }

    fn made(arguments: &[&str], begin: Value) -> Value {
        let Value::Object(mut tree) = begin else {
            panic!("a map")
        };
        let generate = generate(arguments);
        generate.fits().unwrap();
        generate.apply(&mut tree);
        Value::Object(tree)
    }

    #[test]
    fn every_kind_from_nothing_can_be_read_back() {
        for (arguments, kind, ends) in [
            (&["breed", "a", "--deployable", "acme/a"][..], "breed", None),
            (
                &[
                    "blueprint",
                    "a",
                    "--cluster",
                    "c",
                    "--breed",
                    "b",
                    "--scale",
                    "s",
                    "--sla",
                    "l",
                ],
                "blueprint",
                None,
            ),
            (
                &[
                    "escalation-cpu",
                    "a",
                    "--minimum",
                    "0.5",
                    "--maximum",
                    "2",
                    "--scale_by",
                    "0.25",
                ],
                "escalation",
                None,
            ),
            (
                &[
                    "escalation_instance",
                    "a",
                    "--minimum",
                    "1",
                    "--maximum",
                    "2",
                    "--scale-by",
                    "1",
                    "--target_cluster",
                    "c",
                ],
                "escalation",
                None,
            ),
            (
                &[
                    "sla-response-time-sliding-window",
                    "a",
                    "--upper",
                    "100",
                    "--lower",
                    "10",
                    "--interval",
                    "60",
                    "--cooldown",
                    "60",
                ],
                "sla",
                None,
            ),
            // What has no options is begun only.
            (&["scale", "a"], "scale", Some("cpu")),
            (&["filter", "a"], "condition", Some("condition")),
        ] {
            let made = made(arguments, json!({}));
            assert_eq!(made["kind"], kind);
            match (weir_artifact::read::requests(&made.to_string()), ends) {
                (Ok(_), None) => {}
                (Err(problems), Some(missing)) => assert!(problems[0].path.contains(missing), "{problems:?}"),
                (other, _) => panic!("{arguments:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_service_of_a_cluster_is_set_and_the_rest_stays() {
        let begin = json!({"name": "shop", "kind": "blueprint", "clusters": {
            "front": {"sla": "fast", "services": [{"breed": "front:1"}, {"breed": "front:0"}]},
            "back": "back:1"}});
        let made = made(&["blueprint", "--cluster", "front", "--breed", "front:2"], begin);
        assert_eq!(
            made,
            json!({"name": "shop", "kind": "blueprint", "clusters": {
                "front": {"sla": "fast", "services": [{"breed": "front:2"}]}, "back": "back:1"}})
        );
        let short = json!({"clusters": {"back": "back:1"}});
        let made = super::tests::made(&["blueprint", "-c", "back", "-b", "back:2", "-t", "new"], short);
        assert_eq!(
            made["clusters"],
            json!({"back": {"services": [{"breed": "back:2"}]}})
        );
        assert_eq!(made["name"], "new");
    }

    #[test]
    fn what_a_short_cluster_has_beside_its_service_stays() {
        let own = json!({"sla": "fast", "gateways": {"web": {"sticky": "route"}}, "metadata": {"a": 1}});
        for (service, has_metadata) in [
            (
                json!({"breed": "front:1", "scale": "small", "network": "n"}),
                true,
            ),
            (json!({"breed": "front:1", "services": null}), true),
            (json!({"name": "front:1", "deployable": "x"}), false),
        ] {
            let (mut short, mut whole) = (own.clone(), own.clone());
            for (key, value) in service.as_object().unwrap() {
                short[key] = value.clone();
            }
            if !has_metadata {
                whole.as_object_mut().unwrap().remove("metadata");
            }
            whole["services"] = json!([{"breed": "front:2"}]);
            let begin = json!({"name": "shop", "clusters": {"front": short}});
            let made = made(&["blueprint", "-c", "front", "-b", "front:2"], begin);
            assert_eq!(made["clusters"]["front"], whole, "{service}");
        }
    }

    #[test]
    fn a_stored_breeds_type_stays() {
        let begin = json!({"name": "a", "deployable": {"type": "command", "definition": "x"}});
        let made = made(&["breed", "-d", "y", "-t", "b"], begin);
        assert_eq!(
            made,
            json!({"name": "b", "deployable": {"type": "command", "definition": "y"}, "kind": "breed"})
        );
    }

    #[test]
    fn options_of_other_kinds_are_refused() {
        assert!(generate(&["scale", "--deployable", "x"]).fits().is_err());
        assert!(generate(&["breed", "--minimum", "1"]).fits().is_err());
        assert!(Cli::try_parse_from(["weir", "generate", "blueprint", "--cluster", "c"]).is_err());
    }
}
