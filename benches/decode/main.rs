//! Throughput of sessions, from frames to events, relative to a baseline: a plain typed parse of the same frames.
//!
//! `cargo bench --bench decode`. The baseline parses each frame into a borrowed struct of the fields that the event
//! needs, with the same exact decimals, and discards it. The goal is a ratio of at least 0.6.

mod baseline;

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use baseline::{
    BinanceBookTicker, BinanceCandleEvent, BinanceMessage, BinanceTicker, BinanceTrade, BybitCandle, BybitMessage,
    BybitOrderBook, BybitTicker, BybitTrade, CoinbaseMessage, CoinbaseTickerEvent, CoinbaseTradeEvent, KrakenCandle,
    KrakenMessage, KrakenTicker, KrakenTrade, OkxCandle, OkxMessage, OkxTicker, OkxTrade,
};
use candlewick::exchanges::{Frame, Outbox, Subscription, exchange};
use candlewick::model::{Channel, ExchangeId, Instrument, Timestamp};
use serde::Deserialize;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FRAMES: usize = 1_000;
const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(60);
const NOW: Timestamp = Timestamp::from_millis(1_763_672_400_500);
const ASSETS: [&str; 8] = ["BTC", "ETH", "SOL", "XRP", "ADA", "DOGE", "LINK", "AVAX"];

fn parse<'a, T: Deserialize<'a>>(text: &'a str) {
    let value: T = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"));
    black_box(&value);
}

type Baseline = fn(&str);

fn cases() -> Vec<(ExchangeId, &'static str, Baseline)> {
    vec![
        (ExchangeId::BINANCE, "bookTicker", |text| parse::<BinanceMessage<'_, BinanceBookTicker<'_>>>(text)),
        (ExchangeId::BINANCE, "ticker", |text| parse::<BinanceMessage<'_, BinanceTicker<'_>>>(text)),
        (ExchangeId::BINANCE, "trade", |text| parse::<BinanceMessage<'_, BinanceTrade<'_>>>(text)),
        (ExchangeId::BINANCE, "kline", |text| parse::<BinanceMessage<'_, BinanceCandleEvent<'_>>>(text)),
        (ExchangeId::KRAKEN, "ticker", |text| parse::<KrakenMessage<'_, KrakenTicker<'_>>>(text)),
        (ExchangeId::KRAKEN, "trade", |text| parse::<KrakenMessage<'_, KrakenTrade<'_>>>(text)),
        (ExchangeId::KRAKEN, "ohlc", |text| parse::<KrakenMessage<'_, KrakenCandle<'_>>>(text)),
        (ExchangeId::COINBASE, "ticker", |text| parse::<CoinbaseMessage<'_, CoinbaseTickerEvent<'_>>>(text)),
        (ExchangeId::COINBASE, "market_trades", |text| parse::<CoinbaseMessage<'_, CoinbaseTradeEvent<'_>>>(text)),
        (ExchangeId::BYBIT, "tickers", |text| parse::<BybitMessage<'_, BybitTicker<'_>>>(text)),
        (ExchangeId::BYBIT, "orderbook.1", |text| parse::<BybitMessage<'_, BybitOrderBook<'_>>>(text)),
        (ExchangeId::BYBIT, "publicTrade", |text| parse::<BybitMessage<'_, [BybitTrade<'_>; 1]>>(text)),
        (ExchangeId::BYBIT, "kline.1", |text| parse::<BybitMessage<'_, [BybitCandle<'_>; 1]>>(text)),
        (ExchangeId::OKX, "tickers", |text| parse::<OkxMessage<'_, OkxTicker>>(text)),
        (ExchangeId::OKX, "trades", |text| parse::<OkxMessage<'_, OkxTrade<'_>>>(text)),
        (ExchangeId::OKX, "candle1m", |text| parse::<OkxMessage<'_, OkxCandle<'_>>>(text)),
    ]
}

