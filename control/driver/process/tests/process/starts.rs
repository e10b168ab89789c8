//! How instances start.

use std::fs;

use weir_driver::{ContainerDriver as _, DriverError, InstanceSpec};

use crate::tools::{GRACE, argument, line, open, pid_of, spec};

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
