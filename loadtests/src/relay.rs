//! A relay that knows no HTTP: reads and writes what any proxy must, and nothing else.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::LocalSet,
};

/// Relays until its standard input ends.
pub(crate) fn serve(listen: SocketAddr, to: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(listen).await?;
        std::thread::spawn(|| {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            std::process::exit(0);
        });
        loop {
            let (client, _) = listener.accept().await?;
            tokio::task::spawn_local(async move {
                let _ = relay(client, to).await;
            });
        }
    })
}

async fn relay(mut client: TcpStream, to: SocketAddr) -> std::io::Result<()> {
    let mut server = TcpStream::connect(to).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let mut up = vec![0; 16 * 1024];
    let mut down = vec![0; 64 * 1024];
    loop {
        tokio::select! {
            read = client.read(&mut up) => match read? {
                0 => return Ok(()),
                read => server.write_all(up.get(..read).unwrap_or_default()).await?,
            },
            read = server.read(&mut down) => match read? {
                0 => return Ok(()),
                read => client.write_all(down.get(..read).unwrap_or_default()).await?,
            },
        }
    }
}
