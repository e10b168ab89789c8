//! Names of virtual hosts, asked for over UDP.

use weir_agent::{Agent, Dns};
use weir_model::Generation;

use super::{DRAIN, common::*, config, memory};

#[tokio::test]
async fn names_of_virtual_hosts_are_answered() {
    use simple_dns::{CLASS, Name, Packet, QCLASS, QTYPE, Question, RCODE, TYPE};
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let mut config = config(&store, folder.path());
    config.dns = Some(Dns {
        listen: "127.0.0.1:0".parse().unwrap(),
        addresses: Vec::new(),
    });
    let agent = Agent::start(config).await.unwrap();
    let mut shop = gateway("shop", free_port(), origin("blue").await);
    shop.virtual_hosts = vec!["shop.vamp".to_owned()];
    publish(&*store, &snapshot(1, vec![shop])).await;
    acknowledged(&store, "generation 1", |told| told.generation == Generation(1)).await;
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(agent.dns_address().unwrap()).await.unwrap();
    let asking = async |name: &str| {
        let mut query = Packet::new_query(1);
        let name = Name::new(name).unwrap().into_owned();
        query.questions.push(Question::new(
            name,
            QTYPE::TYPE(TYPE::A),
            QCLASS::CLASS(CLASS::IN),
            false,
        ));
        socket.send(&query.build_bytes_vec().unwrap()).await.unwrap();
        let mut answer = [0; 512];
        let length = tokio::time::timeout(DRAIN, socket.recv(&mut answer))
            .await
            .unwrap()
            .unwrap();
        let reply = Packet::parse(&answer[..length]).unwrap();
        (reply.rcode(), format!("{:?}", reply.answers))
    };
    let (code, answers) = asking("shop.vamp").await;
    assert_eq!(code, RCODE::NoError);
    let loopback = u32::from(std::net::Ipv4Addr::LOCALHOST);
    assert!(answers.contains(&format!("address: {loopback}")), "{answers}");
    assert_eq!(asking("other.vamp").await.0, RCODE::NameError);
    assert_eq!(asking("example.org").await.0, RCODE::Refused);
    agent.shutdown(DRAIN).await;
}

/// A page as it is asked for in DNS: header, question, and the OPT record that resolvers of today send.
fn question(name: &str, kind: u16) -> Vec<u8> {
    let mut packet = vec![0xab, 0xcd, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in name.split('.') {
        packet.push(u8::try_from(label.len()).unwrap());
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
    packet.extend_from_slice(&kind.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    packet.extend_from_slice(&[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
    packet
}

/// Bytes as RFC 1035 has them, written and read here: a fault of the library that answers would be seen.
#[tokio::test]
async fn names_are_answered_as_the_standard_has_it() {
    let (store, folder) = (memory(), tempfile::tempdir().unwrap());
    let mut config = config(&store, folder.path());
    config.dns = Some(Dns {
        listen: "127.0.0.1:0".parse().unwrap(),
        addresses: vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
    });
    let agent = Agent::start(config).await.unwrap();
    let mut shop = gateway("shop", free_port(), origin("blue").await);
    shop.virtual_hosts = vec!["9050.shop.vamp".to_owned(), "Shop.Example".to_owned()];
    publish(&*store, &snapshot(1, vec![shop])).await;
    acknowledged(&store, "generation 1", |told| told.generation == Generation(1)).await;
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(agent.dns_address().unwrap()).await.unwrap();
    let ask = async |packet: &[u8]| {
        socket.send(packet).await.unwrap();
        let mut answer = vec![0; 2_000];
        let length = tokio::time::timeout(DRAIN, socket.recv(&mut answer))
            .await
            .unwrap()
            .unwrap();
        answer.truncate(length);
        answer
    };
    // (name, type) -> (code of the answer, authoritative, data of the one record)
    const A: u16 = 1;
    const AAAA: u16 = 28;
    const MX: u16 = 15;
    let v6 = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    for (name, kind, code, authoritative, data) in [
        ("9050.shop.vamp", A, 0, true, &[192, 0, 2, 7][..]),
        ("9050.shop.vamp", AAAA, 0, true, &v6),
        // As resolvers write it that guard against forgery by mixed case.
        ("sHOP.eXaMpLe", A, 0, true, &[192, 0, 2, 7]),
        ("shop.example", MX, 0, true, &[]),
        ("no.such.vamp", A, 3, true, &[]),
        ("example.org", A, 5, false, &[]),
        ("vamp.example.org", A, 5, false, &[]),
    ] {
        let packet = question(name, kind);
        let answer = ask(&packet).await;
        assert_eq!(answer[..2], packet[..2], "the id of {name}");
        let flags = u16::from_be_bytes([answer[2], answer[3]]);
        assert_eq!(flags & 0x8000, 0x8000, "it is an answer");
        assert_eq!(flags & 0x0080, 0, "it does not recurse");
        assert_eq!(
            (flags & 0xf, flags & 0x0400 != 0),
            (code, authoritative),
            "{name}"
        );
        let records = u16::from_be_bytes([answer[6], answer[7]]);
        assert_eq!(usize::from(records), usize::from(!data.is_empty()), "{name}");
        // The question comes back as it was written.
        let end = packet.len() - 11;
        assert_eq!(answer[12..end], packet[12..end], "{name}");
        if data.is_empty() {
            continue;
        }
        assert!(answer.ends_with(data), "{name}: {answer:?}");
        let at = answer.len() - data.len() - 10;
        let fixed = &answer[at..at + 10];
        assert_eq!(fixed[..4], [kind.to_be_bytes(), [0, 1]].concat(), "{name}");
        let ttl = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
        assert!((1..=60).contains(&ttl), "{name}: {ttl} s");
    }
    // What is no question gets no answer, and the next one does.
    for nonsense in [&b"x"[..], &[0xff; 512], &question("a.vamp", A)[..9]] {
        socket.send(nonsense).await.unwrap();
    }
    assert_eq!(ask(&question("9050.shop.vamp", A)).await[..2], [0xab, 0xcd]);
    agent.shutdown(DRAIN).await;
}
