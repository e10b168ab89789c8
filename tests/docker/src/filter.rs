//! What an engine leaves in the kernel, and taking it back.

use std::process::{Command, Stdio};

/// Rules of the packet filter that have one of these names in them, in a form that deletes them.
fn rules(table: &str, names: &[String]) -> Vec<Vec<String>> {
    let listed = Command::new("iptables").args(["-w", "-t", table, "-S"]).output();
    let text = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    let ours = text
        .lines()
        .filter(|line| line.starts_with("-A ") && names.iter().any(|name| line.contains(name.as_str())));
    ours.map(|line| {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        if let Some(first) = words.first_mut() {
            "-D".clone_into(first);
        }
        words
    })
    .collect()
}

/// Removes rules, bridges, and the policy that forwards nothing. `pool`: the beginning of the addresses, as
/// `10.200.`.
pub(crate) fn clean(bridge: &str, pool: &str) {
    let links = bridges(pool);
    let mut names = links.clone();
    names.extend([bridge.to_owned(), pool.to_owned()]);
    for table in ["nat", "filter"] {
        for rule in rules(table, &names) {
            quiet(Command::new("iptables").args(["-w", "-t", table]).args(rule));
        }
    }
    quiet(Command::new("iptables").args(["-w", "-P", "FORWARD", "ACCEPT"]));
    for link in links {
        quiet(Command::new("ip").args(["link", "del", link.as_str()]));
    }
    quiet(Command::new("ip").args(["link", "del", bridge]));
}

/// Bridges that the engine made for networks of its users.
fn bridges(pool: &str) -> Vec<String> {
    let listed = Command::new("ip").args(["-o", "-4", "addr"]).output();
    let text = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default()
        .lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace().skip(1);
            let (link, address) = (words.next()?, words.nth(1)?);
            (link.starts_with("br-") && address.starts_with(pool)).then(|| link.to_owned())
        })
        .collect()
}

/// Runs a command whose failure means that there is nothing to do.
pub(crate) fn quiet(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
