//! Who this agent is: an id on its disk, so that a restart is the same agent.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::Path,
};

use anyhow::{Context as _, bail};
use weir_model::AgentId;

/// Keeps another agent out of the data folder while it lives.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _file: File,
}

/// Makes the folder if need be and takes it.
pub(crate) fn lock(data_dir: &Path) -> anyhow::Result<FolderLock> {
    fs::create_dir_all(data_dir)
        .with_context(|| format!("cannot make the data folder {}", data_dir.display()))?;
    let path = data_dir.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(FolderLock { _file: file }),
        Err(TryLockError::WouldBlock) => {
            bail!(
                "the data folder {} is in use by another agent",
                data_dir.display()
            )
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// The id in the folder, made if there is none.
pub(crate) fn load_or_create(data_dir: &Path) -> anyhow::Result<AgentId> {
    let path = data_dir.join("agent-id");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = uuid::Uuid::new_v4().to_string();
            write(&path, &id).with_context(|| format!("cannot write {}", path.display()))?;
            id
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let id = AgentId::new(text.trim()).with_context(|| format!("{} has no id", path.display()))?;
    check(&id).with_context(|| format!("in {}", path.display()))?;
    Ok(id)
}

/// Whether the id can be part of a store's key.
pub(crate) fn check(id: &AgentId) -> anyhow::Result<()> {
    weir_store::protocol::acknowledgement_key("", id)?;
    Ok(())
}

fn write(path: &Path, id: &str) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(id.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::{load_or_create, lock};

    #[test]
    fn a_restart_is_the_same_agent() {
        let folder = tempfile::tempdir().unwrap();
        let id = load_or_create(folder.path()).unwrap();
        assert_eq!(load_or_create(folder.path()).unwrap(), id);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(load_or_create(other.path()).unwrap(), id);
        std::fs::write(other.path().join("agent-id"), "a/b\n").unwrap();
        let error = load_or_create(other.path()).unwrap_err();
        assert!(format!("{error:#}").contains("agent-id"), "{error:#}");
    }

    #[test]
    fn a_folder_has_one_agent() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path()).unwrap();
        assert!(
            lock(folder.path())
                .unwrap_err()
                .to_string()
                .contains("another agent")
        );
        drop(held);
        lock(folder.path()).unwrap();
    }
}
