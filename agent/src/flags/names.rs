//! Names of virtual hosts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use clap::Args;
use weir_agent::{Dns, environment::FromVamp};

#[derive(Debug, Args)]
pub(crate) struct NamesFlags {
    /// Answer names of virtual hosts at this address (UDP). Default: what Vamp's VAMP_VGA_DNS_ENABLE and _PORT say
    #[arg(long, env = "WEIR_DNS", value_name = "ADDR")]
    dns: Option<SocketAddr>,
    /// What those names are answered with. Default: the address of this host towards who asks
    #[arg(long, env = "WEIR_DNS_ADDRESS", value_name = "IP,..", value_delimiter = ',')]
    dns_address: Vec<IpAddr>,
}

impl NamesFlags {
    /// `None`: names are not answered.
    pub(super) fn settings(self, vamp: &FromVamp) -> Option<Dns> {
        let of_vamp = vamp
            .dns_port
            .map(|port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
        self.dns.or(of_vamp).map(|listen| Dns {
            listen,
            addresses: self.dns_address,
        })
    }
}

#[cfg(test)]
mod tests {
    use weir_agent::environment::FromVamp;

    use super::{super::tests::parsed, NamesFlags};

    #[test]
    fn vamps_variables_turn_it_on_and_a_flag_says_where() {
        let vamp = FromVamp {
            dns_port: Some(5353),
            ..FromVamp::default()
        };
        let settings = |arguments: &[&str], vamp: &FromVamp| {
            let flags: NamesFlags = parsed(arguments).unwrap();
            flags.settings(vamp)
        };
        assert_eq!(settings(&[], &FromVamp::default()), None);
        let all = settings(&[], &vamp).unwrap();
        assert_eq!(all.listen.to_string(), "0.0.0.0:5353");
        let arguments = ["--dns", "127.0.0.1:53", "--dns-address", "10.0.0.1,fd00::1"];
        let dns = settings(&arguments, &vamp).unwrap();
        assert_eq!((dns.listen.port(), dns.addresses.len()), (53, 2));
        assert!(parsed::<NamesFlags>(&["--dns", "here"]).is_err());
        assert!(parsed::<NamesFlags>(&["--dns-address", "here"]).is_err());
    }
}
