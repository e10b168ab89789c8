//! The one word that systemd needs when another process becomes the main one of its unit (sd_notify(3)).

use std::{
    ffi::OsStr,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// Says that this is the main process now, if there is somebody to tell (`NOTIFY_SOCKET`).
pub(super) fn tell_main_process() {
    let Some(place) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let text = format!("MAINPID={}\nREADY=1", std::process::id());
    if let Err(error) = tell(&place, &text) {
        tracing::warn!(%error, "systemd is not told of the new main process");
    }
}

fn tell(place: &OsStr, text: &str) -> std::io::Result<()> {
    let address = match place.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(place)?,
    };
    UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn the_word_arrives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        super::tell(path.as_os_str(), "MAINPID=1").unwrap();
        let mut into = [0; 64];
        let count = socket.recv(&mut into).unwrap();
        assert_eq!(&into[..count], b"MAINPID=1");
    }
}
