//! `GET /openapi.json`, `GET /openapi.yaml` and `GET /docs`.

use bytes::Bytes;

use super::payload::{self, bytes, json};
use crate::api::openapi;
use crate::api::operation::{Content, Operation, Tag};
use crate::api::problem::Code;

pub const JSON: Operation = Operation {
    id: "openapiJson",
    path: "/openapi.json",
    tag: Some(Tag::Service),
    summary: "This document",
    description: "OpenAPI 3.1.",
    parameters: &[],
    contents: &[Content { media: payload::JSON, schema: None, example: "{\"openapi\":\"3.1.0\"}" }],
    headers: &[],
    conditional: false,
    problems: &[Code::InvalidParameter],
    handler: |_| Box::pin(std::future::ready(Ok(json(Bytes::from_static(openapi::PAGES.json.as_bytes()))))),
};

pub const YAML: Operation = Operation {
    id: "openapiYaml",
    path: "/openapi.yaml",
    summary: "This document as YAML",
    contents: &[Content { media: YAML_MEDIA, schema: None, example: "openapi: 3.1.0" }],
    handler: |_| {
        Box::pin(std::future::ready(Ok(bytes(YAML_MEDIA, Bytes::from_static(openapi::PAGES.yaml.as_bytes())))))
    },
    ..JSON
};

pub const DOCS: Operation = Operation {
    id: "docs",
    path: "/docs",
    summary: "This document as a page to try it out",
    description: "Swagger UI. Everything it needs is in the page.",
    contents: &[Content { media: "text/html", schema: None, example: "<html>…</html>" }],
    handler: |_| Box::pin(std::future::ready(Ok(bytes(HTML, Bytes::from_static(openapi::PAGES.html.as_bytes()))))),
    ..JSON
};

/// RFC 9512.
const YAML_MEDIA: &str = "application/yaml";
const HTML: &str = "text/html; charset=utf-8";
