//! Pulls, from a registry of one's own that asks who pulls.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use weir_driver::{ContainerDriver, DriverError, InstanceSpec, NoticeKind};
use weir_driver_docker::{Credentials, DockerDriver};
use weir_test_docker::image;

use crate::support::{GRACE, config, engine, get, healthy, notice, spec};

/// `me:secret`, as the header has it.
const AUTHORIZATION: &str = "Basic bWU6c2VjcmV0";
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Manifests and blobs by path (OCI distribution specification, section *Pull*).
type Content = Arc<BTreeMap<String, (String, Vec<u8>)>>;

/// Serves one image; its port.
async fn registry(name: &str) -> u16 {
    let layer = image::layer(&[(image::SERVICE, image::service())]);
    let config = image::config(&layer, &[image::SERVICE, "serve", "pulled"])
        .to_string()
        .into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "size": config.len(), "digest": image::digest(&config),
        },
        "layers": [{
            "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "size": layer.len(), "digest": image::digest(&layer),
        }],
    })
    .to_string()
    .into_bytes();
    let mut content = BTreeMap::new();
    for reference in ["1".to_owned(), image::digest(&manifest)] {
        content.insert(
            format!("/v2/{name}/manifests/{reference}"),
            (MANIFEST.to_owned(), manifest.clone()),
        );
    }
    for blob in [config, layer] {
        let path = format!("/v2/{name}/blobs/{}", image::digest(&blob));
        content.insert(path, ("application/octet-stream".to_owned(), blob));
    }
    let app = Router::new().fallback(answer).with_state(Arc::new(content));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    port
}

async fn answer(State(content): State<Content>, request: Request) -> Response {
    let known = request
        .headers()
        .get(header::AUTHORIZATION)
        .is_some_and(|value| value == AUTHORIZATION);
    if !known {
        let error = json!({"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]});
        let asks = [(header::WWW_AUTHENTICATE, "Basic realm=\"test\"")];
        return (StatusCode::UNAUTHORIZED, asks, axum::Json(error)).into_response();
    }
    let path = request.uri().path();
    if path == "/v2/" {
        return StatusCode::OK.into_response();
    }
    let Some((kind, bytes)) = content.get(path) else {
        let error = json!({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]});
        return (StatusCode::NOT_FOUND, axum::Json(error)).into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, kind.clone()),
        (header::CONTENT_LENGTH, bytes.len().to_string()),
        (
            header::HeaderName::from_static("docker-content-digest"),
            image::digest(bytes),
        ),
    ];
    if request.method() == axum::http::Method::HEAD {
        return (headers, Body::empty()).into_response();
    }
    // In pieces, so that there is progress to be seen.
    let pieces: Vec<Bytes> = bytes.chunks(256 << 10).map(Bytes::copy_from_slice).collect();
    let stream = futures::stream::unfold(pieces.into_iter(), |mut pieces| async move {
        let piece = pieces.next()?;
        tokio::time::sleep(Duration::from_millis(60)).await;
        Some((Ok::<Bytes, std::io::Error>(piece), pieces))
    });
    (headers, Body::from_stream(stream)).into_response()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_are_pulled_with_credentials_and_their_progress_is_told() {
    let Some(engine) = engine() else { return };
    let port = registry("shop/front").await;
    let server = format!("127.0.0.1:{port}");
    let pulled = |name: &str, image: &str| InstanceSpec {
        definition: format!("{server}/{image}"),
        ..spec(name)
    };
    let start = async |spec: InstanceSpec, credentials: Vec<Credentials>| {
        let mut config = config(&engine);
        config.credentials = credentials;
        let driver = DockerDriver::open(config).await.unwrap();
        let notices = driver.notices();
        (driver.start(spec).await, driver, notices)
    };
    let of = |password: &str| {
        vec![Credentials {
            server: server.clone(),
            username: "me".to_owned(),
            password: password.to_owned(),
        }]
    };

    let (refused, ..) = start(pulled("nobody", "shop/front:1"), Vec::new()).await;
    let error = refused.unwrap_err();
    assert!(
        matches!(&error, DriverError::Definition(text) if text.contains("no credentials") && text.contains("shop/front:1")),
        "{error:?}"
    );
    let (refused, ..) = start(pulled("other", "shop/front:1"), of("wrong")).await;
    let error = refused.unwrap_err();
    assert!(
        error.to_string().contains("does not take the credentials"),
        "{error:?}"
    );
    let (refused, ..) = start(pulled("missing", "shop/front:2"), of("secret")).await;
    let error = refused.unwrap_err();
    assert!(
        matches!(&error, DriverError::Definition(text) if text.contains("shop/front:2") && text.contains("missing")),
        "{error:?}"
    );

    let service = pulled("front", "shop/front:1");
    let (started, driver, mut notices) = start(service.clone(), of("secret")).await;
    started.unwrap();
    let first = notice(&mut notices, NoticeKind::Pull).await;
    assert_eq!(first.instance.as_deref(), Some(service.id.as_str()));
    let mut messages = vec![first.message];
    while !messages.last().unwrap().contains("is there") {
        messages.push(notice(&mut notices, NoticeKind::Pull).await.message);
    }
    assert!(
        messages.iter().any(|message| message.contains(" MB")),
        "how far it is was told: {messages:?}"
    );
    assert!(
        get(&healthy(&driver, &service.id).await)
            .await
            .contains("version pulled")
    );
    driver.stop(&service.id, GRACE).await.unwrap();

    // A registry that cannot be reached may be there later.
    let gone = std::net::TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let away = InstanceSpec {
        definition: format!("127.0.0.1:{gone}/shop/front:1"),
        ..spec("away")
    };
    let error = driver.start(away).await.unwrap_err();
    assert!(matches!(error, DriverError::Unavailable(_)), "{error:?}");
}
