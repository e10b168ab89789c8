//! Texts with units (spec of the artifacts, §1.1): reading and printing.
//!
//! Every reader takes what Vamp takes; the error says what would be accepted.

use weir_model::Protocol;

use crate::PortValue;

/// Why a text is not a percentage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PercentError {
    /// Not the form.
    Form,
    /// The form, but more than 100 %.
    Range,
}

/// What [`percent`] takes.
pub const PERCENT: &str = "a percentage from 0% to 100%, such as `50%`";

/// `50%` as parts per ten thousand. Whole percent as Vamp; up to two decimals are taken as well.
///
/// # Errors
/// [`PercentError`]: not the form, or out of range.
pub fn percent(text: &str) -> Result<u16, PercentError> {
    let number = text
        .trim()
        .strip_suffix('%')
        .ok_or(PercentError::Form)?
        .trim_end();
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "00"));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !(1..=3).contains(&whole.len())
        || !(1..=2).contains(&decimals.len())
        || !digits(whole)
        || !digits(decimals)
    {
        return Err(PercentError::Form);
    }
    let parse = |text: &str| text.parse::<u16>().map_err(|_| PercentError::Form);
    let hundredths = match decimals.len() {
        1 => parse(decimals)? * 10,
        _ => parse(decimals)?,
    };
    match parse(whole)? * 100 + hundredths {
        parts @ 0..=10_000 => Ok(parts),
        _ => Err(PercentError::Range),
    }
}

/// `64MB`, `1.5 GB` as megabytes, to two decimals. 1 GB is 1024 MB; `Mi` counts as MB, as in Vamp 0.9.4.
///
/// # Errors
/// What is accepted.
pub fn memory_mb(text: &str) -> Result<f64, String> {
    let expected = || "an amount of memory such as `64MB` or `1.5GB` (units M, MB, Mi, G, GB)".to_owned();
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or_else(expected)?;
    let (number, unit) = text.split_at(split);
    let factor = match unit.trim_start().to_ascii_lowercase().as_str() {
        "m" | "mb" | "mi" => 1.0,
        "g" | "gb" => 1024.0,
        _ => return Err(expected()),
    };
    let number: f64 = number.parse().map_err(|_| expected())?;
    finite(round(number * factor)).ok_or_else(expected)
}

/// `64.00MB`.
pub fn memory_text(memory_mb: f64) -> String {
    format!("{memory_mb:.2}MB")
}

/// `0.2` or `200m` as processors, to two decimals.
///
/// # Errors
/// What is accepted.
pub fn cpu(text: &str) -> Result<f64, String> {
    let expected = || "a number of processors such as `0.2` or `200m`".to_owned();
    let text = text.trim();
    let (number, factor) = match text.strip_suffix('m') {
        Some(milli) => (milli.trim_end(), 0.001),
        None => (text, 1.0),
    };
    // Rust would also take words such as `inf`.
    if !number
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'))
    {
        return Err(expected());
    }
    let number: f64 = number.parse().map_err(|_| expected())?;
    finite(round(number * factor)).ok_or_else(expected)
}

fn round(number: f64) -> f64 {
    /// From here on a double has no hundredths to round.
    const EXACT_MAX: f64 = 1e13;
    let rounded = match number.abs() < EXACT_MAX {
        true => (number * 100.0).round() / 100.0,
        false => number,
    };
    // No negative zero: it prints differently and means the same.
    rounded + 0.0
}

fn finite(number: f64) -> Option<f64> {
    number.is_finite().then_some(number)
}

/// `30`, `30s`, `2min`, `1hour` as seconds.
///
/// # Errors
/// What is accepted.
pub fn seconds(text: &str) -> Result<u64, String> {
    let expected = || "a time such as `30s`, `2m` or `1h`".to_owned();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "" | "s" | "sec" | "second" | "seconds" => 1,
        "m" | "min" | "minute" | "minutes" => 60,
        "h" | "hrs" | "hour" | "hours" => 3600,
        _ => return Err(expected()),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(expected)
}

/// `30s`.
pub fn seconds_text(seconds: u64) -> String {
    format!("{seconds}s")
}

/// A port as [`port`] and [`strict_port`] find it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PortForm {
    Number(u16, Option<Protocol>),
    /// A number that no port can have, or a protocol that is not known.
    Wrong,
    Other,
}

fn port_form(text: &str) -> PortForm {
    let (number, protocol) = match text.split_once('/') {
        None => (text, None),
        Some((number, protocol)) => (number, Some(protocol)),
    };
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return PortForm::Other;
    }
    let protocol = match protocol.map(str::to_ascii_lowercase).as_deref() {
        None => None,
        Some("http") => Some(Protocol::Http),
        Some("tcp") => Some(Protocol::Tcp),
        Some(_) => return PortForm::Wrong,
    };
    match number.parse() {
        Ok(number) => PortForm::Number(number, protocol),
        Err(_) => PortForm::Wrong,
    }
}

fn numbered(text: &str, number: u16, protocol: Option<Protocol>) -> PortValue {
    PortValue {
        text: match protocol {
            Some(_) => text.to_owned(),
            None => format!("{text}/http"),
        },
        number,
        protocol: protocol.unwrap_or_default(),
    }
}

