//! Leases: sessions of their own, each on its own connection, that live only by being renewed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::BytesMut;
use tokio::time::Instant;

use super::{
    ZooKeeper, fresh,
    jute::{Op, code},
    session::{Failure, Session, Ticket},
};
use crate::{LeaseId, StoreError};

/// Most leases of one store at once.
const LEASES_MAX: usize = 1000;

#[derive(Debug)]
pub(super) struct Lease {
    ticket: Ticket,
    session: tokio::sync::Mutex<Option<Arc<Session>>>,
    used: Mutex<Instant>,
}

impl ZooKeeper {
    fn lease(&self, id: &LeaseId) -> Result<Arc<Lease>, StoreError> {
        let lease = self.leases().get(id).cloned().ok_or(StoreError::LeaseLost)?;
        *lease.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Ok(lease)
    }

    fn leases(&self) -> MutexGuard<'_, HashMap<LeaseId, Arc<Lease>>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection of a lease, made anew if it was lost.
    pub(super) async fn lease_session(&self, id: &LeaseId) -> Result<Arc<Session>, StoreError> {
        let lease = self.lease(id)?;
        let mut held = lease.session.lock().await;
        if let Some(session) = held.as_ref().filter(|session| !session.is_closed()) {
            return Ok(Arc::clone(session));
        }
        match Session::open(&self.way, self.next_host(), &lease.ticket, false).await {
            Ok(session) => {
                let session = Arc::new(session);
                *held = Some(Arc::clone(&session));
                Ok(session)
            }
            Err(StoreError::LeaseLost) => {
                self.leases().remove(id);
                Err(StoreError::LeaseLost)
            }
            Err(error) => Err(error),
        }
    }

    /// If a lease's connection was lost while it was used: was it because the lease is over?
    pub(super) async fn lost_or(&self, id: &LeaseId, error: StoreError) -> StoreError {
        match self.lease_session(id).await {
            Err(StoreError::LeaseLost) => StoreError::LeaseLost,
            _ => error,
        }
    }

    pub(super) async fn open_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let session = Session::open(&self.way, self.next_host(), &fresh(ttl), false).await?;
        let id = LeaseId(format!("{:x}", session.ticket.session));
        let lease = Lease {
            ticket: session.ticket.clone(),
            session: tokio::sync::Mutex::new(Some(Arc::new(session))),
            used: Mutex::new(Instant::now()),
        };
        let mut leases = self.leases();
        // Those that nobody can have renewed in time.
        leases.retain(|_, lease| {
            let used = *lease.used.lock().unwrap_or_else(PoisonError::into_inner);
            used.elapsed() < lease.ticket.timeout * 4
        });
        if leases.len() >= LEASES_MAX {
            return Err(StoreError::Unsupported("hold more than 1000 leases".into()));
        }
        leases.insert(id.clone(), Arc::new(lease));
        Ok(id)
    }

    pub(super) async fn renew_lease(&self, lease: &LeaseId) -> Result<(), StoreError> {
        let session = self.lease_session(lease).await?;
        match session.ask(Op::Ping, BytesMut::new()).await {
            Ok(_) => Ok(()),
            Err(Failure::Code(code::SESSION_EXPIRED)) => Err(StoreError::LeaseLost),
            Err(_) => {
                // Its connection was lost: the lease may go on over another one.
                let session = self.lease_session(lease).await?;
                match session.ask(Op::Ping, BytesMut::new()).await {
                    Ok(_) => Ok(()),
                    Err(failure) => Err(failure.into()),
                }
            }
        }
    }

    pub(super) async fn close_lease(&self, lease: &LeaseId) -> Result<(), StoreError> {
        let session = self.lease_session(lease).await?;
        session.close().await?;
        self.leases().remove(lease);
        Ok(())
    }
}
