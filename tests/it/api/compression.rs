//! Answers in fewer bytes.

use std::io::Read;

use flate2::read::GzDecoder;
use reqwest::header::HeaderMap;

use super::*;

const PAGE: &str = "/v1/history?symbol=BTC/USDT&limit=20";

async fn ask(house: &House, method: Method, path: &str, encoding: &str, tag: &str) -> (u16, HeaderMap, Vec<u8>) {
    let request = house.client.request(method, format!("http://{}{path}", house.address));
    let request = request.header("Accept-Encoding", encoding).header("If-None-Match", tag);
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    (status, headers, answer.bytes().await.unwrap().to_vec())
}

#[tokio::test]
async fn what_is_long_is_compressed_for_who_can_read_it() {
    let house = House::open().await;
    let (_, plain, whole) = ask(&house, Method::GET, PAGE, "identity", "\"\"").await;
    assert_eq!((plain.get("content-encoding"), &plain["vary"]), (None, &"accept-encoding".parse().unwrap()));
    let (_, headers, small) = ask(&house, Method::GET, PAGE, "gzip", "\"\"").await;
    assert_eq!(headers["content-encoding"], "gzip");
    let mut unpacked = Vec::new();
    GzDecoder::new(small.as_slice()).read_to_end(&mut unpacked).unwrap();
    assert!(unpacked == whole && small.len() * 3 < whole.len(), "{} of {}", small.len(), whole.len());
    let (_, headers, smallest) = ask(&house, Method::GET, PAGE, "gzip, br, zstd", "\"\"").await;
    assert_eq!(
        (headers["content-encoding"].to_str().unwrap(), &smallest[..4]),
        ("zstd", &[0x28, 0xb5, 0x2f, 0xfd][..])
    );
    // The tag that a client got with a compressed body is known again.
    let weak = headers["etag"].to_str().unwrap();
    assert_eq!(weak, format!("W/{}", plain["etag"].to_str().unwrap()));
    let (status, headers, none) = ask(&house, Method::GET, PAGE, "zstd", weak).await;
    assert_eq!((status, headers.get("content-encoding"), none.len()), (304, None, 0));
    house.close().await;
}

#[tokio::test]
async fn what_is_short_or_a_stream_is_not() {
    let house = House::open().await;
    let (_, headers, body) = ask(&house, Method::GET, "/livez", "gzip, zstd", "\"\"").await;
    assert_eq!(
        (headers.get("content-encoding"), body.len()),
        (None, headers["content-length"].to_str().unwrap().parse().unwrap())
    );
    let events = house.client.get(format!("http://{}/v1/events?topics=ticker:binance:BTC/USDT", house.address));
    let events = events.header("Accept-Encoding", "gzip, zstd").send().await.unwrap();
    assert!(!events.headers().contains_key("content-encoding") && !events.headers().contains_key("vary"));
    house.close().await;
}
