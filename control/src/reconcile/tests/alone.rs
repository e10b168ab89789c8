//! Operations of the API, each a transaction of its own.

use weir_artifact::{Deployment, Gateway, OrReference, Scale, read::DeployRequest};

use crate::{
    error::OperationError,
    reconcile::operations,
    state::{State, Transaction},
};

pub(crate) async fn merge(
    state: &State,
    name: Option<&str>,
    request: DeployRequest,
    validate_only: bool,
) -> Result<Deployment, OperationError> {
    let mut tx = Transaction::begin(state, "test").await;
    let deployment = operations::merge(&mut tx, name, request).await?;
    end(tx, validate_only).await?;
    Ok(deployment)
}

pub(crate) async fn slice(
    state: &State,
    name: &str,
    request: Option<DeployRequest>,
    validate_only: bool,
) -> Result<Deployment, OperationError> {
    let mut tx = Transaction::begin(state, "test").await;
    let deployment = operations::slice(&mut tx, name, request).await?;
    end(tx, validate_only).await?;
    Ok(deployment)
}

pub(crate) async fn set_scale(
    state: &State,
    deployment: &str,
    cluster: &str,
    service: &str,
    scale: OrReference<Scale>,
) -> Result<Scale, OperationError> {
    let mut tx = Transaction::begin(state, "test").await;
    let scale = operations::set_scale(&mut tx, deployment, cluster, service, scale).await?;
    end(tx, false).await?;
    Ok(scale)
}

pub(crate) async fn put_gateway(
    state: &State,
    gateway: Gateway,
    create: bool,
    validate_only: bool,
) -> Result<Gateway, OperationError> {
    let mut tx = Transaction::begin(state, "test").await;
    let gateway = operations::put_gateway(&mut tx, gateway, create).await?;
    end(tx, validate_only).await?;
    Ok(gateway)
}

pub(crate) async fn delete_gateway(
    state: &State,
    name: &str,
    validate_only: bool,
) -> Result<(), OperationError> {
    let mut tx = Transaction::begin(state, "test").await;
    operations::delete_gateway(&mut tx, name).await?;
    end(tx, validate_only).await
}

async fn end(tx: Transaction<'_>, validate_only: bool) -> Result<(), OperationError> {
    if !validate_only {
        tx.commit().await?;
    }
    Ok(())
}
