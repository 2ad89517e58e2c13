//! Compression of responses.

use std::io::Read;

use flate2::read::GzDecoder;
use reqwest::header::HeaderMap;

use super::*;

const PAGE: &str = "/v1/history?symbol=BTC/USDT&limit=20";

async fn request(
    service: &TestService,
    method: Method,
    path: &str,
    encoding: &str,
    etag: &str,
) -> (u16, HeaderMap, Vec<u8>) {
    let request = service.client.request(method, format!("http://{}{path}", service.address));
    let request = request.header("Accept-Encoding", encoding).header("If-None-Match", etag);
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    (status, headers, response.bytes().await.unwrap().to_vec())
}

#[tokio::test]
async fn long_responses_are_compressed_when_accepted() {
    let service = TestService::start().await;
    let (_, plain_headers, plain) = request(&service, Method::GET, PAGE, "identity", "\"\"").await;
    assert_eq!(
        (plain_headers.get("content-encoding"), &plain_headers["vary"]),
        (None, &"accept-encoding".parse().unwrap())
    );
    let (_, headers, gzipped) = request(&service, Method::GET, PAGE, "gzip", "\"\"").await;
    assert_eq!(headers["content-encoding"], "gzip");
    let mut decoded = Vec::new();
    GzDecoder::new(gzipped.as_slice()).read_to_end(&mut decoded).unwrap();
    assert!(decoded == plain && gzipped.len() * 3 < plain.len(), "{} of {}", gzipped.len(), plain.len());
    let (_, headers, zstd) = request(&service, Method::GET, PAGE, "gzip, br, zstd", "\"\"").await;
    assert_eq!((headers["content-encoding"].to_str().unwrap(), &zstd[..4]), ("zstd", &[0x28, 0xb5, 0x2f, 0xfd][..]));
    // The weak ETag of a compressed body matches on the next request.
    let weak = headers["etag"].to_str().unwrap();
    assert_eq!(weak, format!("W/{}", plain_headers["etag"].to_str().unwrap()));
    let (status, headers, body) = request(&service, Method::GET, PAGE, "zstd", weak).await;
    assert_eq!((status, headers.get("content-encoding"), body.len()), (304, None, 0));
    service.shut_down().await;
}

#[tokio::test]
async fn short_responses_and_streams_are_not_compressed() {
    let service = TestService::start().await;
    let (_, headers, body) = request(&service, Method::GET, "/livez", "gzip, zstd", "\"\"").await;
    assert_eq!(
        (headers.get("content-encoding"), body.len()),
        (None, headers["content-length"].to_str().unwrap().parse().unwrap())
    );
    let events = service.client.get(format!("http://{}/v1/events?topics=ticker:binance:BTC/USDT", service.address));
    let events = events.header("Accept-Encoding", "gzip, zstd").send().await.unwrap();
    assert!(!events.headers().contains_key("content-encoding") && !events.headers().contains_key("vary"));
    service.shut_down().await;
}
