//! Connection strings of stores that other programs serve: `scheme://user:password@host:port,host/path?name=value`.
//!
//! What is special in a URL is written as `%xx` in the user, the password and the values. Secrets are never
//! shown: [`redacted`] is what errors and logs get.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use crate::StoreError;

/// Longest secret in a file, in bytes.
const SECRET_BYTES_MAX: usize = 64 * 1024;
/// Most hosts of a store.
const HOSTS_MAX: usize = 64;

/// Options that every such store takes: `tls=true|false` (default: true if one of the others is given), `ca`
/// (PEM file of the authorities to trust; default: the system's), `cert` and `key` (PEM files of the client's
/// own certificate), `server_name` (the name that the server's certificate must have; default: the host's).
const TLS_OPTIONS: [&str; 5] = ["tls", "ca", "cert", "key", "server_name"];

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

/// A connection string, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// `host:port`, in the order given.
    pub(crate) hosts: Vec<String>,
    /// What follows the hosts, without slashes at its ends.
    pub(crate) path: String,
    /// User and password.
    pub(crate) user: Option<(String, Secret)>,
    /// How to speak TLS; `None`: in clear.
    pub(crate) tls: Option<TlsOptions>,
    options: BTreeMap<String, Secret>,
    /// As it may be shown.
    shown: String,
}

/// See [`TLS_OPTIONS`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsOptions {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) server_name: Option<String>,
}

impl Address {
    /// Takes apart what follows the scheme's colon. `options` are the names that this store takes beside
    /// those of TLS and, if it knows users, `password_file`.
    pub(crate) fn parse(url: &str, port: u16, options: &[&str]) -> Result<Self, StoreError> {
        let wrong = |reason: &str| StoreError::Address {
            url: redacted(url),
            reason: reason.to_owned(),
        };
        let rest = url.split_once(':').map_or("", |(_, rest)| rest);
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, authority),
        };
        let hosts = hosts
            .split(',')
            .map(|host| with_port(host.trim(), port))
            .collect::<Option<Vec<String>>>()
            .filter(|hosts| hosts.len() <= HOSTS_MAX)
            .ok_or_else(|| wrong("expected HOST:PORT, or several with commas between them"))?;

        let mut given = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !options.contains(&name) && !TLS_OPTIONS.contains(&name) {
                let known: Vec<&str> = options.iter().chain(&TLS_OPTIONS).copied().collect();
                let name: String = name.chars().take(40).collect();
                return Err(wrong(&format!(
                    "`{name}` is no option of it; it has {}",
                    known.join(", ")
                )));
            }
            let value = decoded(value).ok_or_else(|| wrong("a value is not well encoded"))?;
            given.insert(name.to_owned(), Secret(value));
        }
        let mut address = Self {
            hosts,
            path: path.trim_matches('/').to_owned(),
            user: None,
            tls: None,
            options: given,
            shown: redacted(url),
        };
        if let Some(user) = user {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            let (Some(name), Some(password)) = (decoded(name), decoded(password)) else {
                return Err(wrong("the user or the password is not well encoded"));
            };
            address.user = Some((name, Secret(password)));
        }
        if let Some(password) = address.secret_file("password_file")? {
            match &mut address.user {
                Some((_, given)) => *given = password,
                None => return Err(wrong("a password_file needs a user: USER@HOST")),
            }
        }
        address.tls = address.read_tls()?;
        Ok(address)
    }

    fn read_tls(&self) -> Result<Option<TlsOptions>, StoreError> {
        let file = |name: &str| self.option(name).map(PathBuf::from);
        let options = TlsOptions {
            ca: file("ca"),
            cert: file("cert"),
            key: file("key"),
            server_name: self.option("server_name").map(str::to_owned),
        };
        if options.cert.is_some() != options.key.is_some() {
            return Err(self.wrong("`cert` and `key` belong together"));
        }
        match self.option("tls") {
            None if options == TlsOptions::default() => Ok(None),
            None | Some("true" | "1" | "") => Ok(Some(options)),
            Some("false" | "0") if options == TlsOptions::default() => Ok(None),
            Some("false" | "0") => Err(self.wrong("tls=false does not fit the other options of TLS")),
            Some(_) => Err(self.wrong("`tls` is true or false")),
        }
    }

    /// The value of an option.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(|value| value.0.as_str())
    }

    /// A secret that is in the file that an option names.
    pub(crate) fn secret_file(&self, name: &str) -> Result<Option<Secret>, StoreError> {
        let Some(path) = self.option(name) else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| self.wrong(&format!("the file of `{name}` cannot be read: {error}")))?;
        if text.len() > SECRET_BYTES_MAX {
            return Err(self.wrong(&format!("the file of `{name}` is too long")));
        }
        Ok(Some(Secret(text.trim().to_owned())))
    }

    /// Why this address cannot be used.
    pub(crate) fn wrong(&self, reason: &str) -> StoreError {
        StoreError::Address {
            url: self.shown.clone(),
            reason: reason.to_owned(),
        }
    }
}

