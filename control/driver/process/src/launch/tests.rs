use weir_driver::{HealthCheckSpec, HealthProtocol, PortSpec};

use super::*;
use crate::folder::Root;

fn spec() -> InstanceSpec {
    InstanceSpec {
        id: "shop.front-1_a".to_owned(),
        deployable_type: "command".to_owned(),
        definition: "sh -c true".to_owned(),
        cpu: 0.1,
        memory_mb: 64.0,
        ..InstanceSpec::default()
    }
}

fn port(name: &str) -> PortSpec {
    PortSpec {
        name: name.to_owned(),
        number: 80,
    }
}

fn record(spec: InstanceSpec) -> Record {
    let ports = spec
        .ports
        .iter()
        .zip(31_000..)
        .map(|(port, number)| (port.name.clone(), number))
        .collect();
    Record {
        version: 1,
        namespace: "default".to_owned(),
        spec,
        host: "127.0.0.1".to_owned(),
        ports,
        started_at_ms: 1,
        started_ticks: 1,
        boot_id: String::new(),
    }
}

fn launch(spec: InstanceSpec) -> Result<Launch, String> {
    let temp = tempfile::tempdir().unwrap();
    let root = Root::open(temp.path()).unwrap();
    let folder = root.folder(&spec.id);
    let options = check(&spec).map_err(|error| error.to_string())?;
    let inherited = BTreeMap::from([
        ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
        ("LANG".to_owned(), "C".to_owned()),
    ]);
    Launch::new(&record(spec), &folder, options, &inherited).map_err(|error| error.to_string())
}

fn fault(spec: InstanceSpec) -> String {
    launch(spec).unwrap_err()
}

#[test]
fn an_instance_is_told_its_ports_and_who_it_is() {
    let environment = [
        ("LANG", "de"),
        ("PORT", "1"),
        ("PORT_WEB_2", "2"),
        ("WEIR_INSTANCE", "x"),
        ("A", "b"),
    ];
    let spec = InstanceSpec {
        ports: vec![port("web-2"), port("admin")],
        environment: environment
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        definition: "sh $PORT $PORT_ADMIN $A".to_owned(),
        ..spec()
    };
    let launch = launch(spec).unwrap();
    assert_eq!(launch.words, ["sh", "31000", "31001", "b"]);
    let get = |name: &str| launch.environment.get(name).map(String::as_str);
    assert_eq!(get("LANG"), Some("de"), "the spec wins over control");
    assert_eq!(get("PORT"), Some("31000"), "what was assigned wins over the spec");
    assert_eq!(get("PORT_WEB_2"), Some("31000"));
    assert_eq!(get("PORT_ADMIN"), Some("31001"));
    assert_eq!(get("WEIR_INSTANCE"), Some("default/shop.front-1_a"));
    assert!(
        get("WEIR_INSTANCE_DIR")
            .unwrap()
            .ends_with("/instances/shop.front-1_a")
    );
    assert_eq!(get("HOME"), None, "nothing else is there");
}

#[test]
fn without_ports_a_port_variable_is_the_specs_own() {
    let spec = InstanceSpec {
        environment: [("PORT".to_owned(), "1".to_owned())].into(),
        ..spec()
    };
    assert_eq!(
        launch(spec).unwrap().environment.get("PORT").map(String::as_str),
        Some("1")
    );
}

#[test]
fn a_shell_gets_the_definition_whole() {
    let spec = InstanceSpec {
        definition: "a | b $PORT".to_owned(),
        arguments: vec![("shell".to_owned(), "true".to_owned())],
        ..spec()
    };
    let launch = launch(spec).unwrap();
    assert_eq!(launch.words, ["/bin/sh", "-c", "a | b $PORT"]);
}

#[test]
fn faults_name_what_is_wrong() {
    for id in ["", "..", ".hidden", "a/b", "a b", "ä"] {
        let message = fault(InstanceSpec {
            id: id.to_owned(),
            ..spec()
        });
        assert!(message.contains(&format!("`{id}`")), "{message}");
    }
    let argument = |name: &str, value: &str| InstanceSpec {
        arguments: vec![(name.to_owned(), value.to_owned())],
        ..spec()
    };
    assert!(fault(argument("privileged", "true")).contains("`privileged: true`"));
    assert!(fault(argument("shell", "yes")).contains("`shell: yes`"));
    assert!(
        fault(InstanceSpec {
            memory_mb: 0.0,
            ..argument("limit_memory", "true")
        })
        .contains("limit_memory")
    );
    assert!(
        fault(InstanceSpec {
            ports: vec![port("a-b"), port("a_b")],
            ..spec()
        })
        .contains("`PORT_A_B`")
    );
    let missing = InstanceSpec {
        definition: "no-such-thing --x".to_owned(),
        ..spec()
    };
    assert!(fault(missing).contains("`no-such-thing`"));
    let missing = InstanceSpec {
        definition: "./no-such-thing".to_owned(),
        ..spec()
    };
    assert!(fault(missing).contains("`./no-such-thing`"));
    let folder = InstanceSpec {
        definition: "/usr/bin".to_owned(),
        ..spec()
    };
    assert!(fault(folder).contains("not an executable file"));
    let nowhere = InstanceSpec {
        working_directory: Some("/no/such/folder".to_owned()),
        ..spec()
    };
    assert!(fault(nowhere).contains("`/no/such/folder`"));
    let unset = InstanceSpec {
        definition: "sh $UNSET".to_owned(),
        ..spec()
    };
    assert!(fault(unset).contains("`UNSET`"));
    let nul = InstanceSpec {
        environment: [("A".to_owned(), "\0".to_owned())].into(),
        ..spec()
    };
    assert!(fault(nul).contains("\"A\""));
    let health = |port: &str, path: &str| HealthCheckSpec {
        protocol: HealthProtocol::Http,
        port: port.to_owned(),
        path: path.to_owned(),
        initial_delay: std::time::Duration::ZERO,
        timeout: std::time::Duration::ZERO,
        interval: std::time::Duration::ZERO,
        failures: 1,
    };
    let check = InstanceSpec {
        health_checks: vec![health("web", "/")],
        ..spec()
    };
    assert!(fault(check).contains("`web`"));
    let check = InstanceSpec {
        ports: vec![port("web")],
        health_checks: vec![health("web", "/\r\nX: y")],
        ..spec()
    };
    assert!(fault(check).contains("path"));
}
