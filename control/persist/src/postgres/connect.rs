//! Connecting: the URL, encryption, the layout.

use std::{io, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use deadpool_postgres::{Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use thiserror::Error;
use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Connections of one process.
const CONNECTIONS_MAX: usize = 8;
/// Time for a connection to be made, or to become free.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time that the server gives a statement, in milliseconds.
const STATEMENT_MS: u64 = 30_000;

/// Why a database cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL cannot be read.
    #[error("the database's URL cannot be read")]
    Url(#[source] tokio_postgres::Error),
    /// The schema's name has other characters than letters, digits and `_`, or too many of them.
    #[error("`{0}` cannot be the name of a schema: letters, digits and _ only, at most 63, no digit first")]
    Schema(String),
    /// The file of authorities cannot be used.
    #[error("{} holds no certificates that can be used", .path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server cannot be reached, or refuses.
    #[error("the database cannot be connected to")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The tables cannot be made or changed.
    #[error("the tables cannot be brought up to date")]
    Layout(#[source] tokio_postgres::Error),
    /// A newer version of the program made it.
    #[error("the schema was made by a newer version (its layout is {found}, the newest known is {known})")]
    Newer {
        /// Its layout.
        found: usize,
        /// Ours.
        known: usize,
    },
}

/// Layouts, oldest first. A released one is never edited: a change is a new one at the end. Names sort by their bytes, as
/// everywhere else.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE artifacts (
        kind text COLLATE \"C\" NOT NULL, name text COLLATE \"C\" NOT NULL, revision bigint NOT NULL,
        body text NOT NULL, at_ms bigint NOT NULL,
        PRIMARY KEY (kind, name)
    );
    CREATE TABLE history (
        kind text COLLATE \"C\" NOT NULL, name text COLLATE \"C\" NOT NULL, revision bigint NOT NULL,
        body text, -- NULL: removed
        at_ms bigint NOT NULL,
        PRIMARY KEY (kind, name, revision)
    );
    CREATE TABLE events (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        kind text COLLATE \"C\" NOT NULL, at_ms bigint NOT NULL, tags text[] COLLATE \"C\" NOT NULL, value text NOT NULL
    );
    CREATE INDEX events_by_time ON events (at_ms, id);
    CREATE INDEX events_by_kind ON events (kind, at_ms, id);
    CREATE TABLE event_tags (
        tag text COLLATE \"C\" NOT NULL, at_ms bigint NOT NULL, event bigint NOT NULL,
        PRIMARY KEY (tag, at_ms, event)
    );
    CREATE INDEX event_tags_by_event ON event_tags (event);
", "
    -- A process of the layout before may add and remove until this commits.
    LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE;
    CREATE FUNCTION event_bytes(kind text, tags text[], value text) RETURNS bigint STABLE LANGUAGE sql AS $$
        SELECT octet_length(kind)::bigint + octet_length(to_json(tags)::text) + octet_length(value) + 64
    $$;
    CREATE TABLE event_totals (
        one boolean PRIMARY KEY DEFAULT true CHECK (one), events bigint NOT NULL, bytes bigint NOT NULL
    );
    INSERT INTO event_totals (events, bytes)
        SELECT count(*), coalesce(sum(event_bytes(kind, tags, value)), 0) FROM events;
    CREATE FUNCTION count_events() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE sign bigint := CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END;
        BEGIN
            UPDATE event_totals SET
                events = event_totals.events + sign * changed.events, bytes = event_totals.bytes + sign * changed.bytes
            FROM (SELECT count(*) AS events, coalesce(sum(event_bytes(kind, tags, value)), 0) AS bytes
                  FROM affected) AS changed
            WHERE changed.events > 0;
            RETURN NULL;
        END
    $$;
    CREATE TRIGGER events_added AFTER INSERT ON events
        REFERENCING NEW TABLE AS affected FOR EACH STATEMENT EXECUTE FUNCTION count_events();
    CREATE TRIGGER events_removed AFTER DELETE ON events
        REFERENCING OLD TABLE AS affected FOR EACH STATEMENT EXECUTE FUNCTION count_events();
"];

/// A pool whose connections see the schema, and the key of its advisory lock.
pub(super) async fn open(url: &str, schema: &str) -> Result<(Pool, i64), ConnectError> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_named = !schema.is_empty() && schema.len() <= 63 && schema.bytes().all(is_word);
    if !is_named || schema.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(ConnectError::Schema(schema.to_owned()));
    }
    let (url, authorities) = without_authorities(url);
    let mut config: Config = url.parse().map_err(ConnectError::Url)?;
    if !url.contains("sslmode") {
        let is_here = config.get_hosts().iter().all(is_here);
        config.ssl_mode(if is_here {
            SslMode::Disable
        } else {
            SslMode::Require
        });
    }
    config.application_name("weir-control");
    config.connect_timeout(PATIENCE);
    config.keepalives_idle(Duration::from_secs(15));
    config.options(format!(
        "-c search_path=\"{schema}\" -c statement_timeout={STATEMENT_MS} -c client_min_messages=warning"
    ));
    let manager = Manager::from_config(
        config,
        MakeRustlsConnect::new(encryption(authorities)?),
        ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        },
    );
    let pool = Pool::builder(manager)
        .max_size(CONNECTIONS_MAX)
        .wait_timeout(Some(PATIENCE))
        .create_timeout(Some(PATIENCE))
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| ConnectError::Connect(Box::new(error)))?;
    let turn = turn_of(schema);
    migrate(&pool, schema, turn).await?;
    Ok((pool, turn))
}

