//! Splits a command line as a shell does.
//!
//! Quotes, escapes and `$NAME` / `${NAME}` mean what they mean to `sh`; a value that is not within quotes is
//! split at white space. What only a shell can do (pipes, redirections, substitutions, several commands) is
//! refused, never passed on as if it were an argument.

use std::{iter::Peekable, str::Chars};

use thiserror::Error;

/// Why a command line cannot be split.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SplitError {
    /// Nothing but white space.
    #[error("there is no command")]
    Empty,
    /// A quote or brace without its end.
    #[error("a `{0}` is not closed")]
    Unclosed(char),
    /// A `\\` at the end.
    #[error("it ends with a `\\` that escapes nothing")]
    Trailing,
    /// Only a shell can do that.
    #[error("`{0}` needs a shell (argument `shell: true`), or quotes if it is meant as text")]
    Shell(char),
    /// More than a name within `${}`.
    #[error(
        "`${{{0}}}` is not the name of a variable; more than a name needs a shell (argument `shell: true`)"
    )]
    Name(String),
    /// A variable that is not there.
    #[error("the instance has no variable `{0}`")]
    Variable(String),
}

/// Words of a command line; at least one. `variable` gives the values of variables.
///
/// # Errors
/// It is not closed, needs a shell, or names a variable that is not there.
pub fn split<'a>(text: &str, variable: impl Fn(&str) -> Option<&'a str>) -> Result<Vec<String>, SplitError> {
    let mut words = Vec::new();
    // `None`: between words. An empty pair of quotes makes an empty word.
    let mut word: Option<String> = None;
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\\' => match chars.next() {
                Some('\n') => {}
                Some(escaped) => word.get_or_insert_default().push(escaped),
                None => return Err(SplitError::Trailing),
            },
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(char) => word.push(char),
                        None => return Err(SplitError::Unclosed('\'')),
                    }
                }
            }
            '"' => quoted(&mut chars, &variable, word.get_or_insert_default())?,
            '$' => match name(&mut chars)? {
                None => word.get_or_insert_default().push('$'),
                Some(name) => {
                    let value = variable(&name).ok_or(SplitError::Variable(name))?;
                    for char in value.chars() {
                        if char.is_ascii_whitespace() {
                            words.extend(word.take());
                        } else {
                            word.get_or_insert_default().push(char);
                        }
                    }
                }
            },
            '|' | '&' | ';' | '<' | '>' | '(' | ')' | '`' => return Err(SplitError::Shell(char)),
            char => word.get_or_insert_default().push(char),
        }
    }
    words.extend(word);
    if words.is_empty() {
        Err(SplitError::Empty)
    } else {
        Ok(words)
    }
}

/// What follows a `"`, up to and with the closing one.
fn quoted<'a>(
    chars: &mut Peekable<Chars<'_>>,
    variable: impl Fn(&str) -> Option<&'a str>,
    word: &mut String,
) -> Result<(), SplitError> {
    loop {
        match chars.next() {
            Some('"') => return Ok(()),
            Some('\\') => match chars.next() {
                Some('\n') => {}
                Some(escaped @ ('$' | '`' | '"' | '\\')) => word.push(escaped),
                Some(other) => {
                    word.push('\\');
                    word.push(other);
                }
                None => return Err(SplitError::Unclosed('"')),
            },
            Some('$') => match name(chars)? {
                None => word.push('$'),
                Some(name) => word.push_str(variable(&name).ok_or(SplitError::Variable(name))?),
            },
            Some('`') => return Err(SplitError::Shell('`')),
            Some(char) => word.push(char),
            None => return Err(SplitError::Unclosed('"')),
        }
    }
}

/// The name after a `$`; `None`: the `$` stands for itself.
fn name(chars: &mut Peekable<Chars<'_>>) -> Result<Option<String>, SplitError> {
    let mut name = String::new();
    match chars.peek() {
        Some('{') => {
            chars.next();
            loop {
                match chars.next() {
                    Some('}') => break,
                    Some(char) => name.push(char),
                    None => return Err(SplitError::Unclosed('{')),
                }
            }
            let valid = name.chars().next().is_some_and(begins) && name.chars().all(continues);
            if valid {
                Ok(Some(name))
            } else {
                Err(SplitError::Name(name))
            }
        }
        Some('(' | '$' | '?' | '!' | '#' | '@' | '*' | '0'..='9') => Err(SplitError::Shell('$')),
        Some(char) if begins(*char) => {
            while let Some(char) = chars.next_if(|char| continues(*char)) {
                name.push(char);
            }
            Ok(Some(name))
        }
        _ => Ok(None),
    }
}

fn begins(char: char) -> bool {
    char.is_ascii_alphabetic() || char == '_'
}

fn continues(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_'
}

#[cfg(test)]
mod tests;
