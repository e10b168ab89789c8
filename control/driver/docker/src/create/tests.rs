use weir_driver::PortSpec;

use super::*;
use crate::Endpoint;

pub(crate) fn spec() -> InstanceSpec {
    InstanceSpec {
        id: "shop.front-1".to_owned(),
        labels: BTreeMap::from([
            ("io.vamp.deployment".to_owned(), "shop".to_owned()),
            ("io.vamp.service".to_owned(), "front:1".to_owned()),
        ]),
        deployable_type: "container/docker".to_owned(),
        definition: "shop/front:1.0".to_owned(),
        environment: BTreeMap::from([("A".to_owned(), "1 $B".to_owned())]),
        ports: vec![
            PortSpec {
                name: "web".to_owned(),
                number: 8080,
            },
            PortSpec {
                name: "admin".to_owned(),
                number: 0,
            },
        ],
        arguments: Vec::new(),
        cpu: 0.25,
        memory_mb: 64.0,
        network: None,
        working_directory: None,
        health_checks: Vec::new(),
        dialect: None,
    }
}

fn config() -> Config {
    Config::new(Endpoint::new("/run/docker.sock", None).unwrap(), "default")
}

fn body(spec: &InstanceSpec) -> Value {
    serde_json::to_value(plan(spec, &config()).unwrap().body).unwrap()
}

#[test]
fn all_of_a_spec_is_in_the_request() {
    let body = body(&spec());
    assert_eq!(body["Image"], "shop/front:1.0");
    assert_eq!(
        body["Env"],
        json!([
            "A=1 $B",
            "PORT=8080",
            "PORT_ADMIN=20000",
            "PORT_WEB=8080",
            "WEIR_INSTANCE=default/shop.front-1"
        ])
    );
    assert_eq!(body["ExposedPorts"], json!({"8080/tcp": {}, "20000/tcp": {}}));
    let host = &body["HostConfig"];
    assert_eq!(host["Memory"], 64 << 20);
    assert_eq!(host["MemorySwap"], 64 << 20);
    assert_eq!(host["NanoCpus"], 250_000_000);
    assert_eq!(host["RestartPolicy"]["Name"], "no");
    assert_eq!(
        host["PortBindings"]["8080/tcp"],
        json!([{"HostIp": "127.0.0.1", "HostPort": "0"}])
    );
    let labels = &body["Labels"];
    assert_eq!(labels["io.vamp.deployment"], "shop");
    assert_eq!(labels["io.vamp"], "deployment-service");
    assert_eq!(labels["io.vamp.id"], "shop.front-1");
    assert_eq!(
        labels["io.vamp.scale"],
        r#"{"name":"","instances":1,"cpu":0.25,"memory":64.0}"#
    );
    assert_eq!(labels["io.weir.namespace"], "default");
    assert_eq!(labels["io.weir.instance"], "shop.front-1");
}

#[test]
fn a_record_is_read_back_from_its_labels() {
    let plan = plan(&spec(), &config()).unwrap();
    let labels = plan.body.labels.unwrap();
    let record = Record::of(&labels).unwrap();
    assert_eq!(record.way, Way::Published);
    assert_eq!(record.ports["web"], 8080);
    assert_eq!(record.labels, spec().labels);
    assert_eq!(Record::of(&std::collections::HashMap::new()), None);
}

#[test]
fn ways_in() {
    let way = |network: Option<&str>, dialect: Option<Value>, reach: Reach| {
        let spec = InstanceSpec {
            network: network.map(str::to_owned),
            dialect,
            ports: vec![PortSpec {
                name: "web".to_owned(),
                number: 80,
            }],
            ..spec()
        };
        let config = Config { reach, ..config() };
        let made = plan(&spec, &config).map_err(|error| error.to_string())?;
        let record = Record::of(made.body.labels.as_ref().unwrap()).unwrap();
        let host = made.body.host_config.unwrap();
        Ok((record.way, host.network_mode, host.port_bindings.is_some()))
    };
    let published = Reach::Published;
    let mode = |name: &str| Some(name.to_owned());
    assert_eq!(way(None, None, published), Ok((Way::Published, None, true)));
    assert_eq!(
        way(Some("bridge"), None, published),
        Ok((Way::Published, None, true))
    );
    let own = Way::Address(String::new());
    assert_eq!(way(None, None, Reach::Address), Ok((own, None, false)));
    assert_eq!(
        way(Some("HOST"), None, published),
        Ok((Way::Host, mode("host"), false))
    );
    assert_eq!(
        way(Some("none"), None, published),
        Ok((Way::None, mode("none"), false))
    );
    let blue = || Way::Address("blue".to_owned());
    assert_eq!(
        way(Some("blue"), None, published),
        Ok((blue(), mode("blue"), false))
    );
    let net = || Some(json!({"net": "blue"}));
    assert_eq!(
        way(Some("USER"), net(), published),
        Ok((blue(), mode("blue"), false))
    );
    assert_eq!(way(None, net(), published), Ok((blue(), mode("blue"), false)));
    let error: Result<(Way, Option<String>, bool), String> = way(Some("USER"), None, published);
    assert!(error.unwrap_err().contains("needs its name"));
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |spec: InstanceSpec| plan(&spec, &config()).unwrap_err().to_string();
    let image = |image: &str| {
        refused(InstanceSpec {
            definition: image.to_owned(),
            ..spec()
        })
    };
    assert!(image(" ").contains("no image"));
    assert!(image("a b").contains("`a b`"));
    let dialect = |dialect: Value| {
        refused(InstanceSpec {
            dialect: Some(dialect),
            ..spec()
        })
    };
    let unknown = dialect(json!({"Hostnaem": "x", "HostConfig": {"Memroy": 1}}));
    assert!(
        unknown.contains("Hostnaem") && unknown.contains("HostConfig/Memroy"),
        "{unknown}"
    );
    assert!(dialect(json!({"Hostname": 5})).contains("does not fit"));
    let host = InstanceSpec {
        network: Some("HOST".to_owned()),
        ..spec()
    };
    assert!(refused(host).contains("`admin` needs a number"));
}

#[test]
fn names_are_what_an_engine_takes() {
    assert_eq!(name("a/b c", "x.1_-y"), "weir-a-b-c-x.1_-y");
}