/// Takes `sslrootcert` out of a URL: what is left is what the library knows.
fn without_authorities(url: &str) -> (String, Option<PathBuf>) {
    let Some((before, query)) = url.split_once('?') else {
        return (url.to_owned(), None);
    };
    let mut file = None;
    let rest: Vec<&str> = query
        .split('&')
        .filter(|pair| match pair.strip_prefix("sslrootcert=") {
            Some(path) => {
                file = Some(PathBuf::from(path));
                false
            }
            None => true,
        })
        .collect();
    if rest.is_empty() {
        (before.to_owned(), file)
    } else {
        (format!("{before}?{}", rest.join("&")), file)
    }
}

fn is_here(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

fn encryption(authorities: Option<PathBuf>) -> Result<ClientConfig, ConnectError> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(path) => {
            let unusable = |source: Box<dyn std::error::Error + Send + Sync>| ConnectError::Authorities {
                path: path.clone(),
                source,
            };
            let all = CertificateDer::pem_file_iter(&path).map_err(|error| unusable(Box::new(error)))?;
            for certificate in all {
                let certificate = certificate.map_err(|error| unusable(Box::new(error)))?;
                roots
                    .add(certificate)
                    .map_err(|error| unusable(Box::new(error)))?;
            }
            if roots.is_empty() {
                return Err(unusable(Box::new(io::Error::from(io::ErrorKind::InvalidData))));
            }
        }
        None => {
            // Those that cannot be read are not trusted; without any, no certificate is.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// A number that is the schema's own among those of this program (FNV-1a; the server has 64 bits for it).
fn turn_of(schema: &str) -> i64 {
    let hash = schema
        .bytes()
        .chain(*b"/weir")
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    i64::from_ne_bytes(hash.to_ne_bytes())
}

async fn migrate(pool: &Pool, schema: &str, turn: i64) -> Result<(), ConnectError> {
    let mut client = pool.get().await.map_err(|error| match error {
        PoolError::Backend(error) => ConnectError::Connect(Box::new(error)),
        other => ConnectError::Connect(Box::new(other)),
    })?;
    let step = async {
        let step = client.transaction().await?;
        // A layout takes as long as there are events.
        step.batch_execute("SET LOCAL statement_timeout = 0").await?;
        // Two controls that start at once do it one after the other.
        step.execute("SELECT pg_advisory_xact_lock($1)", &[&turn]).await?;
        step.batch_execute(&format!(
            "CREATE SCHEMA IF NOT EXISTS \"{schema}\";
             CREATE TABLE IF NOT EXISTS migrations (version bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())"
        ))
        .await?;
        let found: i64 = step
            .query_one("SELECT coalesce(max(version), 0) FROM migrations", &[])
            .await?
            .get(0);
        let found = usize::try_from(found).unwrap_or(usize::MAX);
        for (index, layout) in MIGRATIONS.get(found..).unwrap_or_default().iter().enumerate() {
            step.batch_execute(layout).await?;
            let version = i64::try_from(found + index + 1).unwrap_or(i64::MAX);
            step.execute("INSERT INTO migrations (version) VALUES ($1)", &[&version])
                .await?;
        }
        step.commit().await?;
        Ok(found)
    };
    let found = step.await.map_err(ConnectError::Layout)?;
    if found > MIGRATIONS.len() {
        return Err(ConnectError::Newer {
            found,
            known: MIGRATIONS.len(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{is_here, open, turn_of, without_authorities};

    #[test]
    fn our_own_parameter_is_taken_out() {
        let (url, file) = without_authorities("postgres://h/d?sslmode=require&sslrootcert=/a/b.pem&x=y");
        assert_eq!(url, "postgres://h/d?sslmode=require&x=y");
        assert_eq!(file, Some(PathBuf::from("/a/b.pem")));
        assert_eq!(
            without_authorities("postgres://h/d?sslrootcert=c").0,
            "postgres://h/d"
        );
        assert_eq!(without_authorities("host=a").0, "host=a");
    }

    #[test]
    fn this_host_is_known_by_its_names() {
        let hosts = |url: &str| url.parse::<tokio_postgres::Config>().unwrap();
        for here in [
            "postgres://localhost/d",
            "postgres://127.0.0.1/d",
            "host=/run/postgresql",
        ] {
            assert!(hosts(here).get_hosts().iter().all(is_here), "{here}");
        }
        assert!(!hosts("postgres://db.example/d").get_hosts().iter().all(is_here));
    }

    #[test]
    fn schemas_have_locks_of_their_own() {
        assert_ne!(turn_of("weir"), turn_of("weir_b"));
    }

    #[tokio::test]
    async fn a_name_that_could_be_more_than_a_name_is_refused() {
        for name in ["", "a\"; DROP TABLE x; --", "1a", "a b", &"a".repeat(64)] {
            let refused = open("postgres://127.0.0.1:1/d", name)
                .await
                .map(|_| ())
                .unwrap_err();
            assert!(refused.to_string().contains("schema"), "{refused}");
        }
    }
}
