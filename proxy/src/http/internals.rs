//! This module's part of [`crate::internals`].

use super::{
    forward,
    framing::{Decoder, Framing},
    head::{Asked, Request, Response, room},
};
use crate::{config::Limits, error::ErrorKind};

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// All until the close.
    UntilClose,
}

impl From<Framing> for Body {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::None,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked,
            Framing::UntilClose => Self::UntilClose,
        }
    }
}

/// What a request's head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHead<'b> {
    /// Its bytes.
    pub length: usize,
    /// The method.
    pub method: &'b [u8],
    /// Path and query.
    pub target: &'b [u8],
    /// Whom it is for.
    pub host: Option<&'b [u8]>,
    /// Its body.
    pub body: Body,
    /// Whether the connection goes on after it.
    pub keep_alive: bool,
}

/// What a response's head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// Its bytes.
    pub length: usize,
    /// 100 to 599.
    pub status: u16,
    /// Its body.
    pub body: Body,
    /// Whether the connection goes on after it.
    pub keep_alive: bool,
}

pub(crate) fn request_head<'b>(
    bytes: &'b [u8],
    limits: &Limits,
) -> Result<Option<RequestHead<'b>>, ErrorKind> {
    let mut room = room();
    Ok(
        Request::parse(bytes, &mut room, limits)?.map(|request| RequestHead {
            length: request.length(),
            method: request.method(),
            target: request.target(),
            host: request.host(),
            body: request.framing().into(),
            keep_alive: request.keep_alive(),
        }),
    )
}

pub(crate) fn forwarded_request(bytes: &[u8], limits: &Limits) -> Option<Vec<u8>> {
    let mut room = room();
    let request = Request::parse(bytes, &mut room, limits).ok()??;
    let mut out = Vec::new();
    let origin = forward::Origin {
        client: [127, 0, 0, 1].into(),
        local: ([127, 0, 0, 1], 80).into(),
        virtual_host: false,
        secure: false,
        distrusted: false,
        announce: Default::default(),
        random: [0; 3],
    };
    forward::request(&mut out, &request, origin, None);
    Some(out)
}

pub(crate) fn response_head(
    bytes: &[u8],
    head_only: bool,
    limits: &Limits,
) -> Result<Option<ResponseHead>, ()> {
    let mut room = room();
    let asked = Asked {
        head_only,
        upgrade: false,
    };
    let response = Response::parse(bytes, &mut room, limits, asked).map_err(|_| ())?;
    Ok(response.map(|response| ResponseHead {
        length: response.length(),
        status: response.status(),
        body: response.framing().into(),
        keep_alive: response.keep_alive(),
    }))
}

/// Follows a chunked body.
#[derive(Clone, Copy, Debug)]
pub struct Chunks(Decoder);

impl Default for Chunks {
    fn default() -> Self {
        Self(Framing::Chunked.into())
    }
}

impl Chunks {
    /// How many of the next bytes belong to the body, and whether it ends with them; `None`: it is malformed.
    pub fn advance(&mut self, bytes: &[u8]) -> Option<(usize, bool)> {
        self.0.advance(bytes).ok()
    }
}
