//! What was probably meant by a key that is not known.

/// Keys of other versions of the language, and what to write.
const ELSEWHERE: [(&str, &str); 11] = [
    ("docker", "driver specific content belongs under `dialects`"),
    ("marathon", "driver specific content belongs under `dialects`"),
    ("kubernetes", "driver specific content belongs under `dialects`"),
    ("rancher", "driver specific content belongs under `dialects`"),
    ("import", "imports stand at the top of a document"),
    (
        "selector",
        "selectors of later versions are not supported; name the routes",
    ),
    ("slas", "a cluster has one `sla`"),
    ("filters", "write a `condition`"),
    ("filter_strength", "write `condition_strength`"),
    ("filter_condition", "write a `condition`"),
    ("routing", "write `gateways`"),
];

/// Longest key, in characters, for which a similar one is looked for.
const KEY_CHARACTERS_MAX: usize = 32;

/// A hint for a key that is not among the known ones.
pub(super) fn hint(key: &str, known: &[&'static str]) -> Option<String> {
    if let Some((_, hint)) = ELSEWHERE.iter().find(|(other, _)| *other == key) {
        return Some((*hint).to_owned());
    }
    if let Some(best) = similar(key, known) {
        return Some(format!("did you mean `{best}`?"));
    }
    if known.is_empty() {
        return None;
    }
    let mut known = known.to_vec();
    known.retain(|key| *key != "kind");
    Some(format!("known here: {}", known.join(", ")))
}

fn similar<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    let length = key.chars().count();
    if length > KEY_CHARACTERS_MAX {
        return None;
    }
    let allowed = (length / 3).clamp(1, 3);
    let key = key.to_lowercase().replace('-', "_");
    known
        .iter()
        .map(|candidate| (distance(&key, candidate), *candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = i;
        let mut last = i + 1;
        let mut next = vec![last];
        for (b, above) in right.iter().zip(row.iter().skip(1)) {
            let cost = diagonal + usize::from(a != *b);
            last = cost.min(above + 1).min(last + 1);
            diagonal = *above;
            next.push(last);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
