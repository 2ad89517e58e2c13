//! What an operator types: tables made apart, health asked without a shell, and which setting comes before which.

use crate::support::process::{Process, run};
use crate::support::servers;

fn text(output: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_made_apart_and_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let url = servers::database().await;
    for _ in 0..2 {
        let migrated = run(folder.path(), &["migrate"], &[("DATABASE_URL", &url)]);
        assert!(migrated.status.success(), "{}", text(&migrated));
        assert_eq!(text(&migrated), "the postgres store is ready for this version\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_asked_without_a_shell() {
    let folder = tempfile::tempdir().unwrap();
    let own = [("CANDLEWICK__DATA", "simulated"), ("CANDLEWICK__SERVER__LISTEN", "127.0.0.1:0")];
    let mut process = Process::spawn(folder.path(), &[], &own);
    process.logged("ready").await;
    let port = process.address().await.port().to_string();
    // As in a container: the service listens on every address, and is asked on loopback.
    let healthy = run(folder.path(), &["health"], &[("PORT", &port)]);
    assert!(healthy.status.success() && text(&healthy).contains("degraded"), "{}", text(&healthy));
    process.signal("TERM");
    assert_eq!(process.ended().await, Some(0));
    let gone = run(folder.path(), &["health"], &[("PORT", &port)]);
    assert!(!gone.status.success() && text(&gone).contains("nothing answers"), "{}", text(&gone));
}

#[test]
fn our_own_names_come_before_those_of_the_platform() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |environment: &[(&str, &str)]| {
        let output = run(folder.path(), &["migrate"], environment);
        assert!(!output.status.success());
        text(&output)
    };
    let (theirs, ours) = (("DATABASE_URL", "theirs://db"), ("CANDLEWICK__STORE__URL", "ours://db"));
    assert!(refused(&[theirs]).contains("theirs://db"));
    assert!(refused(&[theirs, ours]).contains("ours://db"));
    let (theirs, ours) = (("REDIS_URL", "theirs://cache"), ("CANDLEWICK__CACHE__URL", "ours://cache"));
    assert!(refused(&[theirs, ours]).contains("ours://cache"));
    let listen = ("CANDLEWICK__SERVER__LISTEN", "127.0.0.1:9");
    let asked = text(&run(folder.path(), &["health"], &[("PORT", "10"), listen]));
    assert!(asked.contains("127.0.0.1:9:"), "{asked}");
}

#[test]
fn a_server_that_refuses_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let url = "postgres://nobody:secret@127.0.0.1:1/nowhere?sslmode=wrong";
    let output = run(folder.path(), &["migrate"], &[("DATABASE_URL", url)]);
    let said = text(&output);
    assert!(!output.status.success() && said.contains("store.url") && !said.contains("secret"), "{said}");
}
