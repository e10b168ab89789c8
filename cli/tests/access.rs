//! Tokens and TLS, with a control that asks for both.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a failed unwrap is a failed test"
)]

use std::{path::PathBuf, process::Command, sync::Arc, time::Duration};

use tokio::runtime::Runtime;
use weir_control::{Config, Control, Storage, TlsFiles};
use weir_store::memory::Memory;
use weir_tests::{Certificates, Finished, Program};

const BOUND: Duration = Duration::from_secs(60);

struct Guarded {
    control: Control,
    certificates: Certificates,
    folder: tempfile::TempDir,
    _runtime: Runtime,
}

impl Guarded {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certificates = Certificates::in_folder(&folder.path().join("certificates"));
        let mut config = Config::new(folder.path().join("control"), Arc::new(Memory::new()));
        config.listen = ([127, 0, 0, 1], 0).into();
        config.storage = Storage::Memory;
        config.authentication = true;
        config.tls = Some(TlsFiles {
            certificate: certificates.server.clone(),
            key: certificates.server_key.clone(),
        });
        let runtime = Runtime::new().unwrap();
        let control = runtime.block_on(Control::start(config)).unwrap();
        Self {
            control,
            certificates,
            folder,
            _runtime: runtime,
        }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// With the right authority, and this in the environment.
    fn weir(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Finished {
        let host = format!("https://{}", self.control.address());
        let mut command = command(arguments);
        command
            .args(["--host", &host, "--ca-file"])
            .arg(&self.certificates.ca);
        command.envs(environment.iter().copied());
        Program::start(&mut command).finish(BOUND)
    }

    fn admin(&self) -> &str {
        self.control.first_token().unwrap()
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(arguments);
    for variable in [
        "VAMP_HOST",
        "VAMP_API_TOKEN",
        "VAMP_NAMESPACE",
        "WEIR_TOKEN",
        "WEIR_TOKEN_FILE",
        "WEIR_CA_FILE",
    ] {
        command.env_remove(variable);
    }
    command
}

#[track_caller]
fn good(finished: Finished) -> String {
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    finished.stdout
}

#[test]
fn tokens_are_made_used_and_revoked() {
    let world = Guarded::start();
    let admin = [("WEIR_TOKEN", world.admin())];
    let made = world.weir(
        &admin,
        &[
            "token",
            "create",
            "ci",
            "--role",
            "operator",
            "--expires-in",
            "90d",
        ],
    );
    assert!(made.stderr.contains("shown this once"), "{}", made.stderr);
    let ci = good(made);
    assert!(
        ci.starts_with("weir_") && ci.lines().count() == 1,
        "the token alone is data: {ci}"
    );
    let listed = good(world.weir(&admin, &["token", "list"]));
    assert!(listed.contains("ci") && listed.contains("operator"), "{listed}");
    assert!(!listed.contains(ci.trim().rsplit('_').next().unwrap()));
    let names = good(world.weir(&admin, &["token", "list", "-o", "name"]));
    assert_eq!(names, "tokens/admin\ntokens/ci\n");

    let file = world.file("ci.token", &ci);
    let file = file.to_str().unwrap();
    good(world.weir(&[], &["--token-file", file, "get", "breeds"]));
    good(world.weir(&[("WEIR_TOKEN_FILE", file)], &["info"]));
    good(world.weir(&[("VAMP_API_TOKEN", ci.trim())], &["info"]));
    good(world.weir(&[], &["--token", ci.trim(), "info"]));

    let refused = world.weir(&[("WEIR_TOKEN_FILE", file)], &["token", "list"]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("needs the role `admin`"),
        "{}",
        refused.stderr
    );
    let none = world.weir(&[], &["get", "breeds"]);
    assert_eq!(none.code, Some(1));
    assert!(none.stderr.contains("--token-file"), "{}", none.stderr);
    let twice = world.weir(&admin, &["token", "create", "ci"]);
    assert_eq!(twice.code, Some(4), "{}", twice.stderr);
    assert!(
        twice.stderr.contains("there is a token `ci` already")
            || twice.stderr.contains("There is a token `ci` already"),
        "{}",
        twice.stderr
    );

    good(world.weir(&admin, &["token", "revoke", "ci"]));
    let gone = world.weir(&[("WEIR_TOKEN_FILE", file)], &["get", "breeds"]);
    assert!(gone.stderr.contains("was revoked"), "{}", gone.stderr);
    assert_eq!(world.weir(&admin, &["token", "revoke", "ci"]).code, Some(3));
}

#[test]
fn https_is_checked_against_the_authorities_that_are_given() {
    let world = Guarded::start();
    let host = format!("https://{}", world.control.address());
    let token = [("WEIR_TOKEN", world.admin())];
    good(world.weir(&token, &["get", "breeds"]));
    let system = Program::start(command(&["--host", &host, "get", "breeds"]).envs(token)).finish(BOUND);
    assert_eq!(system.code, Some(6), "{}", system.stderr);

    let other = Certificates::in_folder(&world.folder.path().join("other"));
    let run = |ca: &str| {
        Program::start(command(&["--host", &host, "--ca-file", ca, "get", "breeds"]).envs(token))
            .finish(BOUND)
    };
    let wrong = run(other.ca.to_str().unwrap());
    assert_eq!(wrong.code, Some(6));
    assert!(wrong.stderr.contains("--ca-file"), "{}", wrong.stderr);
    let garbage = world.file("garbage.pem", "garbage");
    for (file, what) in [
        (garbage.to_str().unwrap(), "holds no PEM certificate"),
        ("/none/such", "cannot be used"),
    ] {
        let refused = run(file);
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(refused.stderr.contains(what), "{}", refused.stderr);
    }

    let plain = format!("http://{}", world.control.address());
    let plain = Program::start(&mut command(&["--host", &plain, "get", "breeds"])).finish(BOUND);
    assert!(plain.stderr.contains("https only"), "{}", plain.stderr);
    let spaces = world.weir(&[("WEIR_TOKEN", "a\nb")], &["get", "breeds"]);
    assert_eq!(spaces.code, Some(2), "{}", spaces.stderr);
    let missing = world.weir(&[], &["--token-file", "/none/such", "get", "breeds"]);
    assert!(missing.stderr.contains("/none/such"), "{}", missing.stderr);
}
