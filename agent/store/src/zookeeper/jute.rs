//! ZooKeeper's wire: big-endian numbers, texts and buffers with their length before them, frames with theirs.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::StoreError;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Op {
    Create = 1,
    Delete = 2,
    Exists = 3,
    GetData = 4,
    SetData = 5,
    Sync = 9,
    Ping = 11,
    GetChildren = 12,
    Check = 13,
    Multi = 14,
    Auth = 100,
    Close = -11,
}

/// Errors that this client tells apart.
pub(super) mod code {
    pub(crate) const OK: i32 = 0;
    /// A step of a transaction that was not reached.
    pub(crate) const NOT_REACHED: i32 = -2;
    pub(crate) const CONNECTION_LOSS: i32 = -4;
    pub(crate) const TIMEOUT: i32 = -7;
    pub(crate) const NO_NODE: i32 = -101;
    pub(crate) const NO_AUTH: i32 = -102;
    pub(crate) const BAD_VERSION: i32 = -103;
    pub(crate) const NO_CHILDREN_FOR_EPHEMERALS: i32 = -108;
    pub(crate) const NODE_EXISTS: i32 = -110;
    pub(crate) const NOT_EMPTY: i32 = -111;
    pub(crate) const SESSION_EXPIRED: i32 = -112;
    pub(crate) const INVALID_ACL: i32 = -114;
    pub(crate) const AUTH_FAILED: i32 = -115;
    pub(crate) const SESSION_MOVED: i32 = -118;
}

/// Who may do what with a new node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acl {
    /// Everybody everything.
    Open,
    /// Whoever has our credentials everything, others nothing.
    Private,
    /// As [`Acl::Private`], but everybody may read.
    Readable,
}

/// What is known of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stat {
    /// Transaction that last changed what the node holds.
    pub(super) mzxid: i64,
    /// How often that was changed since the node was made.
    pub(super) version: i32,
    /// Session whose end removes it; 0: none.
    pub(super) owner: i64,
    pub(super) data_bytes: i32,
    pub(super) children: i32,
}

/// Reads what a server sent; what is cut short or senseless is an error.
#[derive(Debug)]
pub(super) struct Reader(pub(super) Bytes);

fn cut() -> StoreError {
    StoreError::Corrupt("an answer is cut short; is this ZooKeeper?".to_owned())
}

impl Reader {
    pub(super) fn int(&mut self) -> Result<i32, StoreError> {
        self.0.try_get_i32().map_err(|_| cut())
    }

    pub(super) fn long(&mut self) -> Result<i64, StoreError> {
        self.0.try_get_i64().map_err(|_| cut())
    }

    pub(super) fn boolean(&mut self) -> Result<bool, StoreError> {
        Ok(self.0.try_get_u8().map_err(|_| cut())? != 0)
    }

    /// `None` is another thing than empty.
    pub(super) fn buffer(&mut self) -> Result<Option<Bytes>, StoreError> {
        let length = self.int()?;
        let Ok(length) = usize::try_from(length) else {
            return Ok(None);
        };
        if length > self.0.len() {
            return Err(cut());
        }
        Ok(Some(self.0.split_to(length)))
    }

    pub(super) fn text(&mut self) -> Result<String, StoreError> {
        let bytes = self.buffer()?.unwrap_or_default();
        String::from_utf8(bytes.into()).map_err(|_| cut())
    }

    pub(super) fn texts(&mut self) -> Result<Vec<String>, StoreError> {
        let count = self.int()?.max(0);
        (0..count).map(|_| self.text()).collect()
    }

    pub(super) fn stat(&mut self) -> Result<Stat, StoreError> {
        let _czxid = self.long()?;
        let mzxid = self.long()?;
        let (_ctime, _mtime) = (self.long()?, self.long()?);
        let version = self.int()?;
        let (_cversion, _aversion) = (self.int()?, self.int()?);
        let owner = self.long()?;
        let (data_bytes, children) = (self.int()?, self.int()?);
        let _pzxid = self.long()?;
        Ok(Stat {
            mzxid,
            version,
            owner,
            data_bytes,
            children,
        })
    }
}

fn put_text(out: &mut BytesMut, text: &str) {
    put_buffer(out, Some(text.as_bytes()));
}

fn put_buffer(out: &mut BytesMut, bytes: Option<&[u8]>) {
    let Some(bytes) = bytes else {
        out.put_i32(-1);
        return;
    };
    out.put_i32(i32::try_from(bytes.len()).expect("what is sent is bounded far below 2 GiB"));
    out.put_slice(bytes);
}

/// `path` and whether to watch it.
pub(super) fn reading(path: &str, watch: bool) -> BytesMut {
    let mut out = BytesMut::new();
    put_text(&mut out, path);
    out.put_u8(u8::from(watch));
    out
}

/// Only `path`.
pub(super) fn path_only(path: &str) -> BytesMut {
    let mut out = BytesMut::new();
    put_text(&mut out, path);
    out
}

/// Credentials.
pub(super) fn auth(scheme: &str, credentials: &str) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_i32(0);
    put_text(&mut out, scheme);
    put_text(&mut out, credentials);
    out
}

