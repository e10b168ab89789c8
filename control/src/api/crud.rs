//! `/{kind}` and `/{kind}/{name}` (spec of the API §3, §4, §5, §6).

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
};
use serde_json::Value;
use weir_artifact::{
    Artifact, Breed, Deployable, Kind,
    read::{DeployRequest, Documents},
    write,
};
use weir_persist::Stored;

use super::{
    Api,
    answer::{Answer, ApiError},
    change::{Change, deployed, deployment_tree},
    import, kinds,
    paging::Paging,
    references::References,
    request::{Parameters, Submission},
    revisions,
    tail::Tail,
    version::{Preconditions, tagged},
    workflows,
};
use crate::{
    event::Archive,
    reconcile::operations,
    state::{self, intent},
};

/// Type of a breed that holds a script.
const JAVASCRIPT: &str = "application/javascript";

/// `GET /{kind}`
pub(super) async fn list(
    State(api): State<Api>,
    Path(kind): Path<String>,
    parameters: Parameters,
    paging: Paging,
) -> Result<Answer, ApiError> {
    let references = References::asked(&parameters)?;
    let shelf: &state::Shelf = &api.state;
    let kind = kinds::of(&kind)?;
    let mut shown_as = kind;
    let (trees, total) = match kind {
        Kind::Gateway => {
            let (gateways, total) = paging.of(operations::gateways_view(&api.state).await?);
            let printed = gateways.into_iter().map(Artifact::Gateway);
            (printed.map(|gateway| write::value(&gateway)).collect(), total)
        }
        Kind::Deployment if parameters.flag("as_blueprint")? => {
            shown_as = Kind::Blueprint;
            let (deployments, total) = api.state.persist.list(kind.plural(), paging.part()).await?;
            let mut trees = Vec::with_capacity(deployments.len());
            for stored in deployments {
                let blueprint = operations::deployment_as_blueprint(shelf, &stored.name).await?;
                trees.push(write::value(&Artifact::Blueprint(blueprint)));
            }
            (trees, total)
        }
        kind => {
            let (stored, total) = api.state.persist.list(kind.plural(), paging.part()).await?;
            let mut trees: Vec<Value> = Vec::with_capacity(stored.len());
            for stored in stored {
                trees.push(printed(&api, kind, &stored).await?);
            }
            (trees, total)
        }
    };
    let mut shown = Vec::with_capacity(trees.len());
    for tree in trees {
        shown.push(references.apply(shelf, shown_as, tree).await?);
    }
    Ok(paging.answer(shown, total))
}

/// `GET /{kind}/{name}` and what is below.
pub(super) async fn read(
    State(api): State<Api>,
    Path((kind, rest)): Path<(String, String)>,
    parameters: Parameters,
    paging: Paging,
) -> Result<Answer, ApiError> {
    let references = References::asked(&parameters)?;
    let shelf: &state::Shelf = &api.state;
    let kind = kinds::of(&kind)?;
    let name = match Tail::of(shelf, kind, &rest).await? {
        Tail::Artifact(name) => name,
        Tail::Revisions(name) => return revisions::list(&api, kind, &name, &paging).await,
        Tail::Revision(name, number) => return revisions::read(&api, kind, &name, number).await,
        Tail::Status(name) => return workflows::status(&api, &name).await,
        tail @ Tail::Rollback(..) => return Err(tail.refused()),
    };
    let mut shown_as = kind;
    let tree = match kind {
        Kind::Gateway => {
            let gateway = operations::gateway_view(&api.state, &name).await?;
            gateway.map(|gateway| write::value(&Artifact::Gateway(gateway)))
        }
        Kind::Deployment if parameters.flag("as_blueprint")? => {
            shown_as = Kind::Blueprint;
            let blueprint = operations::blueprint_of(shelf, &name).await?;
            blueprint.map(|blueprint| write::value(&Artifact::Blueprint(blueprint)))
        }
        kind => match shelf.stored(kind.plural(), &name).await? {
            Some(stored) => Some(printed(&api, kind, &stored).await?),
            None => None,
        },
    };
    let tree = tree.ok_or_else(ApiError::not_found)?;
    let tree = references.apply(shelf, shown_as, tree).await?;
    let wanted = intent(shelf, kind, &name).await?;
    Ok(tagged(Answer::ok(tree), wanted.as_ref()))
}

/// A stored artifact as it is shown; inline breeds of blueprints as they are now.
async fn printed(api: &Api, kind: Kind, stored: &Stored) -> Result<Value, ApiError> {
    let mut artifact = state::typed(kind, stored)?;
    if let Artifact::Blueprint(blueprint) = &mut artifact {
        api.state.refresh(blueprint).await?;
    }
    Ok(write::value(&artifact))
}

