//! Three nodes of etcd, of which one is cut off from the others while the agent asks that one first.

use std::time::{Duration, Instant};

use tokio::{task::block_in_place, time::sleep};
use weir_tests::{
    network::{self, Network},
    stores::Cluster,
};

use super::{
    report::{Row, finish},
    world::World,
};

pub async fn partitioned() {
    let Some(mut network) = Network::new() else {
        let reason = network::why_not().unwrap_or_default();
        eprintln!("skipped: partitions of a cluster of etcd: {reason}");
        return;
    };
    let hosts = [(); 3].map(|()| Some(network.host(1)));
    let Some(cluster) = block_in_place(|| Cluster::start_on(hosts)) else {
        eprintln!("skipped: etcd is not installed");
        return;
    };
    let leader = leader(&cluster).await;
    // The agent begins with the one that leads, control with another.
    let ways = [leader, leader + 1].map(|node| cluster.url_from(node));
    let mut world = World::new("etcd, three nodes".to_owned(), ways).await;
    let mut rows = Vec::new();
    rows.push(
        world
            .row(
                "1 node of 3 cut off: the one that leads, and that the agent asks",
                async |world, row| {
                    apart(world, &cluster, leader, row).await;
                },
            )
            .await,
    );
    // It asks the next one by now, and so does control.
    let next = (leader + 1) % 3;
    rows.push(
        world
            .row(
                "1 node of 3 cut off: the one that the agent and control ask",
                async |world, row| {
                    apart(world, &cluster, next, row).await;
                },
            )
            .await,
    );
    world.end_traffic().await;
    finish(&world.name, &rows);
}

/// While a node is cut off changes arrive through the others; when it is back it does no harm.
async fn apart(world: &mut World, cluster: &Cluster, node: usize, row: &mut Row) {
    cluster.partition(node, true);
    let began = Instant::now();
    world.news().await;
    row.converged = Some(world.converged(began).await);
    world.news().await;
    world.converged(Instant::now()).await;
    cluster.partition(node, false);
    let healed = Instant::now();
    world.news().await;
    let took = world.converged(healed).await;
    row.converged = row.converged.max(Some(took));
}

/// The node that leads, as soon as one does.
async fn leader(cluster: &Cluster) -> usize {
    let began = Instant::now();
    loop {
        if let Some(leader) = block_in_place(|| cluster.leader()) {
            return leader;
        }
        assert!(began.elapsed() < Cluster::ELECTION_MAX * 3, "nobody leads");
        sleep(Duration::from_millis(100)).await;
    }
}
