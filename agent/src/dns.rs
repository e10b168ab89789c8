//! Names of virtual hosts, answered with an address of this host (spec of the gateway agent, §1.3).
//!
//! **Invariants.** Authoritative for the virtual hosts that are served and for everything below `vamp.`, and for nothing
//! else: other questions are refused, so that a resolver asks elsewhere. One answer per packet, never larger than a few
//! hundred bytes, so that neither TCP nor truncation is needed.
//!
//! **Absent.** Recursion, zones, transfers. A virtual host that was written with a port has no name of its own.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
};

use anyhow::Context as _;
use simple_dns::{
    CLASS, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, RCODE, ResourceRecord, TYPE, rdata::RData,
};
use tokio::{net::UdpSocket, task::JoinHandle};
use weir_proxy::Proxy;

/// Largest question that is looked at, in bytes.
const QUESTION_BYTES_MAX: usize = 1_232;
/// How long an answer may be kept, in seconds: gateways come and go.
const TTL_S: u32 = 10;
/// Vamp's names end so.
const ZONE: &str = "vamp";

/// How names are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Where questions are taken (UDP); port 0: any free one.
    pub listen: SocketAddr,
    /// What is answered; empty: the address of this host at which the question arrived.
    pub addresses: Vec<IpAddr>,
}

impl Dns {
    /// Port of Vamp's gateway agent.
    pub const PORT_DEFAULT: u16 = 5353;
}

/// The running answerer; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Answerer {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
    handle: OwnedFd,
}

impl Answerer {
    /// `taken`: the socket of the process before this one.
    pub(crate) async fn start(
        dns: Dns,
        proxy: Proxy,
        taken: Option<std::net::UdpSocket>,
    ) -> anyhow::Result<Self> {
        let socket = match taken {
            Some(socket) => {
                socket.set_nonblocking(true)?;
                UdpSocket::from_std(socket)?
            }
            None => UdpSocket::bind(dns.listen)
                .await
                .with_context(|| format!("names cannot be answered at {}", dns.listen))?,
        };
        let handle = socket.as_fd().try_clone_to_owned()?;
        let address = socket.local_addr()?;
        tracing::info!(%address, "names of virtual hosts are answered");
        let task = tokio::spawn(answer_all(socket, dns.addresses, proxy));
        Ok(Self {
            address,
            task,
            handle,
        })
    }

