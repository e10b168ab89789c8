//! What the engine's errors mean.

use bollard::errors::Error;
use weir_driver::DriverError;

/// Status code of an error that the engine answered.
pub(crate) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// The engine's own words.
pub(crate) fn words(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        Error::DockerStreamError { error } => error.trim().to_owned(),
        other => {
            let mut text = other.to_string();
            let mut cause = std::error::Error::source(other);
            while let Some(error) = cause {
                let more = error.to_string();
                if !text.contains(&more) {
                    text.push_str(": ");
                    text.push_str(&more);
                }
                cause = error.source();
            }
            text
        }
    }
}

/// The engine did not answer, or not as it should.
pub(crate) fn unavailable(error: Error) -> DriverError {
    DriverError::Unavailable(words(&error).into())
}

/// Why a container could not be made or started. `fixed`: ports of the host that it asked for.
pub(crate) fn start(error: Error, image: &str, fixed: &[u16]) -> DriverError {
    let Some(status) = status(&error) else {
        return unavailable(error);
    };
    let message = words(&error);
    if let Some(port) = taken(&message, fixed) {
        return DriverError::PortTaken(port);
    }
    let of_the_image = [
        "executable file not found",
        "no such file or directory",
        "permission denied",
        "exec format error",
        "no command specified",
        "unknown capability",
    ];
    let lower = message.to_lowercase();
    // The engine answers 400 to what it does not take, 404 to what is not there, and 500 to all else, its
    // own troubles and many faults of the request alike.
    if matches!(status, 400 | 404) || of_the_image.iter().any(|words| lower.contains(words)) {
        DriverError::Definition(format!("the image `{image}` cannot be run: {message}"))
    } else {
        DriverError::Unavailable(message.into())
    }
}

/// Which port of the host is taken, as far as the message says so.
fn taken(message: &str, fixed: &[u16]) -> Option<u16> {
    let is_taken = [
        "port is already allocated",
        "address already in use",
        "ports are not available",
    ]
    .iter()
    .any(|words| message.contains(words));
    if !is_taken {
        return None;
    }
    fixed
        .iter()
        .copied()
        .find(|port| message.contains(&format!(":{port}")))
        .or(fixed.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status_code: u16, message: &str) -> Error {
        Error::DockerResponseServerError {
            status_code,
            message: message.to_owned(),
        }
    }

    #[test]
    fn what_can_be_tried_again_is_told_from_what_cannot() {
        let of = |status, message: &str, fixed: &[u16]| start(answered(status, message), "shop:1", fixed);
        let bind = "driver failed programming external connectivity on endpoint x: Bind for 127.0.0.1:8081 failed: port is already allocated";
        assert!(matches!(
            of(500, bind, &[8080, 8081]),
            DriverError::PortTaken(8081)
        ));
        assert!(
            matches!(of(500, bind, &[]), DriverError::Unavailable(_)),
            "one that the engine chose itself"
        );
        let missing =
            "OCI runtime create failed: exec: \"/app\": stat /app: no such file or directory: unknown";
        assert!(matches!(of(500, missing, &[]), DriverError::Definition(text) if text.contains("`shop:1`")));
        let range = "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available";
        assert!(matches!(of(400, range, &[]), DriverError::Definition(text) if text.contains("only 2 CPUs")));
        assert!(matches!(
            of(500, "no space left on device", &[]),
            DriverError::Unavailable(_)
        ));
        let io = Error::IOError {
            err: std::io::ErrorKind::ConnectionRefused.into(),
        };
        assert!(matches!(start(io, "x", &[]), DriverError::Unavailable(_)));
    }
}
