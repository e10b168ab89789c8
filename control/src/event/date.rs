//! Moments as clients write them: ISO 8601, or Elasticsearch's date math (`now-5m`, `now/d`).

use jiff::{
    RoundMode, Span, Timestamp, Unit, Zoned, ZonedRound,
    civil::{Date, DateTime},
    tz::TimeZone,
};

/// Milliseconds since the Unix epoch. A moment without an offset is in UTC; `None` if it is none at all, or
/// before 1970.
pub(crate) fn parse(text: &str, now_ms: u64) -> Option<u64> {
    let text = text.trim();
    let timestamp = match text.strip_prefix("now") {
        Some(math) => {
            let now = Timestamp::from_millisecond(i64::try_from(now_ms).ok()?).ok()?;
            calculate(now.to_zoned(TimeZone::UTC), math)?
        }
        None => iso(text)?,
    };
    u64::try_from(timestamp.as_millisecond()).ok()
}

fn iso(text: &str) -> Option<Timestamp> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Some(timestamp);
    }
    let moment = match text.parse::<DateTime>() {
        Ok(moment) => moment,
        Err(_) => text
            .parse::<Date>()
            .ok()?
            .to_datetime(jiff::civil::Time::midnight()),
    };
    Some(moment.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// Applies `-5m`, `+1h`, `/d` one after the other.
fn calculate(mut moment: Zoned, mut math: &str) -> Option<Timestamp> {
    while !math.is_empty() {
        let mut characters = math.chars();
        let operator = characters.next()?;
        math = characters.as_str();
        let digits = math.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = math.split_at(digits);
        let mut characters = rest.chars();
        let unit = characters.next()?;
        math = characters.as_str();
        moment = match operator {
            '/' if number.is_empty() => floor(&moment, unit)?,
            '+' | '-' => {
                let number: i64 = if number.is_empty() {
                    1
                } else {
                    number.parse().ok()?
                };
                let number = if operator == '-' { -number } else { number };
                moment.checked_add(span(number, unit)?).ok()?
            }
            _ => return None,
        };
    }
    Some(moment.timestamp())
}

fn span(number: i64, unit: char) -> Option<Span> {
    let span = Span::new();
    match unit {
        's' => span.try_seconds(number),
        'm' => span.try_minutes(number),
        'h' | 'H' => span.try_hours(number),
        'd' => span.try_days(number),
        'w' => span.try_weeks(number),
        'M' => span.try_months(number),
        'y' => span.try_years(number),
        _ => return None,
    }
    .ok()
}

fn floor(moment: &Zoned, unit: char) -> Option<Zoned> {
    let smallest = match unit {
        's' => Unit::Second,
        'm' => Unit::Minute,
        'h' | 'H' => Unit::Hour,
        'd' => Unit::Day,
        'w' => {
            let since_monday = i64::from(moment.weekday().to_monday_zero_offset());
            return moment
                .checked_sub(Span::new().try_days(since_monday).ok()?)
                .ok()?
                .start_of_day()
                .ok();
        }
        'M' => return moment.first_of_month().ok()?.start_of_day().ok(),
        'y' => return moment.first_of_year().ok()?.start_of_day().ok(),
        _ => return None,
    };
    moment
        .round(ZonedRound::new().smallest(smallest).mode(RoundMode::Trunc))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::{iso, parse};

    #[test]
    fn moments() {
        let at = |text: &str| u64::try_from(iso(text).unwrap().as_millisecond()).unwrap();
        let now = at("2017-05-04T10:11:12.345Z");
        for (text, expected) in [
            ("now", "2017-05-04T10:11:12.345Z"),
            ("now-5m", "2017-05-04T10:06:12.345Z"),
            ("now-30s/s", "2017-05-04T10:10:42Z"),
            ("now+1h/h", "2017-05-04T11:00:00Z"),
            ("now/d", "2017-05-04T00:00:00Z"),
            ("now-1M/M", "2017-04-01T00:00:00Z"),
            ("now/w", "2017-05-01T00:00:00Z"),
            ("now-1y", "2016-05-04T10:11:12.345Z"),
            ("2017-05-04T12:11:12.345+02:00", "2017-05-04T10:11:12.345Z"),
            ("2017-05-04T10:11:12", "2017-05-04T10:11:12Z"),
            ("2017-05-04", "2017-05-04T00:00:00Z"),
        ] {
            assert_eq!(parse(text, now), Some(at(expected)), "{text}");
        }
        for wrong in [
            "",
            "yesterday",
            "now-",
            "now-5",
            "now-5x",
            "now5m",
            "now/5d",
            "now-99999999999999999999s",
            "now-9999999y",
            "1969-01-01",
            "now-é",
            "now-5é",
        ] {
            assert_eq!(parse(wrong, now), None, "{wrong}");
        }
    }
}
