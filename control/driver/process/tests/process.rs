//! The process driver on this host: the suite that every driver passes, and what only processes do.
//!
//! The test program is its own service and its own control: started again with `WEIR_TEST_ROLE`, only
//! [`role`] runs, and plays that part. All parts end by themselves, so that a failed test leaves nothing.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and print"
)]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    ops::RangeInclusive,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use weir_driver::{
    ContainerDriver, DriverError, InstanceHealth, InstanceSpec, InstanceState, InstanceStatus, PortSpec,
    conformance,
    conformance::{Program, Recipe, Subject},
};
use weir_driver_process::{Config, OpenError, ProcessDriver};

const ROLE: &str = "WEIR_TEST_ROLE";
const STATE: &str = "WEIR_TEST_STATE";
const FIRST_PORT: &str = "WEIR_TEST_FIRST_PORT";
/// Runs on for a while in small steps, so that a shell sees its signals.
const RUN_ON: &str = "i=0; while [ $i -lt 2400 ]; do sleep 0.05; i=$((i+1)); done";
/// How long a part lives at most.
const LIFE: Duration = Duration::from_secs(120);
/// How long a test waits for something that should happen.
const PATIENCE: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_secs(15);

// ---- parts ----

/// Does nothing, unless this program was started to play a part.
#[test]
fn role() {
    match std::env::var(ROLE).as_deref() {
        Ok("service") => service(),
        Ok("control") => control(),
        _ => {}
    }
}

/// Answers every request at `$PORT` with 200.
fn service() {
    let port: u16 = std::env::var("PORT").unwrap().parse().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            std::thread::spawn(move || {
                let mut request = [0_u8; 1_024];
                let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                let _ = stream.read(&mut request);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi\n");
            });
        }
    });
    std::thread::sleep(LIFE);
    std::process::exit(0);
}

/// Starts one instance, says so, and waits to be killed.
fn control() {
    let state = PathBuf::from(std::env::var_os(STATE).unwrap());
    let first: u16 = std::env::var(FIRST_PORT).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let config = Config {
            instance_ports: first..=first + PORTS - 1,
            ..Config::new(&state, "test")
        };
        let driver = ProcessDriver::open(config).unwrap();
        driver.start(serve("left")).await.unwrap();
        let status = until(&driver, "left", |status| status.health == InstanceHealth::Healthy).await;
        println!("\ncontrol started {:?}", status.ports);
        tokio::time::sleep(LIFE).await;
    });
    std::process::exit(0);
}

/// A command line that starts this program in a part.
fn command(role: &str) -> String {
    let program = std::env::current_exe().unwrap();
    format!(
        "env {ROLE}={role} '{}' --exact role --nocapture",
        program.display()
    )
}

/// A control, killed and reaped when dropped at the latest.
struct Control(Child);

impl Control {
    fn start(state: &Path) -> Control {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "role", "--nocapture"])
            .env(ROLE, "control")
            .env(STATE, state)
            .env(FIRST_PORT, instance_ports().start().to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let control = Control(child);
        for line in lines {
            if line.unwrap().starts_with("control started") {
                return control;
            }
        }
        panic!("control ended before it had started the instance");
    }

    /// SIGKILL.
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

// ---- helpers ----

/// Ports of one driver.
const PORTS: u16 = 20;

/// Ports that no other driver of these tests has: they run at the same time.
fn instance_ports() -> RangeInclusive<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 21_000 + PORTS * NEXT.fetch_add(1, Ordering::Relaxed);
    first..=first + PORTS - 1
}

fn config(state: &Path) -> Config {
    Config {
        instance_ports: instance_ports(),
        ..Config::new(state, "test")
    }
}

fn open(state: &Path) -> ProcessDriver {
    ProcessDriver::open(config(state)).unwrap()
}

