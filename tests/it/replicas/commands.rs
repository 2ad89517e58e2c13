//! Commands for operators (`migrate`, `health`), and the precedence of environment variables.

use crate::support::process::{Process, run};
use crate::support::servers;

fn text(output: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_command_creates_tables_and_is_idempotent() {
    let folder = tempfile::tempdir().unwrap();
    let url = servers::database().await;
    for _ in 0..2 {
        let output = run(folder.path(), &["migrate"], &[("DATABASE_URL", &url)]);
        assert!(output.status.success(), "{}", text(&output));
        assert_eq!(text(&output), "the postgres store is up to date\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_command_succeeds_only_while_service_runs() {
    let folder = tempfile::tempdir().unwrap();
    let own = [("CANDLEWICK__DATA", "simulated"), ("CANDLEWICK__SERVER__LISTEN", "127.0.0.1:0")];
    let mut process = Process::spawn(folder.path(), &[], &own);
    process.wait_for_log("ready").await;
    let port = process.address().await.port().to_string();
    // As in a container: `PORT` sets only the port, and the command connects to loopback.
    let healthy = run(folder.path(), &["health"], &[("PORT", &port)]);
    assert!(healthy.status.success() && text(&healthy).contains("degraded"), "{}", text(&healthy));
    process.signal("TERM");
    assert_eq!(process.wait_for_exit().await, Some(0));
    let stopped = run(folder.path(), &["health"], &[("PORT", &port)]);
    assert!(!stopped.status.success() && text(&stopped).contains("no response from"), "{}", text(&stopped));
}

#[test]
fn own_variables_take_precedence_over_platform_variables() {
    let folder = tempfile::tempdir().unwrap();
    let error = |environment: &[(&str, &str)]| {
        let output = run(folder.path(), &["migrate"], environment);
        assert!(!output.status.success());
        text(&output)
    };
    let (platform, own) = (("DATABASE_URL", "platform://db"), ("CANDLEWICK__STORE__URL", "own://db"));
    assert!(error(&[platform]).contains("platform://db"));
    assert!(error(&[platform, own]).contains("own://db"));
    let (platform, own) = (("REDIS_URL", "platform://cache"), ("CANDLEWICK__CACHE__URL", "own://cache"));
    assert!(error(&[platform, own]).contains("own://cache"));
    let listen = ("CANDLEWICK__SERVER__LISTEN", "127.0.0.1:9");
    let output = text(&run(folder.path(), &["health"], &[("PORT", "10"), listen]));
    assert!(output.contains("127.0.0.1:9:"), "{output}");
}

#[test]
fn migrate_error_names_setting_and_hides_password() {
    let folder = tempfile::tempdir().unwrap();
    let url = "postgres://nobody:secret@127.0.0.1:1/nowhere?sslmode=wrong";
    let output = run(folder.path(), &["migrate"], &[("DATABASE_URL", url)]);
    let message = text(&output);
    assert!(!output.status.success() && message.contains("store.url") && !message.contains("secret"), "{message}");
}
