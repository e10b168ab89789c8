//! Words of an ACL, as HAProxy splits a line of its configuration.

use super::{
    super::{Fault, excerpt},
    fault,
};

/// A word of the text, without its quotes.
#[derive(Debug)]
pub(super) struct Word {
    /// Byte at which it begins.
    pub(super) at: usize,
    pub(super) text: String,
}

/// Splits at white space as HAProxy does: `'...'` is literal, elsewhere a backslash hides white space, quotes,
/// `#` and itself, and is left alone before anything else (`\.`).
pub(super) fn split(text: &str) -> Result<Vec<Word>, Fault> {
    let mut words: Vec<Word> = Vec::new();
    let mut inside = false;
    let mut quote: Option<(usize, char)> = None;
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        if quote.is_none() && c.is_ascii_whitespace() {
            inside = false;
            continue;
        }
        if !inside {
            inside = true;
            words.push(Word {
                at,
                text: String::new(),
            });
        }
        let Some(word) = words.last_mut() else { continue };
        match (c, quote) {
            ('\'' | '"', None) => quote = Some((at, c)),
            (_, Some((_, open))) if c == open => quote = None,
            ('#', None) => {
                return Err(fault(
                    at,
                    "`#` begins a comment in HAProxy; write `\\#` or quote it",
                ));
            }
            ('\\', None | Some((_, '"'))) => {
                let hidden = |c: &char| matches!(c, ' ' | '\\' | '#' | '"' | '\'');
                match rest.next_if(|(_, next)| hidden(next)) {
                    Some((_, next)) => word.text.push(next),
                    None => word.text.push(c),
                }
            }
            _ => word.text.push(c),
        }
    }
    match quote {
        Some((at, c)) => Err(fault(at, format!("the quote {c} is never closed"))),
        None => Ok(words),
    }
}

/// Splits `name(argument)`.
pub(super) fn call(word: &Word) -> Result<(&str, Option<&str>), Fault> {
    let Some((name, rest)) = word.text.split_once('(') else {
        return match word.text.split_once(',') {
            Some((_, converters)) => Err(converter(word, converters)),
            None => Ok((&word.text, None)),
        };
    };
    let Some((argument, after)) = rest.split_once(')') else {
        return Err(fault(word.at, format!("`{}` lacks its `)`", excerpt(&word.text))));
    };
    match after.strip_prefix(',') {
        Some(converters) => Err(converter(word, converters)),
        None if after.is_empty() => Ok((name, Some(argument))),
        None => Err(fault(
            word.at,
            format!("`{}` must be followed by white space", excerpt(&word.text)),
        )),
    }
}

fn converter(word: &Word, converters: &str) -> Fault {
    fault(
        word.at,
        format!(
            "the converter `{}` is not supported (for letter case use the flag -i)",
            excerpt(converters)
        ),
    )
}