fn spec(id: &str, definition: &str) -> InstanceSpec {
    InstanceSpec {
        id: id.to_owned(),
        labels: BTreeMap::from([("io.vamp.deployment".to_owned(), "shop".to_owned())]),
        deployable_type: "command".to_owned(),
        definition: definition.to_owned(),
        environment: BTreeMap::new(),
        ports: Vec::new(),
        arguments: Vec::new(),
        cpu: 0.1,
        memory_mb: 64.0,
        network: None,
        working_directory: None,
        health_checks: Vec::new(),
        dialect: None,
    }
}

fn port(name: &str, number: u16) -> PortSpec {
    PortSpec {
        name: name.to_owned(),
        number,
    }
}

fn serve(id: &str) -> InstanceSpec {
    InstanceSpec {
        ports: vec![port("web", 0)],
        ..spec(id, &command("service"))
    }
}

fn argument(name: &str, value: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), value.to_owned())]
}

async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn find(driver: &ProcessDriver, id: &str) -> Option<InstanceStatus> {
    driver
        .list()
        .await
        .unwrap()
        .into_iter()
        .find(|status| status.id == id)
}

async fn until(driver: &ProcessDriver, id: &str, is: impl Fn(&InstanceStatus) -> bool) -> InstanceStatus {
    eventually(id, async || find(driver, id).await.filter(|status| is(status))).await
}

async fn exited(driver: &ProcessDriver, id: &str) -> InstanceStatus {
    until(driver, id, |status| {
        matches!(status.state, InstanceState::Exited { .. })
    })
    .await
}

async fn line(driver: &ProcessDriver, id: &str, begin: &str) -> String {
    eventually(begin, async || {
        let lines = driver.logs(id, 100).await.unwrap();
        lines
            .into_iter()
            .map(|line| line.text)
            .find(|text| text.starts_with(begin))
    })
    .await
}

/// The number after this word in an instance's output.
async fn number(driver: &ProcessDriver, id: &str, word: &str) -> i32 {
    line(driver, id, word)
        .await
        .split_whitespace()
        .last()
        .unwrap()
        .parse()
        .unwrap()
}

/// State letter of a process; `None`: gone and reaped.
fn process(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ").unwrap().1.chars().next()
}

fn runs(pid: i32) -> bool {
    process(pid).is_some_and(|state| state != 'Z')
}

fn pid_of(state: &Path, id: &str) -> i32 {
    let text = fs::read(state.join("instances").join(id).join("pid")).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
    i32::try_from(value.get("pid").unwrap().as_i64().unwrap()).unwrap()
}

// ---- the suite ----

struct Processes {
    state: tempfile::TempDir,
    ports: RangeInclusive<u16>,
}

impl Processes {
    fn new() -> Processes {
        Processes {
            state: tempfile::tempdir().unwrap(),
            ports: instance_ports(),
        }
    }
}

#[async_trait]
impl Subject for Processes {
    async fn open(&self) -> Arc<dyn ContainerDriver> {
        let config = Config {
            instance_ports: self.ports.clone(),
            limits: true,
            ..Config::new(self.state.path(), "conformance")
        };
        Arc::new(ProcessDriver::open(config).unwrap())
    }

    fn recipe(&self, program: Program) -> Recipe {
        let definition = match program {
            Program::Serve => command("service"),
            Program::Idle => "sleep 120".to_owned(),
            Program::Exit => {
                format!(
                    "sh -c 'echo \"{}\" >&2; exit {}'",
                    conformance::LAST_WORDS,
                    conformance::EXIT_CODE
                )
            }
            Program::Stubborn => {
                format!(
                    "sh -c 'trap \"\" TERM; echo \"{}\"; {RUN_ON}'",
                    conformance::STUBBORN
                )
            }
            Program::Speak => format!(
                "sh -c 'echo \"{}\"; echo \"{}\" >&2; exec sleep 120'",
                conformance::TO_STDOUT,
                conformance::TO_STDERR
            ),
            Program::Environment => "sh -c 'env; exec sleep 120'".to_owned(),
            Program::Count => {
                "sh -c 'i=0; while [ $i -lt 20000 ]; do echo \"line $i\"; i=$((i+1)); sleep 0.005; done'"
                    .to_owned()
            }
            // A shell's own memory: what it read is held in a variable.
            Program::Hog => {
                "sh -c 'x=$(head -c 200000000 /dev/zero | tr \"\\0\" x); echo ${#x}; sleep 120'".to_owned()
            }
            Program::Unknown => "weir-no-such-program --at-all".to_owned(),
        };
        Recipe {
            deployable_type: "command".to_owned(),
            definition,
            arguments: Vec::new(),
        }
    }
}