/// A breed's port: a number with or without protocol; a text with references (or any other) is "not
/// assigned". `8080/udp` and `70000` are refused: nothing could come of them.
///
/// # Errors
/// What is accepted.
pub fn port(text: &str) -> Result<PortValue, String> {
    match port_form(text.trim()) {
        PortForm::Number(number, protocol) => Ok(numbered(text.trim(), number, protocol)),
        PortForm::Wrong => Err(PORT.to_owned()),
        PortForm::Other => Ok(PortValue {
            text: text.to_owned(),
            number: 0,
            protocol: match text.rsplit_once('/') {
                Some((_, protocol)) if protocol.eq_ignore_ascii_case("tcp") => Protocol::Tcp,
                _ => Protocol::Http,
            },
        }),
    }
}

/// What [`strict_port`] takes.
pub const PORT: &str = "a port from 0 to 65535, such as `8080`, `8080/http` or `8080/tcp`";

/// A gateway's port: a number with or without protocol.
pub fn strict_port(text: &str) -> Option<PortValue> {
    match port_form(text.trim()) {
        PortForm::Number(number, protocol) => Some(numbered(text.trim(), number, protocol)),
        _ => None,
    }
}

impl PortValue {
    /// A port by number.
    pub fn new(number: u16, protocol: Protocol) -> Self {
        Self {
            text: format!("{number}/{protocol}"),
            number,
            protocol,
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_model::Protocol;

    use super::*;

    #[test]
    fn percentages() {
        for (text, parts) in [
            ("50%", Some(5000)),
            (" 7 % ", Some(700)),
            ("0%", Some(0)),
            ("100%", Some(10_000)),
            ("099%", Some(9900)),
            ("33.3%", Some(3330)),
            ("33.33%", Some(3333)),
            ("50", None),
            ("101%", None),
            ("100.01%", None),
            ("-1%", None),
            ("1000%", None),
            ("1.234%", None),
            (".5%", None),
            ("5.%", None),
            ("%", None),
            ("", None),
            ("+5%", None),
        ] {
            assert_eq!(percent(text).ok(), parts, "{text:?}");
        }
        assert_eq!(percent("101%"), Err(PercentError::Range));
        assert_eq!(percent("101"), Err(PercentError::Form));
    }

    #[test]
    fn memory() {
        for (text, mb) in [
            ("64MB", Some(64.0)),
            ("64 mb", Some(64.0)),
            ("64M", Some(64.0)),
            ("64Mi", Some(64.0)),
            (".5GB", Some(512.0)),
            ("64.MB", Some(64.0)),
            ("1.5g", Some(1536.0)),
            ("64.129MB", Some(64.13)),
            ("64", None),
            ("64KB", None),
            ("-1MB", None),
            ("MB", None),
            (".MB", None),
            ("1.2.3MB", None),
            ("64MBs", None),
        ] {
            assert_eq!(memory_mb(text).ok(), mb, "{text:?}");
        }
        assert_eq!(memory_text(64.0), "64.00MB");
    }

    #[test]
    fn processors() {
        for (text, number) in [
            ("0.2", Some(0.2)),
            ("200m", Some(0.2)),
            ("2", Some(2.0)),
            ("-1", Some(-1.0)),
            ("0.126", Some(0.13)),
            ("1e2", Some(100.0)),
            ("-0.001", Some(0.0)),
            ("inf", None),
            ("nan", None),
            ("200mi", None),
            ("m", None),
            ("", None),
        ] {
            assert_eq!(cpu(text).ok(), number, "{text:?}");
        }
    }

    #[test]
    fn times() {
        for (text, s) in [
            ("30", Some(30)),
            ("30s", Some(30)),
            ("30sec", Some(30)),
            ("1second", Some(1)),
            ("2m", Some(120)),
            ("2minutes", Some(120)),
            ("1h", Some(3600)),
            ("1hrs", Some(3600)),
            ("3hours", Some(10_800)),
            ("30 s", None),
            ("30S", None),
            ("1d", None),
            ("s", None),
            ("-1s", None),
            ("99999999999999999999", None),
            ("9999999999999999999h", None),
        ] {
            assert_eq!(seconds(text).ok(), s, "{text:?}");
        }
    }

    #[test]
    fn ports() {
        for (text, expected) in [
            ("8080", Some(("8080/http", 8080, Protocol::Http))),
            ("8080/http", Some(("8080/http", 8080, Protocol::Http))),
            ("8080/TCP", Some(("8080/TCP", 8080, Protocol::Tcp))),
            ("0", Some(("0/http", 0, Protocol::Http))),
            ("$db.ports.sql", Some(("$db.ports.sql", 0, Protocol::Http))),
            ("$db.ports.sql/tcp", Some(("$db.ports.sql/tcp", 0, Protocol::Tcp))),
            ("8080/udp", None),
            ("70000", None),
        ] {
            let found = port(text).ok();
            let found = found.as_ref().map(|p| (p.text.as_str(), p.number, p.protocol));
            assert_eq!(found, expected, "{text:?}");
        }
        assert_eq!(strict_port("abc"), None);
        assert_eq!(strict_port("-1"), None);
        assert_eq!(strict_port("65536"), None);
        assert_eq!(strict_port("9050/tcp"), Some(PortValue::new(9050, Protocol::Tcp)));
    }
}