/// `POST /{kind}`
pub(super) async fn create(
    Path(kind): Path<String>,
    preconditions: Preconditions,
    asked: Submission,
) -> Result<Answer, ApiError> {
    if kind == super::compose::PATH {
        return super::compose::import(&asked).await;
    }
    let kind = kinds::of(&kind)?;
    if asked.parameters.one("name").is_some() {
        // Only the import of another form takes a name (spec of the API §3).
        return Err(ApiError::not_found());
    }
    let write = Writing {
        api: &asked.api,
        kind,
        name: None,
        validate_only: asked.validate_only()?,
        preconditions,
    };
    let mut change = asked.change(Archive::Create).await;
    let documents = import::documents(&change.tx, &asked.text).await?;
    let answer = write.write(&mut change, Body::Documents(documents)).await?;
    write.end(change, answer).await
}

/// `POST /{kind}/{name}`: scripts, and rolling back.
pub(super) async fn create_below(
    Path((kind, rest)): Path<(String, String)>,
    preconditions: Preconditions,
    headers: HeaderMap,
    asked: Submission,
) -> Result<Answer, ApiError> {
    let kind = kinds::of(&kind)?;
    match Tail::of(&asked.api.state, kind, &rest).await? {
        Tail::Rollback(name, number) => {
            let rollback = revisions::Rollback {
                kind,
                name,
                number,
                preconditions,
                validate_only: asked.validate_only()?,
            };
            revisions::roll_back(&asked.api, &asked.principal, rollback).await
        }
        Tail::Artifact(name) if kind == Kind::Breed && is_javascript(&headers) => {
            put(&asked, kind, &name, preconditions, &headers).await
        }
        tail => Err(tail.refused()),
    }
}

/// `PUT /{kind}/{name}`
pub(super) async fn update(
    Path((kind, rest)): Path<(String, String)>,
    preconditions: Preconditions,
    headers: HeaderMap,
    asked: Submission,
) -> Result<Answer, ApiError> {
    let kind = kinds::of(&kind)?;
    let name = match Tail::of(&asked.api.state, kind, &rest).await? {
        Tail::Artifact(name) => name,
        Tail::Status(name) => return workflows::put_status(&asked, &name).await,
        tail => return Err(tail.refused()),
    };
    if kind == Kind::Deployment && asked.parameters.flag("delete")? {
        return undeploy(&asked, &name, &preconditions).await;
    }
    put(&asked, kind, &name, preconditions, &headers).await
}

async fn put(
    asked: &Submission,
    kind: Kind,
    name: &str,
    preconditions: Preconditions,
    headers: &HeaderMap,
) -> Result<Answer, ApiError> {
    let write = Writing {
        api: &asked.api,
        kind,
        name: Some(name),
        validate_only: asked.validate_only()?,
        preconditions,
    };
    let mut change = asked.change(Archive::Update).await;
    let body = if kind == Kind::Breed && is_javascript(headers) {
        Body::Script(Box::new(script(name.to_owned(), asked.text.clone())))
    } else {
        Body::Documents(import::documents(&change.tx, &asked.text).await?)
    };
    let answer = write.write(&mut change, body).await?;
    write.end(change, answer).await
}

/// What is written.
enum Body {
    Documents(Documents),
    Script(Box<Artifact>),
}

/// One artifact that is written.
struct Writing<'a> {
    api: &'a Api,
    kind: Kind,
    /// As the path says.
    name: Option<&'a str>,
    validate_only: bool,
    preconditions: Preconditions,
}

/// What a write answers, and the name of what was written.
struct Written {
    name: String,
    status: StatusCode,
    tree: Value,
}

