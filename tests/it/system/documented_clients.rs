//! The example clients of `docs/STREAMING.md`, run unchanged over a connection that is interrupted.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::proxy::{Link, Proxy};
use crate::support::{Service, Simulation, wait_until};

/// Number of interruptions.
const INTERRUPTIONS: usize = 3;

const DOCUMENT: &str = include_str!("../../../docs/STREAMING.md");

/// The first code block of a language in the document.
fn code_block(language: &str) -> &'static str {
    let (_, rest) = DOCUMENT.split_once(&format!("```{language}\n")).expect("the document has a code block");
    let code = rest.split_once("\n```").expect("the code block ends").0;
    assert!(code.lines().count() < 40, "the example is short");
    code
}

/// Returns whether a program is installed and these arguments succeed.
fn can_run(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// A running client.
struct Client {
    child: Child,
    /// Lines of standard output and standard error so far.
    lines: [Arc<Mutex<Vec<String>>>; 2],
}

impl Client {
    fn spawn(program: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out: Box<dyn std::io::Read + Send> = Box::new(child.stdout.take().unwrap());
        let errors: Box<dyn std::io::Read + Send> = Box::new(child.stderr.take().unwrap());
        let lines = [out, errors].map(|pipe| {
            let lines = Arc::<Mutex<Vec<String>>>::default();
            let received = Arc::clone(&lines);
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    received.lock().unwrap().push(line);
                }
            });
            lines
        });
        Self { child, lines }
    }

    /// Sequence numbers of the printed trades.
    fn sequence_numbers(&self) -> Vec<u64> {
        let first = |line: &String| line.split(' ').next().unwrap().parse().unwrap();
        self.lines[0].lock().unwrap().iter().map(first).collect()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn assert_receives_every_trade_once(program: &str, arguments: &[&str], file: &str, language: &str) {
    if !can_run(program, arguments) {
        // Written directly to standard error, which the test runner does not capture.
        let _ =
            writeln!(std::io::stderr(), "skipped the {language} client of the documentation: {program} cannot run it");
        return;
    }
    let simulation = Simulation::new().await;
    let service = Service::live(&simulation).await;
    let proxy = Proxy::start(service.base_url.trim_start_matches("http://").to_owned()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(file);
    std::fs::write(&path, code_block(language)).unwrap();
    let url = format!("ws://{}/v1/stream", proxy.address);
    let run = [&arguments[..arguments.len() - 2], &[path.to_str().unwrap(), &url]].concat();
    let client = Client::spawn(program, &run);
    for interruption in 1..=INTERRUPTIONS {
        let count = interruption * 20;
        wait_until(&format!("{count} trades are printed"), async || client.sequence_numbers().len() >= count).await;
        proxy.set_link(Link::Down);
        simulation.sleep(Duration::from_secs(2)).await;
        proxy.set_link(Link::Up);
    }
    let count = (INTERRUPTIONS + 1) * 20;
    wait_until("the client resumes", async || client.sequence_numbers().len() >= count).await;
    let numbers = client.sequence_numbers();
    let errors = client.lines[1].lock().unwrap().clone();
    let is_contiguous = numbers.windows(2).all(|pair| pair[1] == pair[0] + 1);
    assert!(is_contiguous, "{numbers:?}, standard error: {errors:?}");
    drop(client);
    assert!(service.shut_down().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn documented_python_client_receives_every_trade_once() {
    assert_receives_every_trade_once("python3", &["-c", "import websockets"], "client.py", "python").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documented_javascript_client_receives_every_trade_once() {
    let has_websocket = "process.exit(typeof WebSocket === 'function' ? 0 : 1)";
    assert_receives_every_trade_once(
        "node",
        &["--experimental-websocket", "-e", has_websocket],
        "client.mjs",
        "javascript",
    )
    .await;
}
