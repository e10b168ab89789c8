use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;

use super::{HISTORY_CHANGES_MAX, Index, Journal, Record};
use crate::{Expect, Revision, StoreError};

/// Fails as soon as it is told to.
#[derive(Debug, Default)]
struct Failing {
    commits_left: usize,
}

impl Journal for Failing {
    const KIND: &'static str = "failing";
    const BLOCKING: bool = false;

    fn commit(&mut self, _: Revision, _: Option<Record<'_>>) -> Result<(), StoreError> {
        match self.commits_left.checked_sub(1) {
            Some(left) => self.commits_left = left,
            None => return Err(StoreError::Unavailable("the disk is full".into())),
        }
        Ok(())
    }
}

fn index(commits: usize) -> Index<Failing> {
    let commits_left = commits;
    Index::new(Failing { commits_left }, Vec::new(), Revision(0))
}

#[tokio::test]
async fn what_is_not_durable_is_not_seen() {
    let index = index(1);
    let mut watch = index.watch("", Revision(0)).unwrap();
    index
        .put("a", Bytes::from_static(b"1"), Expect::Any, None)
        .unwrap();
    assert!(
        index
            .put("a", Bytes::from_static(b"2"), Expect::Any, None)
            .is_err()
    );
    assert!(index.delete("a", Expect::Any).is_err());
    let entry = index.get("a").unwrap().unwrap();
    assert_eq!((&entry.value[..], entry.revision), (&b"1"[..], Revision(1)));
    assert_eq!(watch.next().await.unwrap().unwrap().revision(), Revision(1));
    drop(index);
    assert!(
        watch.next().await.is_none(),
        "the store is gone and nothing else was told"
    );
}

#[tokio::test]
async fn a_watch_that_is_too_far_behind_must_read_anew() {
    let index = index(usize::MAX);
    let mut slow = index.watch("k", Revision(0)).unwrap();
    for _ in 0..=HISTORY_CHANGES_MAX {
        index.put("k", Bytes::new(), Expect::Any, None).unwrap();
    }
    assert!(matches!(slow.next().await, Some(Err(StoreError::Compacted))));
    assert!(slow.next().await.is_none());
    assert!(matches!(
        index.watch("k", Revision(0)).err(),
        Some(StoreError::Compacted)
    ));
    assert!(
        index.watch("k", Revision(1)).is_ok(),
        "everything after it is still there"
    );
}

#[tokio::test]
async fn a_lease_that_is_over_hides_its_keys_before_anybody_removes_them() {
    let index = index(usize::MAX);
    let lease = index.grant(Duration::from_millis(1)).unwrap();
    index.put("a", Bytes::new(), Expect::Any, Some(&lease)).unwrap();
    while index.get("a").unwrap().is_some() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(index.list("").0.is_empty());
    assert!(matches!(index.renew(&lease), Err(StoreError::LeaseLost)));
    index.put("a", Bytes::new(), Expect::Absent, None).unwrap();
}