/// `host`, `host:port`, `[::1]:port`; `None` if it is none of them.
fn with_port(host: &str, port: u16) -> Option<String> {
    let sound = |name: &str| {
        let inner = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .unwrap_or(name);
        !inner.is_empty()
            && inner
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':'))
            && (name.starts_with('[') || !name.contains(':'))
    };
    if sound(host) {
        return Some(format!("{host}:{port}"));
    }
    let (name, port) = host.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
    sound(name).then(|| format!("{name}:{port}"))
}

/// Without what may be secret: user, password and the values of options.
pub(crate) fn redacted(url: &str) -> String {
    let url: String = url.chars().take(200).collect();
    let (rest, query) = match url.split_once('?') {
        Some((rest, _)) => (rest, "?.."),
        None => (&*url, ""),
    };
    match rest.rsplit_once('@') {
        Some((before, after)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            format!("{scheme}://..@{after}{query}")
        }
        None => format!("{rest}{query}"),
    }
}

/// `%xx` undone; `None` if that is not text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        bytes.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::{Address, Secret, TlsOptions, redacted};

    fn parse(url: &str) -> Result<Address, crate::StoreError> {
        Address::parse(url, 2379, &["token", "password_file"])
    }

    #[test]
    fn hosts_users_and_options_are_taken_apart() {
        let address = parse("etcd://a,b:99,[::1]:5/x/y/?token=a%26b").unwrap();
        assert_eq!(address.hosts, ["a:2379", "b:99", "[::1]:5"]);
        assert_eq!(address.path, "x/y");
        assert_eq!(address.option("token"), Some("a&b"));
        assert_eq!((address.tls.as_ref(), address.user.as_ref()), (None, None));
        let address = parse("etcd://me:p%40ss:w@h?tls=true").unwrap();
        assert_eq!(address.user, Some(("me".to_owned(), Secret("p@ss:w".to_owned()))));
        assert_eq!(address.tls, Some(TlsOptions::default()));
        let tls = parse("etcd://h?ca=/a.pem&cert=/b&key=/c").unwrap().tls.unwrap();
        assert_eq!(tls.ca.as_deref(), Some(std::path::Path::new("/a.pem")));
    }

    #[test]
    fn what_makes_no_sense_is_refused_without_its_secrets() {
        for url in [
            "etcd:",
            "etcd://",
            "etcd://a,,b",
            "etcd://h:0",
            "etcd://h:seven",
            "etcd://h x",
            "etcd://me:hunter2@h?wrong=1",
            "etcd://me:hunter2@h?cert=/x",
            "etcd://me:hunter2@h?tls=perhaps",
            "etcd://me:hunter2@h?tls=false&ca=/x",
            "etcd://me:hunter2@h?token=%zz",
            "etcd://h?password_file=/not/there/hunter2",
        ] {
            let message = parse(url).expect_err(url).to_string();
            assert!(!message.contains("hunter2") || url.contains("file"), "{message}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(redacted("consul://me:x@h:1/p?token=y"), "consul://..@h:1/p?..");
        assert_eq!(redacted("zk://a,b/c"), "zk://a,b/c");
        let shown = format!("{:?}", parse("etcd://me:hunter2@h?token=hunter2").unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
