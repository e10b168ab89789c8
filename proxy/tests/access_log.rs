//! The access log as it is read.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "the support module is shared by suites")]

mod support;

use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use support::{
    Origin, Peer, World, eventually, gateway, instance, on_condition, one_worker, route, to_gateway,
};
use tempfile::TempDir;
use weir_model::{Protocol, Sticky, lookup};
use weir_proxy::{AccessLog, Config, LogField, LogFields, LogFormat, LogOutput};

const G: &str = "g";

/// A log in a folder of its own.
struct Logged {
    folder: TempDir,
    config: Config,
}

impl Logged {
    fn new(format: LogFormat) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let output = LogOutput::File(folder.path().join("access.log"));
        let config = Config {
            access_log: Some(AccessLog::new(format, output)),
            ..one_worker()
        };
        Self { folder, config }
    }

    fn json() -> Self {
        Self::new(LogFormat::Json)
    }

    fn set(mut self, set: impl FnOnce(&mut AccessLog)) -> Self {
        set(self.config.access_log.as_mut().unwrap());
        self
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }

    fn world(&self, origin: &Origin) -> World {
        World::with(self.config.clone(), origin)
    }

    /// So many lines, once they are there, and no more.
    #[track_caller]
    fn lines(&self, count: usize) -> Vec<String> {
        lines(&self.path(), count)
    }

    #[track_caller]
    fn records(&self, count: usize) -> Vec<Value> {
        let lines = self.lines(count);
        lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

#[track_caller]
fn lines(path: &Path, count: usize) -> Vec<String> {
    let read = || std::fs::read_to_string(path).unwrap_or_default();
    eventually(&format!("{count} lines in the log"), || {
        let text = read();
        text.ends_with('\n') && text.lines().count() >= count
    });
    let lines: Vec<_> = read().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

/// What differs from run to run is a sign.
fn stable(line: &str) -> String {
    let volatile = [
        (r#""cp":\d+"#, r#""cp":#"#),
        (
            r#""(t)":"\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d\.\d{3}""#,
            r##""$1":"#""##,
        ),
        (r#""(Tq|Tc|Tr|Tt)":\d+"#, r##""$1":#"##),
    ];
    volatile.iter().fold(line.to_owned(), |line, (pattern, sign)| {
        regex::Regex::new(pattern)
            .unwrap()
            .replace_all(&line, *sign)
            .into_owned()
    })
}

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// One request and its answer; the head of that.
#[track_caller]
fn exchange(client: &mut Peer, server: &mut Peer, request: impl AsRef<[u8]>) -> String {
    client.send(request);
    answer(client, server)
}

#[track_caller]
fn answer(client: &mut Peer, server: &mut Peer) -> String {
    server.head();
    server.send(ANSWER);
    client.response().0
}

/// As [`exchange`], on a new connection to the origin, which is given too.
#[track_caller]
fn first_exchange(client: &mut Peer, origin: &Origin, request: impl AsRef<[u8]>) -> (Peer, String) {
    client.send(request);
    let mut server = origin.accept();
    let head = answer(client, &mut server);
    (server, head)
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n")
}

fn ways(records: &[Value]) -> Vec<[&str; 3]> {
    records
        .iter()
        .map(|record| ["ft", "b", "s"].map(|field| record[field].as_str().unwrap()))
        .collect()
}

/// `G` and `o_G`.
fn names(gateway: &str) -> (String, String) {
    let name = lookup::gateway(gateway);
    let weights = format!("o_{name}");
    (name, weights)
}

/// `R` and `im_R`.
fn route_names(gateway: &str, route: &str) -> (String, String) {
    let name = lookup::route(gateway, route);
    let matched = format!("im_{name}");
    (name, matched)
}

#[test]
fn a_request_has_a_record_for_each_level() {
    let (origin, log) = (Origin::start(), Logged::json());
    let world = log.world(&origin);
    let mut client = world.client();
    first_exchange(&mut client, &origin, get("/a?b=c"));
    let lines = log.lines(2);
    let rest = r##""Tq":#,"Tw":0,"Tc":#,"Tr":#,"Tt":#,"ST":200,"B":40,"CC":"-","CS":"-","tsc":"----","ac":1,"fc":1,"bc":1,"sc":1,"rc":0,"sq":0,"bq":0,"hr":"","hs":"","r":"GET /a?b=c HTTP/1.1"}"##;
    let (g, weights) = names(G);
    let (r, _) = route_names(G, "r");
    let i = lookup::instance("i");
    let begin = r##"{"ci":"127.0.0.1","cp":#,"t":"#""##;
    assert_eq!(
        stable(&lines[0]),
        format!(r#"{begin},"ft":"{g}","b":"{weights}","s":"{r}",{rest}"#)
    );
    assert_eq!(
        stable(&lines[1]),
        format!(r#"{begin},"ft":"{r}","b":"{r}","s":"{i}",{rest}"#)
    );
    assert!(world.metric("weir_access_log_records_total", "") >= 2.0);
    world.shutdown(Duration::ZERO);
}

#[test]
fn a_chain_by_host_name_has_records_for_every_gateway() {
    let (origin, log) = (Origin::start(), Logged::json());
    let hosts = support::Port::reserve();
    let config = Config {
        virtual_hosts: Some(hosts.address()),
        ..log.config.clone()
    };
    let world = World::empty(config);
    let mut outer = gateway("outer", None, vec![to_gateway("o", 100, "middle")]);
    outer.virtual_hosts = vec!["shop.example".to_owned()];
    world.apply(vec![
        outer,
        gateway("middle", None, vec![to_gateway("m", 100, "inner")]),
        gateway(
            "inner",
            None,
            vec![route("n", 100, vec![instance("i", origin.port)])],
        ),
    ]);
    let mut client = Peer::connect(hosts.address());
    first_exchange(&mut client, &origin, get("/"));
    let records = log.records(7);
    let mut expected = Vec::new();
    let (outer, _) = names("outer");
    expected.push(["virtual_hosts".to_owned(), outer.clone(), outer]);
    for (gateway, route, server) in [
        ("outer", "o", "middle"),
        ("middle", "m", "inner"),
        ("inner", "n", "i"),
    ] {
        let ((g, weights), (r, _)) = (names(gateway), route_names(gateway, route));
        expected.push([g, weights, r.clone()]);
        expected.push([r.clone(), r, lookup::instance(server)]);
    }
    assert_eq!(ways(&records), expected);
    // A host that nobody has.
    client.send(get("/").replace("shop", "other"));
    client.response();
    let records = log.records(8);
    assert_eq!(ways(&records)[7], ["virtual_hosts", "virtual_hosts", "<NOSRV>"]);
    assert_eq!(
        (&records[7]["ST"], &records[7]["tsc"]),
        (&503.into(), &"SC--".into())
    );
}

#[test]
fn both_branches_of_a_condition_are_told_apart() {
    let (origin, log) = (Origin::start(), Logged::json());
    let world = World::empty(log.config.clone());
    let to = |name: &str, percent| route(name, percent, vec![instance(name, origin.port)]);
    let matching = on_condition(to("a", 0), "user-agent == Firefox", 50);
    world.apply_routes(vec![matching, to("b", 100)]);
    let mut client = world.client();
    let request = "GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: Firefox\r\n\r\n";
    for _ in 0..2 {
        client.send(request);
        let mut server = origin.accept();
        server.head();
        server.send(ANSWER.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
        client.response();
    }
    let records = log.records(5);
    let ((g, weights), (a, im_a), (b, _)) = (names(G), route_names(G, "a"), route_names(G, "b"));
    let (i_a, i_b) = (lookup::instance("a"), lookup::instance("b"));
    let taken = [[&g, &im_a, &a], [&a, &a, &i_a]].map(|way| way.map(String::as_str));
    let left =
        [[&g, &im_a, &weights], [&weights, &weights, &b], [&b, &b, &i_b]].map(|way| way.map(String::as_str));
    let found = ways(&records);
    assert!(
        found == [&taken[..], &left[..]].concat() || found == [&left[..], &taken[..]].concat(),
        "{found:#?}"
    );
}

#[test]
fn what_gets_no_instance_is_told_too() {
    let (origin, log) = (Origin::start(), Logged::json());
    let world = log.world(&origin);
    let ((g, weights), (r, _)) = (names(G), route_names(G, "r"));
    world.apply_routes(vec![route("r", 100, vec![])]);
    let mut client = world.client();
    client.send(get("/none"));
    client.response();
    let records = log.records(2);
    assert_eq!(ways(&records), [[&*g, &*weights, &*r], [&*r, &*r, "<NOSRV>"]]);
    for record in &records {
        assert_eq!(
            (&record["ST"], &record["Tc"], &record["tsc"]),
            (&503.into(), &(-1).into(), &"SC--".into())
        );
    }

    world.apply_routes(vec![route("r", 0, vec![instance("i", origin.port)])]);
    client.send(get("/zero"));
    client.response();
    let records = log.records(3);
    assert_eq!(ways(&records)[2], [&g, &weights, "<NOSRV>"]);

    client.send("nonsense\r\n\r\n");
    client.rest();
    let records = log.records(4);
    assert_eq!(ways(&records)[3], [&g, &g, "<NOSRV>"]);
    assert_eq!(
        (&records[3]["ST"], &records[3]["r"], &records[3]["tsc"]),
        (&400.into(), &"<BADREQ>".into(), &"PR--".into())
    );
}

#[test]
fn the_combined_form_is_one_line_per_request() {
    let (origin, log) = (Origin::start(), Logged::new(LogFormat::Combined));
    let world = log.world(&origin);
    let mut client = world.client();
    first_exchange(
        &mut client,
        &origin,
        b"GET /\" HTTP/1.1\r\nHost: x\r\nReferer: http://a/\"\\\r\nUser-Agent: \xc3\xa9\tMozilla\r\n\r\n",
    );
    let line = log.lines(1).remove(0);
    let pattern = concat!(
        r#"^127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\] "GET /\\" HTTP/1\.1" 200 40 "#,
        r#""http://a/\\"\\\\" "\\xc3\\xa9\\x09Mozilla" "g" "r" "i" \d+/0/\d+/\d+/\d+ --$"#
    );
    assert!(regex::Regex::new(pattern).unwrap().is_match(&line), "{line}");
}

#[test]
fn a_file_that_was_moved_away_is_opened_anew() {
    let (origin, log) = (Origin::start(), Logged::json());
    let world = log.world(&origin);
    let mut client = world.client();
    let (mut server, _) = first_exchange(&mut client, &origin, get("/one"));
    log.lines(2);
    let old = log.folder.path().join("access.log.1");
    std::fs::rename(log.path(), &old).unwrap();
    world.proxy.reopen_access_log();
    eventually("it is opened anew", || log.path().exists());
    exchange(&mut client, &mut server, get("/two"));
    assert!(log.lines(2)[0].contains("/two"));
    assert!(lines(&old, 2)[0].contains("/one"));
}

#[test]
fn an_output_that_fails_costs_records_and_nothing_else() {
    let origin = Origin::start();
    let full = LogOutput::File("/dev/full".into());
    let config = Config {
        access_log: Some(AccessLog::new(LogFormat::Json, full)),
        ..one_worker()
    };
    let world = World::with(config, &origin);
    let mut client = world.client();
    let (mut server, _) = first_exchange(&mut client, &origin, get("/"));
    exchange(&mut client, &mut server, get("/"));
    eventually("the loss is counted", || {
        world.metric("weir_access_log_dropped_total", "") == 4.0
            && world.metric("weir_access_log_errors_total", "") >= 1.0
    });
    assert_eq!(world.metric("weir_access_log_records_total", ""), 0.0);
}

#[test]
fn a_sample_has_whole_requests() {
    let (origin, log) = (Origin::start(), Logged::json());
    let log = log.set(|log| {
        log.sample = NonZeroU32::new(3).unwrap();
        log.fields = [LogField::Frontend, LogField::Request].into_iter().collect();
    });
    let world = log.world(&origin);
    let mut client = world.client();
    let (mut server, _) = first_exchange(&mut client, &origin, get("/0"));
    for number in 1..7 {
        exchange(&mut client, &mut server, get(&format!("/{number}")));
    }
    let (g, r) = (names(G).0, route_names(G, "r").0);
    let expected: Vec<_> = [0, 3, 6]
        .into_iter()
        .flat_map(|number| [&g, &r].map(|ft| format!(r#"{{"ft":"{ft}","r":"GET /{number} HTTP/1.1"}}"#)))
        .collect();
    assert_eq!(log.lines(6), expected);
}

#[test]
fn the_time_between_requests_counts_only_if_asked_for() {
    const PAUSE: Duration = Duration::from_millis(400);
    let total = |idle_time: bool| {
        let (origin, log) = (Origin::start(), Logged::json());
        let log = log.set(|log| log.idle_time = idle_time);
        let world = log.world(&origin);
        let mut client = world.client();
        let (mut server, _) = first_exchange(&mut client, &origin, get("/"));
        log.records(2);
        std::thread::sleep(PAUSE);
        exchange(&mut client, &mut server, get("/"));
        let records = log.records(4);
        (
            records[2]["Tq"].as_u64().unwrap(),
            records[2]["Tt"].as_u64().unwrap(),
        )
    };
    let (request, all) = total(true);
    assert!(request >= 400 && all >= request, "{request} {all}");
    let (request, _) = total(false);
    assert!(request < 300, "{request}");
}

#[test]
fn a_tcp_connection_has_the_fields_of_one() {
    let (origin, log) = (Origin::start(), Logged::json());
    let world = World::empty(log.config.clone());
    let routes = vec![route("r", 100, vec![instance("i", origin.port)])];
    let mut tcp = gateway(G, Some(world.port.number), routes);
    tcp.protocol = Protocol::Tcp;
    world.apply(vec![tcp]);
    let mut client = world.client();
    let mut server = origin.accept();
    client.send("ping").end_sending();
    server.expect("ping");
    server.send("pong!");
    drop(server);
    client.expect("pong!");
    client.rest();
    let line = log.lines(2).remove(1);
    let (r, i) = (route_names(G, "r").0, lookup::instance("i"));
    assert_eq!(
        stable(&line),
        format!(
            r##"{{"ci":"127.0.0.1","cp":#,"t":"#","ft":"{r}","b":"{r}","s":"{i}","Tw":0,"Tc":#,"Tt":#,"B":5,"ts":"--","ac":1,"fc":1,"bc":1,"sc":1,"rc":0,"sq":0,"bq":0}}"##
        )
    );
}

#[test]
fn cookies_of_a_sticky_gateway_show() {
    let (origin, log) = (Origin::start(), Logged::json());
    let log = log.set(|log| log.fields = [LogField::Termination].into_iter().collect::<LogFields>());
    let world = World::empty(log.config.clone());
    let routes = vec![route("r", 100, vec![instance("i", origin.port)])];
    let mut sticky = gateway(G, Some(world.port.number), routes);
    sticky.sticky = Sticky::Route;
    world.apply(vec![sticky]);
    let mut client = world.client();
    let (mut server, head) = first_exchange(&mut client, &origin, get("/"));
    let cookie = support::header(&head, "set-cookie").unwrap();
    let cookie = cookie.split(';').next().unwrap();
    let again = format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n");
    exchange(&mut client, &mut server, again);
    let states: Vec<_> = log
        .records(4)
        .iter()
        .map(|record| record["tsc"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(states, ["--NI", "--NI", "--VN", "--VN"]);
}

#[test]
fn what_is_cut_at_the_end_is_logged_as_such() {
    let (origin, log) = (Origin::start(), Logged::json());
    let world = log.world(&origin);
    let mut client = world.client();
    client.send(get("/slow"));
    origin.accept().head();
    assert_eq!(world.shutdown(Duration::from_millis(20)), 1);
    let records = log.records(2);
    assert_eq!(
        (&records[1]["ST"], &records[1]["tsc"], &records[1]["Tr"]),
        (&(-1).into(), &"KD--".into(), &(-1).into())
    );
}
