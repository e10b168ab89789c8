//! Pieces of records: what came from outside can neither end a line nor a string.

use std::{
    io::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

/// Writes a JSON string. What is not UTF-8 appears as `\xNN` (a backslash, `x`, two digits).
pub(crate) fn json_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    if bytes.iter().all(|byte| is_plain(*byte)) {
        out.extend_from_slice(bytes);
    } else {
        for chunk in bytes.utf8_chunks() {
            for character in chunk.valid().chars() {
                json_character(out, character);
            }
            for byte in chunk.invalid() {
                put(out, format_args!("\\\\x{byte:02x}"));
            }
        }
    }
    out.push(b'"');
}

/// ASCII that stands for itself in both forms.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7e) && !matches!(byte, b'"' | b'\\')
}

fn json_character(out: &mut Vec<u8>, character: char) {
    match character {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        // Also the line ends that are no ASCII, for readers that take them for such.
        _ if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') => {
            put(out, format_args!("\\u{:04x}", u32::from(character)));
        }
        _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Writes a string in quotes as Apache does: all but plain ASCII appears as `\xNN`.
pub(crate) fn quoted(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for byte in bytes {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            byte if is_plain(*byte) => out.push(*byte),
            byte => put(out, format_args!("\\x{byte:02x}")),
        }
    }
    out.push(b'"');
}

/// Writes formatted text.
pub(crate) fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a vector takes all");
}

/// A moment in the calendar, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Date {
    year: i64,
    month: usize,
    day: i64,
    hour: u64,
    minute: u64,
    second: u64,
    millisecond: u32,
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

impl Date {
    /// Moments before 1970 are taken for its first.
    pub(crate) fn of(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = since.as_secs();
        let days = i64::try_from(seconds / 86_400).unwrap_or(0);
        // Howard Hinnant's civil_from_days: years begin in March, so that the leap day is a year's last.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let month = if from_march < 10 {
            from_march + 2
        } else {
            from_march - 10
        };
        Self {
            year: year_of_era + era * 400 + i64::from(from_march >= 10),
            month: usize::try_from(month).unwrap_or(0),
            day: of_year - (153 * from_march + 2) / 5 + 1,
            hour: seconds / 3_600 % 24,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            millisecond: since.subsec_millis(),
        }
    }

    fn day_and_time(self, out: &mut Vec<u8>) {
        let month = MONTHS.get(self.month).copied().unwrap_or_default();
        let (day, year) = (self.day, self.year);
        let (hour, minute, second) = (self.hour, self.minute, self.second);
        put(
            out,
            format_args!("{day:02}/{month}/{year}:{hour:02}:{minute:02}:{second:02}"),
        );
    }

    /// `06/Feb/2017:12:00:01.120`
    pub(crate) fn with_milliseconds(self, out: &mut Vec<u8>) {
        self.day_and_time(out);
        put(out, format_args!(".{:03}", self.millisecond));
    }

    /// `06/Feb/2017:12:00:01 +0000`
    pub(crate) fn with_zone(self, out: &mut Vec<u8>) {
        self.day_and_time(out);
        out.extend_from_slice(b" +0000");
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{Date, json_string, quoted};

    fn date(ms: u64) -> String {
        let mut out = Vec::new();
        Date::of(UNIX_EPOCH + Duration::from_millis(ms)).with_milliseconds(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(date(0), "01/Jan/1970:00:00:00.000");
        assert_eq!(date(1_486_382_401_120), "06/Feb/2017:12:00:01.120");
        assert_eq!(date(951_782_400_000), "29/Feb/2000:00:00:00.000");
        assert_eq!(date(951_868_799_999), "29/Feb/2000:23:59:59.999");
        assert_eq!(date(951_868_800_000), "01/Mar/2000:00:00:00.000");
        assert_eq!(date(4_107_542_400_000), "01/Mar/2100:00:00:00.000");
        assert_eq!(date(1_767_225_599_000), "31/Dec/2025:23:59:59.000");
    }

    #[test]
    fn nothing_from_outside_ends_a_string_or_a_line() {
        let hostile = b"GET /\"},{\"a\":\"\\\r\n\x00\x1b[31m\x7f\xff\xc3\xa9\xc2\x85\xe2\x80\xa8 end";
        let mut out = Vec::new();
        json_string(&mut out, hostile);
        let text = String::from_utf8(out).unwrap();
        assert!(text.chars().all(|c| !c.is_control()), "{text}");
        let read: String = serde_json::from_str(&text).unwrap();
        assert_eq!(
            read,
            "GET /\"},{\"a\":\"\\\r\n\0\u{1b}[31m\u{7f}\\xff\u{e9}\u{85}\u{2028} end"
        );

        let mut out = Vec::new();
        quoted(&mut out, hostile);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#""GET /\"},{\"a\":\"\\\x0d\x0a\x00\x1b[31m\x7f\xff\xc3\xa9\xc2\x85\xe2\x80\xa8 end""#
        );
    }
}
