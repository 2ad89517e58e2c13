//! The dashboard at `/`: the files of `web/dist`, which are part of the binary.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use poem::endpoint::BoxEndpoint;
use poem::http::{HeaderValue, StatusCode, Uri, header};
use poem::{Endpoint, EndpointExt, IntoResponse, Request, Response, Route, get};
use rust_embed::Embed;

use super::headers::ALLOW;
use super::operation::{AllowedMethods, OperationMiddleware};
use super::rest::{entity_tag, matches_tag};
use super::state::AppState;

/// The page, served at `/`.
const PAGE: &str = "index.html";

/// The names of these files contain a hash of their content, so browsers need not ask for them again.
const HASHED: &str = "assets/";

/// Content security policy of the page. All its resources are files of this service.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);

#[derive(Embed)]
#[folder = "web/dist"]
struct Files;

/// Adds a route for each file to `routes`. All other paths go to `other`.
pub fn add_routes(routes: Route, other: BoxEndpoint<'static>, state: &Arc<AppState>) -> Route {
    let file = |path: &str| Some(file_endpoint(File::embedded(path)?, state));
    let routes = Files::iter().filter(|path| path != PAGE).fold(routes, |routes, path| match file(&path) {
        Some(endpoint) => routes.at(format!("/{path}"), endpoint),
        None => routes,
    });
    routes.nest_no_strip("/", WithPage { page: file(PAGE), other })
}

fn file_endpoint(file: File, state: &Arc<AppState>) -> BoxEndpoint<'static> {
    let authorizer = Arc::clone(&state.authorizer);
    // The state of the page is in its query, which is not for the service.
    let file = Arc::new(OperationMiddleware::new("dashboard", &[], file, authorizer).before(drop_query));
    get(Arc::clone(&file)).head(file).options(AllowedMethods(ALLOW)).boxed()
}

/// Serves the page at `/`, which the router would send to what is nested there.
struct WithPage {
    page: Option<BoxEndpoint<'static>>,
    other: BoxEndpoint<'static>,
}

impl Endpoint for WithPage {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        match &self.page {
            Some(page) if request.uri().path() == "/" => page.call(request).await,
            _ => self.other.call(request).await,
        }
    }
}

async fn drop_query(mut request: Request) -> poem::Result<Request> {
    if let Ok(path) = request.uri().path().parse::<Uri>() {
        *request.uri_mut() = path;
    }
    Ok(request)
}

/// A file as it is served.
struct File {
    body: Bytes,
    media_type: &'static str,
    /// Strong entity tag.
    tag: String,
    cache_control: &'static str,
    is_page: bool,
}

impl File {
    fn embedded(path: &str) -> Option<Self> {
        let body = match Files::get(path)?.data {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => bytes.into(),
        };
        let is_hashed = path.starts_with(HASHED);
        Some(Self {
            media_type: media_type(path),
            tag: entity_tag(&body),
            body,
            cache_control: if is_hashed { "public, max-age=31536000, immutable" } else { "no-cache" },
            is_page: path == PAGE,
        })
    }
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

impl Endpoint for File {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let known = request.header(header::IF_NONE_MATCH).is_some_and(|tags| matches_tag(tags, &self.tag));
        let mut response = if known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            Response::builder().content_type(self.media_type).body(self.body.clone())
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(self.cache_control));
        if let Ok(tag) = HeaderValue::try_from(&self.tag) {
            headers.insert(header::ETAG, tag);
        }
        if self.is_page {
            headers.insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_loads_only_embedded_files() {
        let page = Files::get(PAGE).expect("web/dist is committed");
        let page = std::str::from_utf8(&page.data).unwrap();
        let loaded: Vec<&str> = page.split(['"']).filter(|part| part.starts_with("/assets/")).collect();
        assert!(loaded.len() >= 2, "a script and a style sheet: {loaded:?}");
        for path in loaded {
            assert!(Files::get(&path[1..]).is_some(), "{path} is not in web/dist");
        }
        assert!(!page.contains("<script>") && !page.contains("style="), "the policy forbids inline resources");
    }

    #[tokio::test]
    async fn files_are_cached_by_their_hash_or_their_tag() {
        let script = Files::iter().find(|path| path.ends_with(".js")).unwrap();
        let script = File::embedded(&script).unwrap();
        assert_eq!(script.cache_control, "public, max-age=31536000, immutable");
        let page = File::embedded(PAGE).unwrap();
        let request = |tag: &str| Request::builder().header(header::IF_NONE_MATCH, tag).finish();
        let full = page.call(request("\"other\"")).await.unwrap();
        assert_eq!((full.status(), full.header(header::CACHE_CONTROL)), (StatusCode::OK, Some("no-cache")));
        assert_eq!(full.header(header::CONTENT_TYPE), Some("text/html; charset=utf-8"));
        assert!(!full.header(header::CONTENT_SECURITY_POLICY).unwrap().contains("unsafe"));
        let cached = page.call(request(&page.tag)).await.unwrap();
        assert_eq!((cached.status(), cached.header(header::ETAG)), (StatusCode::NOT_MODIFIED, Some(&*page.tag)));
        assert!(File::embedded("missing.js").is_none());
    }
}
