//! The test program is its own service and its own control: started again with `WEIR_TEST_ROLE`, only [`role`] runs,
//! and plays that part. All parts end by themselves, so that a failed test leaves nothing.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use weir_driver::{ContainerDriver as _, InstanceHealth};
use weir_driver_process::{Config, ProcessDriver};

use crate::tools::{PORTS, instance_ports, serve, until};

const ROLE: &str = "WEIR_TEST_ROLE";
const STATE: &str = "WEIR_TEST_STATE";
const FIRST_PORT: &str = "WEIR_TEST_FIRST_PORT";
/// How long a part lives at most.
const LIFE: Duration = Duration::from_secs(120);

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
pub(crate) fn command(role: &str) -> String {
    let program = std::env::current_exe().unwrap();
    format!(
        "env {ROLE}={role} '{}' --exact parts::role --nocapture",
        program.display()
    )
}

/// A control, killed and reaped when dropped at the latest.
pub(crate) struct Control(Child);

impl Control {
    pub(crate) fn start(state: &Path) -> Control {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "parts::role", "--nocapture"])
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
    pub(crate) fn kill(mut self) {
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