impl Writing<'_> {
    async fn write(&self, change: &mut Change<'_>, body: Body) -> Result<Written, ApiError> {
        let artifact = match body {
            Body::Documents(documents) if self.kind == Kind::Deployment => {
                return self.deploy(change, documents).await;
            }
            Body::Documents(documents) => change.noted(documents.one(self.kind)?),
            Body::Script(script) => *script,
        };
        let name = artifact.name().to_owned();
        if let Some(path) = self.name {
            same_name(path, &name)?;
        }
        change.expects(&self.preconditions, self.kind, &name).await?;
        let accepted = StatusCode::ACCEPTED;
        let (status, tree) = match artifact {
            Artifact::Gateway(gateway) => {
                let gateway = change.gateway(gateway).await?;
                (accepted, write::value(&Artifact::Gateway(gateway)))
            }
            Artifact::Workflow(workflow) => {
                let all = change.workflow(workflow).await?;
                (accepted, self.all_or_one(&all))
            }
            plain => {
                let status = match self.name {
                    Some(_) => StatusCode::OK,
                    None => StatusCode::CREATED,
                };
                let all = change.store(plain);
                (status, self.all_or_one(&all))
            }
        };
        Ok(Written { name, status, tree })
    }

    /// Everything that is written; of what is only tried, the artifact itself, which is the last.
    fn all_or_one(&self, all: &[Artifact]) -> Value {
        match (self.validate_only, all.last()) {
            (true, Some(artifact)) => write::value(artifact),
            _ => all.iter().map(write::value).collect(),
        }
    }

    async fn deploy(&self, change: &mut Change<'_>, documents: Documents) -> Result<Written, ApiError> {
        let request = change.noted(documents.deploy_request()?);
        let name = match (self.name, &request) {
            (Some(name), _) => name.to_owned(),
            (None, DeployRequest::Reference(name)) => name.clone(),
            (None, DeployRequest::Blueprint(blueprint)) => blueprint.name.clone(),
        };
        change.expects(&self.preconditions, self.kind, &name).await?;
        let (breeds, deployment) = change.deploy(self.name, request).await?;
        Ok(Written {
            name,
            status: StatusCode::ACCEPTED,
            tree: match self.validate_only {
                true => deployment_tree(deployment),
                false => deployed(breeds, deployment),
            },
        })
    }

    async fn end(&self, mut change: Change<'_>, mut written: Written) -> Result<Answer, ApiError> {
        let warnings = std::mem::take(&mut change.warnings);
        let wanted = intent(&change.tx, self.kind, &written.name).await?;
        change.finish(self.validate_only).await?;
        if self.kind == Kind::Gateway
            && !self.validate_only
            && let Some(gateway) = operations::gateway_view(&self.api.state, &written.name).await?
        {
            written.tree = write::value(&Artifact::Gateway(gateway));
        }
        let answer = Answer::new(written.status, written.tree).warned(&warnings);
        Ok(tagged(answer, wanted.as_ref()))
    }
}

/// `DELETE /{kind}/{name}`
pub(super) async fn delete(
    Path((kind, rest)): Path<(String, String)>,
    preconditions: Preconditions,
    asked: Submission,
) -> Result<Answer, ApiError> {
    let kind = kinds::of(&kind)?;
    let name = match Tail::of(&asked.api.state, kind, &rest).await? {
        Tail::Artifact(name) => name,
        tail => return Err(tail.refused()),
    };
    if kind == Kind::Deployment {
        return undeploy(&asked, &name, &preconditions).await;
    }
    let validate_only = asked.validate_only()?;
    let mut change = asked.change(Archive::Delete).await;
    change.expects(&preconditions, kind, &name).await?;
    change.remove(kind, &name).await?;
    change.finish(validate_only).await?;
    Ok(match kind {
        Kind::Gateway | Kind::Workflow => Answer::new(StatusCode::ACCEPTED, Value::Null),
        _ => Answer::empty(StatusCode::NO_CONTENT),
    })
}

async fn undeploy(asked: &Submission, name: &str, preconditions: &Preconditions) -> Result<Answer, ApiError> {
    let validate_only = asked.validate_only()?;
    let mut change = asked.change(Archive::Update).await;
    change.expects(preconditions, Kind::Deployment, name).await?;
    let request: Option<DeployRequest> = match asked.text.trim() {
        "" => None,
        _ => {
            let documents = import::documents(&change.tx, &asked.text).await?;
            Some(documents.deploy_request()?.value)
        }
    };
    let deployment = change.undeploy(name, request).await?;
    let wanted = intent(&change.tx, Kind::Deployment, name).await?;
    change.finish(validate_only).await?;
    let answer = Answer::new(StatusCode::ACCEPTED, deployment_tree(deployment));
    Ok(tagged(answer, wanted.as_ref()))
}

fn same_name(path: &str, body: &str) -> Result<(), ApiError> {
    if path == body {
        return Ok(());
    }
    Err(ApiError::problem(
        "InconsistentArtifactName",
        format!("The path names `{path}`, the body `{body}`."),
    ))
}

fn is_javascript(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.trim_start().starts_with(JAVASCRIPT))
}

fn script(name: String, definition: String) -> Artifact {
    Artifact::Breed(Breed {
        name,
        deployable: Deployable {
            kind: Some(JAVASCRIPT.to_owned()),
            definition,
        },
        ..Breed::default()
    })
}