/// A frame in the documented shape; `n` varies its values.
fn frame(id: ExchangeId, kind: &str, n: usize) -> String {
    let asset = ASSETS[n % ASSETS.len()];
    let (low, lower) = (format!("{}.{:02}", 66_000 + n, n % 100), asset.to_lowercase());
    let (size, id_number, at) =
        (format!("{}.{:08}", n % 7, (n * 7_919) % 100_000_000), 5_900_000 + n, 1_763_672_340_000_i64);
    let data = match (id, kind) {
        (ExchangeId::BINANCE, "bookTicker") => format!(
            r#"{{"u":400900217,"s":"{asset}USDT","b":"{low}000000","B":"{size}","a":"{low}100000","A":"{size}"}}"#
        ),
        (ExchangeId::BINANCE, "ticker") => format!(
            r#"{{"e":"24hrTicker","E":1763672400123,"s":"{asset}USDT","p":"1012.24000000","P":"1.530","w":"66852.78846777","x":"{low}000000","c":"{low}000000","Q":"0.00120000","b":"{low}000000","B":"{size}","a":"{low}100000","A":"{size}","o":"66000.10000000","h":"69500.00000000","l":"65800.00000000","v":"18234.10000000","q":"1219000000.50000000","O":1763586000123,"C":1763672400123,"F":5000001,"L":5900001,"n":900001}}"#
        ),
        (ExchangeId::BINANCE, "trade") => format!(
            r#"{{"e":"trade","E":1763672400150,"s":"{asset}USDT","t":{id_number},"p":"{low}000000","q":"{size}","T":1763672400149,"m":false,"M":true}}"#
        ),
        (ExchangeId::BINANCE, _) => format!(
            r#"{{"e":"kline","E":1763672400001,"s":"{asset}USDT","k":{{"t":{at},"T":1763672399999,"s":"{asset}USDT","i":"1m","f":5899590,"L":5900001,"o":"{low}000000","c":"{low}000000","h":"69020.00000000","l":"65990.00000000","v":"{size}","n":412,"x":false,"q":"837654.20000000","V":"6.00000000","Q":"402000.00000000","B":"0"}}}}"#
        ),
        (ExchangeId::KRAKEN, "ticker") => format!(
            r#"{{"symbol":"{asset}/USD","bid":{low},"bid_qty":{size},"ask":{low},"ask_qty":{size},"last":{low},"volume":1834.10000000,"vwap":66850.1,"low":65800.0,"high":69500.0,"change":1012.2,"change_pct":1.53,"timestamp":"2025-11-20T21:00:00.123456Z"}}"#
        ),
        (ExchangeId::KRAKEN, "trade") => format!(
            r#"{{"symbol":"{asset}/USD","side":"sell","price":{low},"qty":{size},"ord_type":"market","trade_id":{id_number},"timestamp":"2025-11-20T21:00:00.149999Z"}}"#
        ),
        (ExchangeId::KRAKEN, _) => format!(
            r#"{{"symbol":"{asset}/USD","open":{low},"high":69020.0,"low":65990.0,"close":{low},"trades":412,"volume":{size},"vwap":67005.1,"interval_begin":"2025-11-20T20:59:00.000000000Z","interval":1,"timestamp":"2025-11-20T21:00:00.000000Z"}}"#
        ),
        (ExchangeId::COINBASE, "ticker") => format!(
            r#"{{"type":"update","tickers":[{{"type":"ticker","product_id":"{asset}-USD","price":"{low}","volume_24_h":"2867.54532609","low_24_h":"64675.22","high_24_h":"69252.99","low_52_w":"57717.55","high_52_w":"126296","price_percent_chg_24_h":"0.09601107287722","best_bid":"{low}","best_ask":"{low}","best_bid_quantity":"{size}","best_ask_quantity":"{size}"}}]}}"#
        ),
        (ExchangeId::COINBASE, _) => format!(
            r#"{{"type":"update","trades":[{{"product_id":"{asset}-USD","trade_id":"{id_number}","price":"{low}","size":"{size}","time":"2025-11-20T21:00:00.149999Z","side":"SELL"}}]}}"#
        ),
        (ExchangeId::BYBIT, "tickers") => format!(
            r#"{{"symbol":"{asset}USDT","lastPrice":"{low}","highPrice24h":"69500.6","lowPrice24h":"64727.9","prevPrice24h":"65045.3","volume24h":"2953.835931","turnover24h":"191907024.69597728","price24hPcnt":"0.0015","usdIndexPrice":"65091.459221"}}"#
        ),
        (ExchangeId::BYBIT, "orderbook.1") => format!(
            r#"{{"s":"{asset}USDT","b":[["{low}","{size}"]],"a":[["{low}","{size}"]],"u":18521288,"seq":7961638724}}"#
        ),
        (ExchangeId::BYBIT, "publicTrade") => format!(
            r#"[{{"i":"2280000001{id_number}","T":1763672400149,"p":"{low}","v":"{size}","S":"Sell","seq":178477362706,"s":"{asset}USDT","BT":false,"RPI":false}}]"#
        ),
        (ExchangeId::BYBIT, _) => format!(
            r#"[{{"start":{at},"end":1763672399999,"interval":"1","open":"{low}","close":"{low}","high":"69020","low":"65990","volume":"{size}","turnover":"837654.2","confirm":false,"timestamp":1763672340000}}]"#
        ),
        (ExchangeId::OKX, "tickers") => format!(
            r#"{{"instType":"SPOT","instId":"{asset}-USDT","last":"{low}","lastSz":"0.0015","askPx":"{low}","askSz":"{size}","bidPx":"{low}","bidSz":"{size}","open24h":"66000.1","high24h":"69500","low24h":"65800","sodUtc0":"66900","sodUtc8":"66700.5","volCcy24h":"1219000000.50617","vol24h":"18234.10671","ts":"1763672400123"}}"#
        ),
        (ExchangeId::OKX, "trades") => format!(
            r#"{{"instId":"{asset}-USDT","tradeId":"{id_number}","px":"{low}","sz":"{size}","side":"sell","ts":"1763672400149","count":"1","source":"0","seqId":48181}}"#
        ),
        (ExchangeId::OKX, _) => {
            format!(r#"["{at}","{low}","69020","65990","{low}","{size}","837654.2","837654.2","0"]"#)
        }
        _ => panic!("no frames of {id}"),
    };
    match id {
        ExchangeId::BINANCE => {
            let stream = if kind == "kline" { "kline_1m" } else { kind };
            format!(r#"{{"stream":"{lower}usdt@{stream}","data":{data}}}"#)
        }
        ExchangeId::KRAKEN => format!(r#"{{"channel":"{kind}","type":"update","data":[{data}]}}"#),
        ExchangeId::COINBASE => format!(
            r#"{{"channel":"{kind}","timestamp":"2025-11-20T21:00:00.228568804Z","sequence_num":{n},"events":[{data}]}}"#
        ),
        ExchangeId::BYBIT => {
            format!(r#"{{"topic":"{kind}.{asset}USDT","ts":1763672400123,"type":"snapshot","data":{data}}}"#)
        }
        ExchangeId::OKX => format!(r#"{{"arg":{{"channel":"{kind}","instId":"{asset}-USDT"}},"data":[{data}]}}"#),
        _ => panic!("no frames of {id}"),
    }
}

fn subscriptions(id: ExchangeId) -> Vec<Subscription> {
    let instrument = |asset: &str| {
        let (native, symbol) = match id {
            ExchangeId::BINANCE | ExchangeId::BYBIT => (format!("{asset}USDT"), format!("{asset}/USDT")),
            ExchangeId::KRAKEN => (format!("{asset}/USD"), format!("{asset}/USD")),
            ExchangeId::COINBASE => (format!("{asset}-USD"), format!("{asset}/USD")),
            _ => (format!("{asset}-USDT"), format!("{asset}/USDT")),
        };
        Arc::new(Instrument::new(id, symbol.parse().unwrap_or_else(|_| panic!("{symbol}")), native))
    };
    let all_channels = |asset| Channel::ALL.map(|channel| Subscription { channel, instrument: instrument(asset) });
    ASSETS.into_iter().flat_map(all_channels).collect()
}

/// Frames per second of one round.
#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn round(mut pass: impl FnMut()) -> f64 {
    let (start, mut frames) = (Instant::now(), 0_u32);
    while start.elapsed() < ROUND {
        pass();
        frames += u32::try_from(FRAMES).unwrap_or(u32::MAX);
    }
    f64::from(frames) / start.elapsed().as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn main() {
    let mut table = String::new();
    let mut worst = f64::INFINITY;
    for (id, kind, baseline) in cases() {
        let frames: Vec<String> = (0..FRAMES).map(|n| frame(id, kind, n)).collect();
        let adapter = exchange(id).unwrap_or_else(|| panic!("no adapter of {id}"));
        let plan = adapter.connections(&subscriptions(id)).into_iter().find(|plan| {
            let channel = if kind.starts_with("candle") { Channel::Candles } else { Channel::Ticker };
            plan.subscriptions.iter().any(|one| one.channel == channel)
        });
        let plan = plan.unwrap_or_else(|| panic!("no connection for {id} {kind}"));
        let (mut session, mut out) = ((plan.session)(plan.subscriptions), Outbox::default());
        session.on_open(NOW, &mut out);
        if id == ExchangeId::COINBASE {
            // Its messages have sequence numbers, and are repeated here: the decoder does not check them.
            session = adapter.decoder();
        }
        let mut decode = || {
            for frame in &frames {
                out.events.clear();
                session.on_frame(Frame::Text(frame), NOW, &mut out).unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(out.events.len(), 1, "{frame}");
                black_box(&out.events);
            }
        };
        let parse = || frames.iter().for_each(|frame| baseline(frame));
        decode();
        parse();
        // Rounds alternate, so that changes of the machine's speed affect both equally.
        let rates: Vec<_> = (0..ROUNDS).map(|_| (round(&mut decode), round(parse))).collect();
        let ratio = median(rates.iter().map(|(decode, baseline)| decode / baseline).collect());
        let (decode, baseline): (Vec<_>, Vec<_>) = rates.into_iter().unzip();
        let (decode, baseline) = (median(decode), median(baseline));
        worst = worst.min(ratio);
        let bytes = frames.iter().map(String::len).sum::<usize>() / FRAMES;
        let name = format!("{id} {kind}");
        let _ = writeln!(
            table,
            "{name:<20} {bytes:>4} B {decode:>12.0} /s {:>6.0} ns {baseline:>12.0} /s {:>6.0} ns {ratio:>7.2}",
            1e9 / decode,
            1e9 / baseline
        );
    }
    println!("frames per second on one core: session, baseline, ratio (goal 0.60)");
    print!("{table}");
    println!("worst ratio {worst:.2}: {}", if worst >= 0.6 { "goal met" } else { "goal missed" });
}
