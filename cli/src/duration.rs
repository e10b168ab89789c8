//! Durations as people write them: `20s`, `1m`, `1m30s`, `500ms`, `2h`.

use std::time::Duration;

/// Longest duration: a day. More is a typing error.
const MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads a duration; a bare number is seconds.
///
/// # Errors
/// A sentence that says what would be right.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration; write it as 500ms, 20s, 1m or 1m30s");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total_ms: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let unit_ms = match unit {
            "ms" => 1,
            "" | "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        if unit.is_empty() && !tail.is_empty() {
            return Err(wrong());
        }
        let number: u64 = number.parse().map_err(|_| wrong())?;
        total_ms = number
            .checked_mul(unit_ms)
            .and_then(|ms| total_ms.checked_add(ms))
            .ok_or_else(wrong)?;
        rest = tail;
    }
    let total = Duration::from_millis(total_ms);
    if total > MAX {
        return Err(format!("`{text}` is longer than a day"));
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::parse;

    #[test]
    fn reads_what_people_write() {
        for (text, ms) in [
            ("20s", 20_000),
            ("1m", 60_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("2h", 7_200_000),
            ("5", 5_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_one() {
        for text in [
            "",
            "s",
            "1 m",
            "-1s",
            "1x",
            "1.5s",
            "99h",
            "5 5",
            "99999999999999999999s",
            "18446744073709551615h",
            "é",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
