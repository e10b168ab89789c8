//! Shares as people write them, and how routes without a weight share the rest.

use serde_json::Value;

const FULL: u32 = 10_000;

/// Reads `90%`, `12.5%`, or an integer percent, to parts per ten thousand.
pub(super) fn parts(value: &Value) -> Result<u32, String> {
    let wrong =
        || format!("{value} is not a share; write 0% to 100% with at most two decimals, such as 12.5%");
    let text = match value {
        Value::String(text) => text
            .trim()
            .strip_suffix('%')
            .ok_or_else(wrong)?
            .trim_end()
            .to_owned(),
        Value::Number(number) if number.is_u64() => number.to_string(),
        _ => return Err(wrong()),
    };
    let (whole, decimals) = text.split_once('.').unwrap_or((&text, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(decimals) || decimals.len() > 2 {
        return Err(wrong());
    }
    let whole: u32 = whole.parse().map_err(|_| wrong())?;
    let hundredths: u32 = format!("{decimals:0<2}").parse().map_err(|_| wrong())?;
    whole
        .checked_mul(100)
        .and_then(|parts| parts.checked_add(hundredths))
        .filter(|parts| *parts <= FULL)
        .ok_or_else(wrong)
}

/// Vamp's rule: those without a weight share what is left, in whole percent rounded down, and the last takes
/// the remainder. Only when there is less than a percent for each are the shares finer.
///
/// # Errors
/// The total in parts if it is more than everything.
pub(super) fn fill(given: &[Option<u32>]) -> Result<Vec<u32>, u32> {
    let total = given
        .iter()
        .flatten()
        .fold(0, |sum: u32, parts| sum.saturating_add(*parts));
    let rest = FULL.checked_sub(total).ok_or(total)?;
    let missing = given.iter().filter(|parts| parts.is_none()).count();
    let Ok(count @ 1..) = u32::try_from(missing) else {
        return Ok(given.iter().flatten().copied().collect());
    };
    let each = match rest / count {
        parts @ 0..100 => parts,
        parts => parts / 100 * 100,
    };
    let last = rest - each * (count - 1);
    let mut left = count;
    Ok(given
        .iter()
        .map(|parts| {
            parts.unwrap_or_else(|| {
                left -= 1;
                if left == 0 { last } else { each }
            })
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{fill, parts};

    #[test]
    fn shares_are_percent() {
        for (value, expected) in [
            (json!("90%"), 9_000),
            (json!(" 12.5 %"), 1_250),
            (json!("0.05%"), 5),
            (json!("100.00%"), 10_000),
            (json!(33), 3_300),
            (json!(0), 0),
        ] {
            assert_eq!(parts(&value), Ok(expected), "{value}");
        }
        for value in [
            json!("90"),
            json!("%"),
            json!("-1%"),
            json!("+1%"),
            json!("1.%"),
            json!("1.234%"),
            json!("100.01%"),
            json!("101%"),
            json!("99999999999%"),
            json!(101),
            json!(-1),
            json!(0.5),
            json!(true),
        ] {
            assert!(parts(&value).is_err(), "{value}");
        }
    }

    #[test]
    fn the_rest_is_shared_in_whole_percent() {
        assert_eq!(fill(&[None, None, None]), Ok(vec![3_300, 3_300, 3_400]));
        assert_eq!(fill(&[None, Some(1_250), None]), Ok(vec![4_300, 1_250, 4_450]));
        assert_eq!(fill(&[Some(10_000), None]), Ok(vec![10_000, 0]));
        assert_eq!(fill(&[Some(0), Some(0)]), Ok(vec![0, 0]));
        assert_eq!(fill(&[]), Ok(vec![]));
        assert_eq!(fill(&[Some(9_000), Some(1_001), None]), Err(10_001));
        let many = fill(&[None; 300]).expect("nothing is given");
        assert_eq!((many[0], many[299], many.iter().sum::<u32>()), (33, 133, 10_000));
    }
}
