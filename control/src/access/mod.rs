//! Who may do what: principals, roles, tokens, and the table of endpoints and roles.
//!
//! **Job.** [`Access`] knows the tokens and says whose a given one is; [`needed`] says which role a request
//! needs. The layer in `api::gate` puts both together for every request, and the [`Principal`] that it found
//! into the request's extensions, where changes find the name for their events.
//!
//! **Invariants.**
//! - A token is shown once, when it is made. Kept is the SHA-256 of it: it has 256 random bits, so that a slow
//!   hash would protect nothing more. Comparing takes the same time for every wrong one.
//! - What the table does not know needs the role `admin`.
//!
//! **Absent.** No users, passwords or sessions: whoever has a token is its principal.

mod principal;
mod table;
mod token;
mod tokens;

#[cfg(test)]
pub(crate) use self::table::declared;
pub(crate) use self::{
    principal::{Principal, Role},
    table::{is_public, needed},
    tokens::{Access, CreateError, Denied, NewToken, TokenRecord},
};