weir_driver::conformance_tests!(Processes::new());

// ---- only processes ----

#[tokio::test]
async fn a_killed_control_leaves_an_instance_that_is_found_and_stopped() {
    let state = tempfile::tempdir().unwrap();
    Control::start(state.path()).kill();
    let pid = pid_of(state.path(), "left");
    assert!(runs(pid), "an instance outlives control");

    let driver = open(state.path());
    let found = find(&driver, "left").await.expect("found at once");
    assert_eq!(found.state, InstanceState::Running);
    assert_eq!(found.labels, serve("left").labels);
    let healthy = until(&driver, "left", |status| status.health == InstanceHealth::Healthy).await;
    let web = *healthy.ports.get("web").unwrap();
    tokio::net::TcpStream::connect(("127.0.0.1", web)).await.unwrap();

    driver.start(serve("left")).await.unwrap();
    assert_eq!(
        pid_of(state.path(), "left"),
        pid,
        "a start of a found instance changes nothing"
    );
    driver.stop("left", GRACE).await.unwrap();
    assert!(!runs(pid));
    assert!(find(&driver, "left").await.is_none());
}

#[tokio::test]
async fn a_control_killed_before_it_noted_the_process_leaves_no_orphan() {
    let state = tempfile::tempdir().unwrap();
    Control::start(state.path()).kill();
    let pid = pid_of(state.path(), "left");
    fs::remove_file(state.path().join("instances/left/pid")).unwrap();

    let driver = open(state.path());
    assert_eq!(
        pid_of(state.path(), "left"),
        pid,
        "found by its marker, and noted"
    );
    driver.stop("left", GRACE).await.unwrap();
    assert!(!runs(pid));
}

