use std::process::{Command, Stdio};

use super::*;

fn own() -> i32 {
    i32::try_from(std::process::id()).unwrap()
}

#[test]
fn a_command_may_look_like_fields() {
    let text = "42 (a) Z 1 2 3) S 7 42 41 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 6 0 987654 1 2 3";
    assert_eq!(
        Stat::parse(text),
        Some(Stat {
            state: 'S',
            group: 42,
            threads: 6,
            start_ticks: 987_654
        })
    );
    assert_eq!(Stat::parse("42 (a"), None);
    assert_eq!(Stat::parse("42 (a) S 7"), None);
    assert_eq!(Stat::parse(""), None);
}

#[test]
fn a_reused_number_is_somebody_else() {
    let me = Identity::of(own()).unwrap();
    assert!(me.alive());
    let before = Identity {
        start_ticks: me.start_ticks - 1,
        ..me.clone()
    };
    assert!(!before.alive());
    let other_boot = Identity {
        boot_id: "00000000-0000-0000-0000-000000000000".to_owned(),
        ..me
    };
    assert!(!other_boot.alive());
}

#[test]
fn only_the_process_itself_is_signalled() {
    use std::os::unix::process::CommandExt;
    let mut child = Command::new("sleep").arg("30").process_group(0).spawn().unwrap();
    let identity = Identity::of(i32::try_from(child.id()).unwrap()).unwrap();
    let reused = Identity {
        start_ticks: identity.start_ticks - 1,
        ..identity.clone()
    };
    assert!(!reused.signal_group(Signal::KILL));
    assert!(
        child.try_wait().unwrap().is_none(),
        "a stranger with our number was killed"
    );
    assert!(identity.signal_group(Signal::KILL));
    child.wait().unwrap();
    assert!(!identity.alive());
    let init = Identity { pid: 1, ..identity };
    assert!(!init.signal_group(Signal::KILL));
}

#[test]
fn a_zombie_does_not_run() {
    let mut child = Command::new("sh")
        .args(["-c", "echo; exit 0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let identity = Identity::of(i32::try_from(child.id()).unwrap()).unwrap();
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while identity.alive() {
        assert!(
            std::time::Instant::now() < deadline,
            "an unreaped child still counts as alive"
        );
        std::thread::yield_now();
    }
    child.wait().unwrap();
}

#[test]
fn strays_are_found_by_their_marker_and_age() {
    use std::os::unix::process::CommandExt;
    let since = ticks() - 1;
    let mut child = Command::new("sleep")
        .arg("30")
        .env("WEIR_INSTANCE", "test/stray")
        .env("WEIR_INSTANCE_DIR", "/nowhere/stray")
        .process_group(0)
        .spawn()
        .unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let marker = Marker::new([
        ("WEIR_INSTANCE", "test/stray"),
        ("WEIR_INSTANCE_DIR", "/nowhere/stray"),
    ]);
    let other = Marker::new([
        ("WEIR_INSTANCE", "test/stray"),
        ("WEIR_INSTANCE_DIR", "/nowhere/else"),
    ]);
    let later = ticks() + 1_000;
    assert_eq!(stray(&marker, since), Some(pid));
    assert_eq!(stray(&other, since), None);
    assert_eq!(stray(&marker, later), None);
    assert_eq!(members(pid), [pid]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(stray(&marker, since), None);
    assert!(members(pid).is_empty());
}