    /// Another handle of its socket, for the process that takes over.
    pub(crate) fn share(&self) -> std::io::Result<OwnedFd> {
        self.handle.try_clone()
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer_all(socket: UdpSocket, addresses: Vec<IpAddr>, proxy: Proxy) {
    let addresses: Arc<[IpAddr]> = addresses.into();
    let mut question = vec![0; QUESTION_BYTES_MAX];
    loop {
        let (length, peer) = match socket.recv_from(&mut question).await {
            Ok(received) => received,
            // An earlier answer could not be delivered (ICMP).
            Err(error) => {
                tracing::debug!(%error, "a question could not be received");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let Some(bytes) = question.get(..length) else {
            continue;
        };
        let known = |name: &str| proxy.has_host(name.as_bytes());
        let answer = if addresses.is_empty() {
            let towards: Vec<IpAddr> = towards(&socket, peer).await.into_iter().collect();
            answer(bytes, known, &towards)
        } else {
            answer(bytes, known, &addresses)
        };
        if let Some(answer) = answer {
            // A client that is gone needs none.
            let _ = socket.send_to(&answer, peer).await;
        }
    }
}

/// The address of this host that a client can reach: the one that packets to it leave from.
async fn towards(socket: &UdpSocket, peer: SocketAddr) -> Option<IpAddr> {
    if let Ok(own) = socket.local_addr()
        && !own.ip().is_unspecified()
    {
        return Some(own.ip());
    }
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let probe = UdpSocket::bind((any, 0)).await.ok()?;
    probe.connect(peer).await.ok()?;
    Some(probe.local_addr().ok()?.ip().to_canonical())
}

/// The answer to a packet; `None`: it is not a question.
fn answer(question: &[u8], known: impl Fn(&str) -> bool, addresses: &[IpAddr]) -> Option<Vec<u8>> {
    let packet = Packet::parse(question).ok()?;
    if packet.has_flags(PacketFlag::RESPONSE) {
        return None;
    }
    let mut reply = Packet::new_reply(packet.id());
    if packet.has_flags(PacketFlag::RECURSION_DESIRED) {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    let [question] = packet.questions.as_slice() else {
        *reply.rcode_mut() = RCODE::FormatError;
        return reply.build_bytes_vec().ok();
    };
    reply.questions.push(question.clone());
    if packet.opcode() != OPCODE::StandardQuery {
        *reply.rcode_mut() = RCODE::NotImplemented;
        return reply.build_bytes_vec().ok();
    }
    let name = question.qname.to_string().to_ascii_lowercase();
    let name = name.trim_end_matches('.');
    let is_known = known(name);
    let is_of_zone = name.rsplit('.').next() == Some(ZONE);
    let is_internet = matches!(question.qclass, QCLASS::ANY | QCLASS::CLASS(CLASS::IN));
    if !is_internet || !(is_known || is_of_zone) {
        *reply.rcode_mut() = RCODE::Refused;
        return reply.build_bytes_vec().ok();
    }
    reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    if !is_known {
        *reply.rcode_mut() = RCODE::NameError;
        return reply.build_bytes_vec().ok();
    }
    for address in addresses {
        let (kind, data) = match *address {
            IpAddr::V4(address) => (TYPE::A, RData::A(address.into())),
            IpAddr::V6(address) => (TYPE::AAAA, RData::AAAA(address.into())),
        };
        if question.qtype == QTYPE::ANY || question.qtype == QTYPE::TYPE(kind) {
            let record = ResourceRecord::new(question.qname.clone(), CLASS::IN, TTL_S, data);
            reply.answers.push(record);
        }
    }
    reply.build_bytes_vec().ok()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE, rdata::RData};

    use super::answer;

    fn ask(name: &str, kind: TYPE) -> Option<(RCODE, Vec<IpAddr>, bool)> {
        let mut query = Packet::new_query(77);
        let name = Name::new(name).unwrap();
        query.questions.push(Question::new(
            name,
            QTYPE::TYPE(kind),
            QCLASS::CLASS(CLASS::IN),
            false,
        ));
        let addresses = ["10.1.2.3".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let bytes = answer(
            &query.build_bytes_vec().unwrap(),
            |name| name == "9050.shop.vamp" || name == "shop.example",
            &addresses,
        )?;
        let reply = Packet::parse(&bytes).unwrap();
        assert_eq!(reply.id(), 77);
        assert!(reply.has_flags(PacketFlag::RESPONSE));
        let addresses = reply.answers.iter().map(|record| match &record.rdata {
            RData::A(a) => IpAddr::V4(a.clone().into()),
            RData::AAAA(a) => IpAddr::V6(a.clone().into()),
            other => panic!("{other:?}"),
        });
        let is_authoritative = reply.has_flags(PacketFlag::AUTHORITATIVE_ANSWER);
        Some((reply.rcode(), addresses.collect(), is_authoritative))
    }

    #[test]
    fn virtual_hosts_have_the_address_and_others_are_not_ours() {
        let v4: Vec<IpAddr> = vec!["10.1.2.3".parse().unwrap()];
        let v6: Vec<IpAddr> = vec!["2001:db8::1".parse().unwrap()];
        assert_eq!(
            ask("9050.shop.vamp", TYPE::A),
            Some((RCODE::NoError, v4.clone(), true))
        );
        assert_eq!(ask("SHOP.example", TYPE::A), Some((RCODE::NoError, v4, true)));
        assert_eq!(ask("shop.example", TYPE::AAAA), Some((RCODE::NoError, v6, true)));
        // The name is there and has no such record.
        assert_eq!(
            ask("shop.example", TYPE::MX),
            Some((RCODE::NoError, vec![], true))
        );
        assert_eq!(ask("other.vamp", TYPE::A), Some((RCODE::NameError, vec![], true)));
        assert_eq!(ask("example.org", TYPE::A), Some((RCODE::Refused, vec![], false)));
    }

    #[test]
    fn nonsense_gets_no_answer_or_an_error() {
        assert_eq!(answer(b"", |_| true, &[]), None);
        assert_eq!(answer(&[0xff; 40], |_| true, &[]), None);
        let reply = Packet::new_reply(1).build_bytes_vec().unwrap();
        assert_eq!(
            answer(&reply, |_| true, &[]),
            None,
            "answers to answers make storms"
        );
        let empty = Packet::new_query(1).build_bytes_vec().unwrap();
        let bytes = answer(&empty, |_| true, &[]).unwrap();
        assert_eq!(Packet::parse(&bytes).unwrap().rcode(), RCODE::FormatError);
    }
}
