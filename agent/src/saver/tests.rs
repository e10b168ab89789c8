//! What is on disk, and how often it is written.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use weir_model::{AgentId, Generation, Snapshot};

use super::{FLUSH_MAX, PAUSE, Saver};
use crate::{
    last_good::{LastGood, Served},
    status::Status,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn served(generation: u64) -> Served {
    let snapshot = Snapshot::new("test", Generation(generation), Vec::new()).unwrap();
    Served {
        digest: snapshot.digest(),
        snapshot,
        complete: true,
    }
}

fn saver(folder: &Path) -> (Saver, Arc<Status>) {
    let status = Arc::new(Status::new(
        AgentId::new("edge").unwrap(),
        String::new(),
        "memory",
        String::new(),
    ));
    (
        Saver::start(LastGood::in_folder(folder), Arc::clone(&status)),
        status,
    )
}

fn on_disk(folder: &Path) -> Option<u64> {
    let served = LastGood::in_folder(folder).load().unwrap()?;
    Some(served.snapshot.generation().0)
}

async fn is_on_disk(folder: &Path, generation: u64) {
    let waiting = async {
        while on_disk(folder) != Some(generation) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("it is saved");
}

#[tokio::test]
async fn a_storm_is_few_saves_and_the_newest_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let (saver, _) = saver(folder.path());
    let mut tried = saver.tried.clone();
    let counting = tokio::spawn(async move {
        let mut saves = 0_u32;
        while tried.changed().await.is_ok() {
            saves += 1;
        }
        saves
    });
    let began = Instant::now();
    saver.save(served(1));
    is_on_disk(folder.path(), 1).await;
    for generation in 2..=200 {
        saver.save(served(generation));
        sleep(Duration::from_millis(5)).await;
    }
    let stormed = began.elapsed();
    // Without a hurry.
    is_on_disk(folder.path(), 200).await;
    drop(saver);
    let saves = timeout(PATIENCE, counting).await.expect("it ends").unwrap();
    let most = 2 + stormed.as_millis() / PAUSE.as_millis();
    assert!(u128::from(saves) <= most, "{saves} saves in {stormed:?}");
}

#[tokio::test]
async fn who_flushes_finds_the_newest_on_disk_without_a_pause() {
    let folder = tempfile::tempdir().unwrap();
    let (saver, _) = saver(folder.path());
    saver.flush().await;
    assert_eq!(on_disk(folder.path()), None);
    for generation in 1..=5 {
        saver.save(served(generation));
        saver.flush().await;
        assert_eq!(on_disk(folder.path()), Some(generation));
    }
}

#[tokio::test]
async fn what_is_left_is_saved_when_nobody_is_there_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let (saver, _) = saver(folder.path());
    saver.save(served(1));
    is_on_disk(folder.path(), 1).await;
    saver.save(served(2));
    drop(saver);
    is_on_disk(folder.path(), 2).await;
}

#[tokio::test]
async fn nothing_is_saved_while_another_process_takes_over() {
    let folder = tempfile::tempdir().unwrap();
    let (saver, _) = saver(folder.path());
    saver.save(served(1));
    saver.hold().await.unwrap();
    assert_eq!(on_disk(folder.path()), Some(1), "what was served before is");
    // The other process.
    LastGood::in_folder(folder.path()).save(&served(9)).unwrap();
    saver.save(served(2));
    saver.flush().await;
    assert_eq!(on_disk(folder.path()), Some(9));
    saver.release();
    is_on_disk(folder.path(), 2).await;
}

#[tokio::test]
async fn a_save_that_was_held_off_at_the_last_moment_does_not_happen() {
    let folder = tempfile::tempdir().unwrap();
    let (saver, _) = saver(folder.path());
    let disk = Arc::clone(&saver.disk).lock_owned().await;
    saver.save(served(1));
    // It waits for the disk.
    sleep(Duration::from_millis(50)).await;
    saver.wanted.send_modify(|wanted| wanted.held = true);
    drop(disk);
    sleep(Duration::from_millis(200)).await;
    assert_eq!(on_disk(folder.path()), None);
    saver.release();
    is_on_disk(folder.path(), 1).await;
}

#[tokio::test]
async fn a_disk_that_hangs_is_waited_for_within_a_bound() {
    let folder = tempfile::tempdir().unwrap();
    let (saver, _) = saver(folder.path());
    // As if a save hung.
    let disk = Arc::clone(&saver.disk).lock_owned().await;
    saver.save(served(1));
    let waiting = async { tokio::join!(saver.flush(), saver.hold()) };
    let ((), held) = timeout(FLUSH_MAX * 2, waiting).await.expect("it is bounded");
    assert_eq!(held.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    // It is not held then.
    drop(disk);
    is_on_disk(folder.path(), 1).await;
}

#[tokio::test]
async fn what_could_not_be_saved_is_said_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let (saver, status) = saver(folder.path());
    let fresh = folder.path().join("last-good.json.new");
    std::fs::create_dir(&fresh).unwrap();
    saver.save(served(1));
    saver.flush().await;
    assert!(status.is_unsaved());
    std::fs::remove_dir(&fresh).unwrap();
    is_on_disk(folder.path(), 1).await;
    let told = async {
        while status.is_unsaved() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, told).await.expect("it is told");
}
