//! Bytes both ways, after an upgrade.

use std::{
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    time::{Instant, timeout},
};

/// Bytes on the way, each way.
const BUFFER_BYTES: usize = 16 * 1024;

/// Relays until both sides have ended, one fails, or nothing has passed either way for `idle`.
pub(super) async fn relay<A, B>(a: A, b: B, idle: Duration) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let last = Last(Mutex::new(Instant::now()));
    let ((a_read, a_write), (b_read, b_write)) = (split(a), split(b));
    tokio::try_join!(
        one_way(a_read, b_write, &last, idle),
        one_way(b_read, a_write, &last, idle)
    )?;
    Ok(())
}

/// When something passed last, either way. Both ways are one task, so nobody ever waits for the other.
struct Last(Mutex<Instant>);

impl Last {
    fn set(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn elapsed(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    last: &Last,
    idle: Duration,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let left = idle.saturating_sub(last.elapsed());
        if left.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "nothing passed for a long time",
            ));
        }
        // The other way may have been busy meanwhile.
        let Ok(read) = timeout(left, from.read(&mut buffer)).await else {
            continue;
        };
        let count = read?;
        last.set();
        if count == 0 {
            return to.shutdown().await;
        }
        let bytes = buffer.get(..count).unwrap_or_default();
        timeout(idle, to.write_all(bytes))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "a side takes nothing"))??;
        to.flush().await?;
        last.set();
    }
}

#[cfg(test)]
mod tests {
    use std::{io::ErrorKind, time::Duration};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::relay;

    #[tokio::test(start_paused = true)]
    async fn both_ways_with_half_closing_and_a_bound_for_silence() {
        let idle = Duration::from_secs(60);
        let ((client, near), (far, server)) = (duplex(64), duplex(64));
        let relaying = async { relay(near, far, idle).await };
        let talking = async {
            let (mut client, mut server) = (client, server);
            for _ in 0..3 {
                // Together longer than the bound, which is for silence only.
                tokio::time::sleep(idle * 2 / 3).await;
                client.write_all(b"ping").await.unwrap();
                let mut word = [0; 4];
                server.read_exact(&mut word).await.unwrap();
                assert_eq!(&word, b"ping");
            }
            client.shutdown().await.unwrap();
            assert_eq!(server.read(&mut [0; 4]).await.unwrap(), 0);
            server.write_all(b"late").await.unwrap();
            drop(server);
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"late");
        };
        let (relayed, ()) = tokio::join!(relaying, talking);
        relayed.unwrap();

        let ((_client, near), (far, _server)) = (duplex(64), duplex(64));
        let silent = relay(near, far, idle).await.unwrap_err();
        assert_eq!(silent.kind(), ErrorKind::TimedOut);
    }
}
