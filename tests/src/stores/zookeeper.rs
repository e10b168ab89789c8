//! ZooKeeper: one server, from the distribution's jars.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::Server;

const JARS: &str = "/usr/share/java";

pub(super) fn jar() -> PathBuf {
    Path::new(JARS).join("zookeeper.jar")
}

pub(super) fn command(server: &Server) -> Command {
    let (address, port) = (server.listens_on(), server.port());
    let mut config = format!(
        "tickTime=2000\ndataDir={}\nmaxClientCnxns=0\nadmin.enableServer=false\nautopurge.purgeInterval=0\n",
        server.data().display()
    );
    match &server.certificates {
        None => config.push_str(&format!("clientPortAddress={address}\nclientPort={port}\n")),
        Some(files) => config.push_str(&format!(
            "secureClientPortAddress=127.0.0.1\nsecureClientPort={port}\n\
             serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n\
             ssl.keyStore.location={}\nssl.keyStore.type=PEM\nssl.trustStore.location={}\nssl.trustStore.type=PEM\n\
             ssl.clientAuth=need\n",
            files.server_both.display(),
            files.ca.display()
        )),
    }
    let file = server.folder.join("zoo.cfg");
    fs::write(&file, config).expect("the folder can be written");
    // What the jar names beside itself, what it logs by, and what it speaks TLS by.
    let mut jars = vec![jar()];
    for name in [
        "slf4j-simple",
        "servlet-api",
        "netty-buffer",
        "netty-codec",
        "netty-common",
        "netty-handler",
        "netty-resolver",
        "netty-transport",
        "netty-transport-native-epoll",
        "netty-transport-native-unix-common",
    ] {
        let path = Path::new(JARS).join(format!("{name}.jar"));
        if path.exists() {
            jars.push(path);
        }
    }
    let mut command = Command::new("java");
    command
        .args(["-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"])
        .arg(std::env::join_paths(jars).expect("paths without colons"))
        .arg("-Dzookeeper.jmx.log4j.disable=true")
        .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
        .arg("org.apache.zookeeper.server.ZooKeeperServerMain")
        .arg(file);
    command
}