/// The first frame of a connection: a new session, or an old one to go on with.
pub(super) fn connect(timeout_ms: i32, session: i64, password: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_i32(0);
    out.put_i64(0);
    out.put_i32(timeout_ms);
    out.put_i64(session);
    put_buffer(&mut out, Some(password));
    out.put_u8(0);
    out
}

/// One step of a transaction. All hold, or nothing is done.
#[derive(Clone, Debug)]
pub(super) enum Step<'a> {
    Create {
        path: &'a str,
        data: Option<&'a [u8]>,
        acl: Acl,
        ephemeral: bool,
    },
    Delete {
        path: &'a str,
        version: i32,
    },
    Set {
        path: &'a str,
        data: Option<&'a [u8]>,
        version: i32,
    },
    Check {
        path: &'a str,
        version: i32,
    },
}

fn put_acl(out: &mut BytesMut, acl: Acl) {
    const ALL: i32 = 31;
    const READ: i32 = 1;
    let entries: &[(i32, &str, &str)] = match acl {
        Acl::Open => &[(ALL, "world", "anyone")],
        Acl::Private => &[(ALL, "auth", "")],
        Acl::Readable => &[(ALL, "auth", ""), (READ, "world", "anyone")],
    };
    out.put_i32(i32::try_from(entries.len()).expect("one or two"));
    for (permissions, scheme, id) in entries {
        out.put_i32(*permissions);
        put_text(out, scheme);
        put_text(out, id);
    }
}

fn put_create(out: &mut BytesMut, path: &str, data: Option<&[u8]>, acl: Acl, ephemeral: bool) {
    put_text(out, path);
    put_buffer(out, data);
    put_acl(out, acl);
    out.put_i32(i32::from(ephemeral));
}

/// A node that stays, without data.
pub(super) fn folder(path: &str, acl: Acl) -> BytesMut {
    let mut out = BytesMut::new();
    put_create(&mut out, path, None, acl, false);
    out
}

pub(super) fn delete(path: &str, version: i32) -> BytesMut {
    let mut out = path_only(path);
    out.put_i32(version);
    out
}

pub(super) fn multi(steps: &[Step<'_>]) -> BytesMut {
    let mut out = BytesMut::new();
    let header = |out: &mut BytesMut, op: i32, done: bool| {
        out.put_i32(op);
        out.put_u8(u8::from(done));
        out.put_i32(-1);
    };
    for step in steps {
        match step {
            Step::Create {
                path,
                data,
                acl,
                ephemeral,
            } => {
                header(&mut out, Op::Create as i32, false);
                put_create(&mut out, path, *data, *acl, *ephemeral);
            }
            Step::Delete { path, version } => {
                header(&mut out, Op::Delete as i32, false);
                out.put_slice(&delete(path, *version));
            }
            Step::Set { path, data, version } => {
                header(&mut out, Op::SetData as i32, false);
                put_text(&mut out, path);
                put_buffer(&mut out, *data);
                out.put_i32(*version);
            }
            Step::Check { path, version } => {
                header(&mut out, Op::Check as i32, false);
                put_text(&mut out, path);
                out.put_i32(*version);
            }
        }
    }
    header(&mut out, -1, true);
    out
}

/// The code of the first step of a transaction that failed; [`code::OK`] if all held.
pub(super) fn multi_outcome(reader: &mut Reader) -> Result<i32, StoreError> {
    let mut failed = code::OK;
    loop {
        let (op, done, _) = (reader.int()?, reader.boolean()?, reader.int()?);
        if done {
            return Ok(failed);
        }
        match op {
            -1 => {
                let error = reader.int()?;
                if failed == code::OK && error != code::NOT_REACHED {
                    failed = error;
                }
            }
            op if op == Op::Create as i32 => {
                reader.text()?;
            }
            op if op == Op::SetData as i32 => {
                reader.stat()?;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut as _, Bytes, BytesMut};

    use super::{Reader, code, multi_outcome};

    #[test]
    fn what_is_cut_short_is_an_error_and_never_a_panic() {
        let mut whole = BytesMut::new();
        whole.put_i32(2);
        for text in ["ab", "c"] {
            whole.put_i32(i32::try_from(text.len()).unwrap());
            whole.put_slice(text.as_bytes());
        }
        let whole = whole.freeze();
        assert_eq!(Reader(whole.clone()).texts().unwrap(), ["ab", "c"]);
        for length in 0..whole.len() {
            assert!(Reader(whole.slice(..length)).texts().is_err(), "{length}");
        }
        let huge = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]);
        assert!(Reader(huge.clone()).buffer().is_err());
        assert!(Reader(huge).texts().is_err());
        assert_eq!(Reader(Bytes::from_static(&[0xff; 4])).buffer().unwrap(), None);
        assert!(Reader(Bytes::from_static(&[0; 67])).stat().is_err());
    }

    #[test]
    fn the_first_step_that_failed_says_why() {
        let mut answer = BytesMut::new();
        for error in [code::NOT_REACHED, code::BAD_VERSION, code::NOT_REACHED] {
            answer.put_i32(-1);
            answer.put_u8(0);
            answer.put_i32(error);
            answer.put_i32(error);
        }
        answer.put_i32(-1);
        answer.put_u8(1);
        answer.put_i32(-1);
        assert_eq!(
            multi_outcome(&mut Reader(answer.freeze())).unwrap(),
            code::BAD_VERSION
        );
    }
}
