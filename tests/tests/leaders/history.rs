//! What was written, by whom: the manifest as a reader sees it, and what the controls say that they wrote.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use weir_store::{
    Store,
    protocol::{self, ProtocolError},
};

use super::control::{PATIENCE, Process};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Looks at the manifest all the time.
pub struct Recorder {
    seen: JoinHandle<()>,
    seen_by: Arc<std::sync::Mutex<Vec<(u64, String)>>>,
}

impl Recorder {
    pub fn start(store: Arc<dyn Store>, prefix: String) -> Self {
        let seen_by = Arc::new(std::sync::Mutex::new(Vec::<(u64, String)>::new()));
        let seen = Arc::clone(&seen_by);
        let looking = tokio::spawn(async move {
            loop {
                if let Ok(Some((manifest, _))) = protocol::manifest(&*store, &prefix).await {
                    let now = (manifest.generation.0, manifest.digest.to_string());
                    let mut seen = seen.lock().unwrap();
                    if seen.last() != Some(&now) {
                        seen.push(now);
                    }
                }
                sleep(LOOK).await;
            }
        });
        Self {
            seen: looking,
            seen_by,
        }
    }

    /// Checks what was seen, with the logs of the controls: each generation was written once, and none by a control
    /// after another one had taken over. How many there were.
    pub fn finish(self, controls: &[&Process]) -> usize {
        self.seen.abort();
        let seen = self.seen_by.lock().unwrap();
        assert!(
            seen.is_sorted_by(|a, b| a.0 < b.0),
            "a generation had two contents, or went back: {seen:?}"
        );
        // Who wrote which generation, and under which leadership.
        let mut writers: BTreeMap<u64, (u64, &str)> = BTreeMap::new();
        let mut leaders: BTreeMap<u64, &str> = BTreeMap::new();
        for control in controls {
            let mut epoch = None;
            for line in control.log() {
                let fields = &line["fields"];
                match fields["message"].as_str() {
                    Some("this control leads") => {
                        epoch = fields["epoch"].as_u64();
                        let other = leaders.insert(epoch.unwrap(), control.name);
                        assert_eq!(other, None, "a number of a leadership was drawn twice");
                    }
                    Some("published the gateways' snapshot") => {
                        let generation = number(&fields["generation"]);
                        let other = writers.insert(generation, (epoch.unwrap(), control.name));
                        assert_eq!(other, None, "generation {generation} was written twice");
                    }
                    _ => {}
                }
            }
        }
        assert!(
            writers.values().is_sorted_by_key(|(epoch, _)| *epoch),
            "a control wrote after another had taken over: {writers:?}"
        );
        for (generation, _) in seen.iter() {
            assert!(
                writers.contains_key(generation),
                "nobody wrote {generation}: {writers:?}"
            );
        }
        writers.len()
    }
}

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .or_else(|| value.as_str()?.parse().ok())
        .unwrap_or_else(|| panic!("{value} is no number"))
}

/// Whether the published gateways lead to a port; `None` if the store does not say.
pub async fn leads_to(store: &dyn Store, prefix: &str, target: u16) -> Option<bool> {
    match protocol::read(store, prefix).await {
        Ok(published) => Some(published.is_some_and(|published| {
            String::from_utf8_lossy(&published.bytes).contains(&format!("127.0.0.1:{target}"))
        })),
        Err(ProtocolError::Store(_) | ProtocolError::Chunk { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Waits until that is published; how long since `from`.
pub async fn until_it_is_published(store: &dyn Store, prefix: &str, target: u16, from: Instant) -> Duration {
    while leads_to(store, prefix, target).await != Some(true) {
        assert!(from.elapsed() < PATIENCE, "{target} is not published");
        sleep(LOOK).await;
    }
    from.elapsed()
}
