//! The web pages, embedded.
//!
//! **Job.** Serve the files of `assets/`: plain ES modules, no build step. The pages speak to the same REST
//! API as everybody else.
//!
//! **Invariants.** A release build carries every file in itself; a debug build reads them from the source folder, so
//! that an edit shows at the next reload. Every answer has an ETag; unknown paths without a dot get the index.
//!
//! **Absent.** No data: this crate knows no artifact.

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{
        HeaderValue, Method, StatusCode,
        header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
    },
    response::{IntoResponse, Response},
};
use sha2::{Digest as _, Sha256};

/// A file of `assets/`.
struct Asset {
    path: &'static str,
    content_type: &'static str,
    embedded: &'static [u8],
}

macro_rules! assets {
    ($(($path:literal, $content_type:literal)),* $(,)?) => {
        &[$(Asset {
            path: $path,
            content_type: $content_type,
            embedded: include_bytes!(concat!("../assets/", $path)),
        }),*]
    };
}

static ASSETS: &[Asset] = assets![
    ("index.html", "text/html; charset=utf-8"),
    ("app.js", "text/javascript; charset=utf-8"),
    ("api.js", "text/javascript; charset=utf-8"),
    ("views.js", "text/javascript; charset=utf-8"),
    ("style.css", "text/css; charset=utf-8"),
    ("icon.svg", "image/svg+xml"),
];

/// Only our own files, no frames, no plug-ins.
const POLICY: &str = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

/// Serves the pages at `/` and whatever path no other route of the application takes.
pub fn router() -> Router {
    Router::new().fallback(serve)
}

async fn serve(request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")]).into_response();
    }
    let path = request.uri().path().trim_start_matches('/');
    let asset = ASSETS.iter().find(|asset| asset.path == path);
    // A path of a page, not of a file: the page's own router decides.
    let asset = asset.or_else(|| if path.contains('.') { None } else { ASSETS.first() });
    let Some(asset) = asset else {
        return (StatusCode::NOT_FOUND, "There is no such page.\n").into_response();
    };
    let content = asset.content();
    let tag = format!(
        "\"{}\"",
        hex::encode(Sha256::digest(&content).get(..12).unwrap_or_default())
    );
    let unchanged = request
        .headers()
        .get(IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, asset.content_type)], Body::from(content)).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    response
}

impl Asset {
    fn content(&self) -> Vec<u8> {
        if cfg!(debug_assertions) {
            let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("assets")
                .join(self.path);
            if let Ok(content) = std::fs::read(source) {
                return content;
            }
        }
        self.embedded.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, extract::Request, http::StatusCode};

    async fn status(path: &str, known: Option<&str>) -> (StatusCode, Option<String>) {
        let mut request = Request::builder().uri(path);
        if let Some(known) = known {
            request = request.header("if-none-match", known);
        }
        let response = super::serve(request.body(Body::empty()).expect("request")).await;
        let tag = response
            .headers()
            .get("etag")
            .and_then(|tag| tag.to_str().ok())
            .map(str::to_owned);
        (response.status(), tag)
    }

    #[tokio::test]
    async fn pages_get_the_index_and_missing_files_do_not() {
        let (index, tag) = status("/", None).await;
        assert_eq!(index, StatusCode::OK);
        assert_eq!(
            status("/gateways/shop/9050", None).await,
            (StatusCode::OK, tag.clone())
        );
        assert_eq!(status("/app.js", None).await.0, StatusCode::OK);
        assert_eq!(status("/missing.js", None).await.0, StatusCode::NOT_FOUND);
        assert_eq!(status("/", tag.as_deref()).await.0, StatusCode::NOT_MODIFIED);
    }

    #[test]
    fn every_module_that_is_imported_is_served() {
        for asset in super::ASSETS {
            let text = String::from_utf8_lossy(asset.embedded);
            for line in text.lines().filter(|line| line.starts_with("import ")) {
                let file = line
                    .split('"')
                    .nth(1)
                    .expect("a quoted path")
                    .trim_start_matches("./");
                assert!(
                    super::ASSETS.iter().any(|asset| asset.path == file),
                    "{} imports {file}",
                    asset.path
                );
            }
        }
    }
}