#[tokio::test]
async fn the_death_of_an_adopted_instance_is_seen() {
    let state = tempfile::tempdir().unwrap();
    Control::start(state.path()).kill();
    let driver = open(state.path());
    let pid = pid_of(state.path(), "left");
    let mut changes = driver.changes();
    changes.mark_unchanged();
    assert!(
        Command::new("kill")
            .args(["-KILL", &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
    let status = exited(&driver, "left").await;
    assert_eq!(status.state, InstanceState::Exited { code: None });
    assert!(status.message.is_some());
    assert!(changes.has_changed().unwrap());
    driver.stop("left", GRACE).await.unwrap();
}

#[tokio::test]
async fn an_instance_that_died_while_control_was_away_is_listed_as_exited() {
    let state = tempfile::tempdir().unwrap();
    Control::start(state.path()).kill();
    let pid = pid_of(state.path(), "left");
    assert!(
        Command::new("kill")
            .args(["-KILL", &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
    eventually("the end of the process", async || (!runs(pid)).then_some(())).await;
    let driver = open(state.path());
    let status = find(&driver, "left").await.unwrap();
    assert_eq!(status.state, InstanceState::Exited { code: None });
    driver.stop("left", GRACE).await.unwrap();
    assert!(find(&driver, "left").await.is_none());
}

#[tokio::test]
async fn a_reused_process_number_is_neither_taken_nor_killed() {
    let state = tempfile::tempdir().unwrap();
    let driver = open(state.path());
    driver
        .start(spec("old", "sh -c 'echo bye; exit 4'"))
        .await
        .unwrap();
    exited(&driver, "old").await;
    drop(driver);

    // Somebody else has the number now: same number, a process group too, another start time.
    let mut stranger = Command::new("sleep").arg("120").process_group(0).spawn().unwrap();
    let path = state.path().join("instances/old/pid");
    let mut noted: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    *noted.get_mut("pid").unwrap() = stranger.id().into();
    fs::write(&path, noted.to_string()).unwrap();

    let driver = open(state.path());
    let status = find(&driver, "old").await.unwrap();
    let spared = stranger.try_wait().unwrap().is_none();
    driver.stop("old", Duration::ZERO).await.unwrap();
    let spared_by_stop = stranger.try_wait().unwrap().is_none();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert_eq!(
        status.state,
        InstanceState::Exited { code: Some(4) },
        "what was noted at its exit"
    );
    assert!(status.message.unwrap().contains("bye"));
    assert!(spared && spared_by_stop, "a stranger was killed");
}

#[tokio::test]
async fn the_whole_group_ends_and_no_zombie_stays() {
    let state = tempfile::tempdir().unwrap();
    let driver = open(state.path());
    let script = "sh -c 'trap \"\" TERM; sleep 120 & echo child $!; echo self $$; wait; wait'";
    driver.start(spec("group", script)).await.unwrap();
    let child = number(&driver, "group", "child").await;
    let leader = number(&driver, "group", "self").await;
    driver.stop("group", Duration::from_millis(200)).await.unwrap();
    assert_eq!(process(leader), None, "reaped");
    assert!(!runs(child), "children end with their instance");
}

#[tokio::test]
async fn children_left_by_an_exit_are_killed() {
    let state = tempfile::tempdir().unwrap();
    let driver = open(state.path());
    driver
        .start(spec(
            "leaver",
            "sh -c 'sleep 120 & echo child $!; echo self $$; exit 7'",
        ))
        .await
        .unwrap();
    let status = exited(&driver, "leaver").await;
    assert_eq!(status.state, InstanceState::Exited { code: Some(7) });
    assert!(!runs(number(&driver, "leaver", "child").await));
    assert_eq!(process(number(&driver, "leaver", "self").await), None, "reaped");
    driver.stop("leaver", GRACE).await.unwrap();
}

#[tokio::test]
async fn a_group_has_its_grace_also_when_its_shell_is_gone() {
    let state = tempfile::tempdir().unwrap();
    let driver = open(state.path());
    // The shell ends at once when asked; what it runs needs a moment, and says when it is done.
    let done = state.path().join("done");
    let script = format!(
        "sh -c 'trap \"sleep 0.3; echo done > {}; exit 0\" TERM; echo ready; {RUN_ON}' & wait",
        done.display()
    );
    let spec = InstanceSpec {
        arguments: argument("shell", "true"),
        ..spec("shell", &script)
    };
    driver.start(spec).await.unwrap();
    line(&driver, "shell", "ready").await;
    driver.stop("shell", GRACE).await.unwrap();
    assert!(done.exists(), "it was killed before it was done");
}

#[tokio::test]
async fn a_kill_is_told_with_its_signal() {
    let state = tempfile::tempdir().unwrap();
    let driver = open(state.path());
    driver
        .start(spec("shot", "sh -c 'echo a; kill -SEGV $$'"))
        .await
        .unwrap();
    let status = exited(&driver, "shot").await;
    assert_eq!(status.state, InstanceState::Exited { code: None });
    assert!(status.message.unwrap().contains("signal 11"));
    driver.stop("shot", GRACE).await.unwrap();
}

#[tokio::test]
async fn fixed_ports_are_used_or_refused() {
    let state = tempfile::tempdir().unwrap();
    let driver = open(state.path());
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let number = taken.local_addr().unwrap().port();
    let fixed = |id: &str| InstanceSpec {
        ports: vec![port("admin", 0), port("web", number)],
        arguments: argument("ports", "fixed"),
        ..spec(id, "sleep 120")
    };
    let error = driver.start(fixed("a")).await.unwrap_err();
    assert!(
        matches!(error, DriverError::PortTaken(port) if port == number),
        "{error:?}"
    );
    assert!(find(&driver, "a").await.is_none());
    drop(taken);
    driver.start(fixed("a")).await.unwrap();
    assert_eq!(find(&driver, "a").await.unwrap().ports.get("web"), Some(&number));
    let error = driver.start(fixed("b")).await.unwrap_err();
    assert!(
        matches!(error, DriverError::PortTaken(_)),
        "no two instances share a port: {error:?}"
    );
    driver.stop("a", GRACE).await.unwrap();
    driver.start(fixed("b")).await.unwrap();
    driver.stop("b", GRACE).await.unwrap();
}

#[tokio::test]
async fn numbers_in_the_spec_are_names_otherwise() {
    let state = tempfile::tempdir().unwrap();
    let driver = open(state.path());
    let same = |id: &str| InstanceSpec {
        ports: vec![port("web", 8_080)],
        ..spec(id, "sleep 120")
    };
    for id in ["a", "b"] {
        driver.start(same(id)).await.unwrap();
    }
    let a = find(&driver, "a").await.unwrap().ports;
    let b = find(&driver, "b").await.unwrap().ports;
    assert_ne!(a, b);
    assert_ne!(a.get("web"), Some(&8_080));
    for id in ["a", "b"] {
        driver.stop(id, GRACE).await.unwrap();
    }
}

#[tokio::test]
async fn an_exhausted_range_is_said_and_ports_come_back() {
    let state = tempfile::tempdir().unwrap();
    let range = instance_ports();
    let three = *range.start()..=*range.start() + 2;
    let driver = ProcessDriver::open(Config {
        instance_ports: three,
        ..Config::new(state.path(), "test")
    })
    .unwrap();
    let two = |id: &str| InstanceSpec {
        ports: vec![port("web", 0), port("admin", 0)],
        ..spec(id, "sleep 120")
    };
    driver.start(two("a")).await.unwrap();
    for _ in 0..2 {
        let error = driver.start(two("b")).await.unwrap_err();
        assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    }
    driver.stop("a", GRACE).await.unwrap();
    driver.start(two("b")).await.unwrap();
    driver.stop("b", GRACE).await.unwrap();
}

#[tokio::test]
async fn the_port_of_a_found_instance_is_not_given_away() {
    let state = tempfile::tempdir().unwrap();
    let only = *instance_ports().start();
    let reopen = || {
        ProcessDriver::open(Config {
            instance_ports: only..=only,
            ..Config::new(state.path(), "test")
        })
        .unwrap()
    };
    // Neither ever listens, so that no look at the host would tell that the port is given away.
    let one = |id: &str| InstanceSpec {
        ports: vec![port("web", 0)],
        ..spec(id, "sleep 120")
    };
    let driver = reopen();
    driver.start(one("a")).await.unwrap();
    drop(driver);
    let driver = reopen();
    let error = driver.start(one("b")).await.unwrap_err();
    driver.stop("a", GRACE).await.unwrap();
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
    driver.start(one("b")).await.unwrap();
    driver.stop("b", GRACE).await.unwrap();
}

#[tokio::test]
async fn an_instance_starts_where_it_is_told() {
    let state = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let driver = open(state.path());
    driver
        .start(spec("own", "sh -c 'echo at $(pwd); exec sleep 120'"))
        .await
        .unwrap();
    let told = InstanceSpec {
        working_directory: Some(elsewhere.path().to_str().unwrap().to_owned()),
        ..spec("told", "sh -c 'echo at $(pwd); exec sleep 120'")
    };
    driver.start(told).await.unwrap();
    let own = state.path().canonicalize().unwrap().join("instances/own/work");
    assert_eq!(line(&driver, "own", "at ").await, format!("at {}", own.display()));
    let told = elsewhere.path().canonicalize().unwrap();
    assert_eq!(
        line(&driver, "told", "at ").await,
        format!("at {}", told.display())
    );
    for id in ["own", "told"] {
        driver.stop(id, GRACE).await.unwrap();
    }
}

#[tokio::test]
async fn memory_is_limited_when_asked() {
    let state = tempfile::tempdir().unwrap();
    let driver = open(state.path());
    let limited = InstanceSpec {
        memory_mb: 256.0,
        arguments: argument("limit_memory", "true"),
        ..spec("limited", "sleep 120")
    };
    driver.start(limited).await.unwrap();
    let limits = fs::read_to_string(format!("/proc/{}/limits", pid_of(state.path(), "limited"))).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max address space"))
        .unwrap();
    assert!(line.contains(&(256 * 1_048_576_u64).to_string()), "{line}");
    driver.stop("limited", GRACE).await.unwrap();
}

#[tokio::test]
async fn a_script_that_cannot_be_executed_is_a_definition_error() {
    use std::os::unix::fs::PermissionsExt;
    let state = tempfile::tempdir().unwrap();
    let driver = open(state.path());
    let script = state.path().join("script");
    fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let error = driver
        .start(spec("script", script.to_str().unwrap()))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, DriverError::Definition(text) if text.contains("script")),
        "{error:?}"
    );
    assert!(!state.path().join("instances/script").exists(), "nothing is left");
}

#[tokio::test]
async fn a_folder_has_one_driver_and_one_namespace() {
    let state = tempfile::tempdir().unwrap();
    let driver = open(state.path());
    let second = ProcessDriver::open(config(state.path()));
    assert!(matches!(second, Err(OpenError::Locked { .. })), "{second:?}");
    driver.start(spec("mine", "sleep 120")).await.unwrap();
    let pid = pid_of(state.path(), "mine");
    drop(driver);
    let other = ProcessDriver::open(Config::new(state.path(), "other")).unwrap();
    assert!(other.list().await.unwrap().is_empty());
    drop(other);
    assert!(runs(pid), "another namespace leaves it alone");
    let driver = open(state.path());
    driver.stop("mine", GRACE).await.unwrap();
    assert_eq!(
        process(pid),
        None,
        "reaped, although another driver had started it"
    );
}

#[tokio::test]
async fn half_a_start_and_damaged_files_do_not_stop_the_driver() {
    let state = tempfile::tempdir().unwrap();
    let instances = state.path().join("instances");
    fs::create_dir_all(instances.join("empty")).unwrap();
    fs::create_dir_all(instances.join("damaged")).unwrap();
    fs::write(instances.join("damaged/spec.json"), "{\"version\": 1").unwrap();
    fs::write(instances.join("damaged/stderr.log"), "why\n").unwrap();
    let driver = open(state.path());
    assert!(driver.list().await.unwrap().is_empty());
    assert_eq!(fs::read_dir(&instances).unwrap().count(), 0);
    let ended = fs::read_dir(state.path().join("ended"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert_eq!(fs::read_to_string(ended.join("stderr.log")).unwrap(), "why\n");
}

#[tokio::test]
async fn stops_may_overlap_and_be_given_up() {
    let state = tempfile::tempdir().unwrap();
    let driver = Arc::new(open(state.path()));
    let stubborn = format!("sh -c 'trap \"\" TERM; echo ready; {RUN_ON}'");
    driver.start(spec("stubborn", &stubborn)).await.unwrap();
    line(&driver, "stubborn", "ready").await;
    let given_up = driver.stop("stubborn", GRACE);
    tokio::time::timeout(Duration::from_millis(50), given_up)
        .await
        .unwrap_err();
    assert_eq!(
        find(&driver, "stubborn").await.unwrap().state,
        InstanceState::Stopping
    );
    let (first, second) = tokio::join!(
        driver.stop("stubborn", Duration::from_millis(100)),
        driver.stop("stubborn", Duration::from_millis(200)),
    );
    first.unwrap();
    second.unwrap();
    assert!(driver.list().await.unwrap().is_empty());
}
