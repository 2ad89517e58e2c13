//! The clients of `docs/STREAMING.md`, run as they stand there, over a line that breaks.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::proxy::{Line, Proxy};
use crate::support::{Service, World, until};

/// How often the line breaks.
const CUTS: usize = 3;

const PAGE: &str = include_str!("../../../docs/STREAMING.md");

/// The first block of a language in the page.
fn code(language: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("```{language}\n")).expect("the page has it");
    let code = rest.split_once("\n```").expect("it ends").0;
    assert!(code.lines().count() < 40, "short enough to be read");
    code
}

/// Whether a program is here that can run the code.
fn can_run(program: &str, arguments: &[&str]) -> bool {
    let ran = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    ran.is_ok_and(|status| status.success())
}

/// A client while it runs.
struct Client {
    child: Child,
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
            let heard = Arc::clone(&lines);
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    heard.lock().unwrap().push(line);
                }
            });
            lines
        });
        Self { child, lines }
    }

    /// The numbers of the trades that it printed.
    fn numbers(&self) -> Vec<u64> {
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

async fn follows_every_trade(program: &str, arguments: &[&str], file: &str, language: &str) {
    if !can_run(program, arguments) {
        // Past the capture of the test runner: who reads the result wants to know what was tested.
        let _ =
            writeln!(std::io::stderr(), "the {language} client of the documentation is not run: no {program} for it");
        return;
    }
    let world = World::new().await;
    let service = Service::live(&world).await;
    let proxy = Proxy::to(service.base.trim_start_matches("http://").to_owned()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(file);
    std::fs::write(&path, code(language)).unwrap();
    let url = format!("ws://{}/v1/stream", proxy.address);
    let run = [&arguments[..arguments.len() - 2], &[path.to_str().unwrap(), &url]].concat();
    let client = Client::spawn(program, &run);
    for cut in 1..=CUTS {
        let enough = cut * 20;
        until(&format!("{enough} trades are printed"), async || client.numbers().len() >= enough).await;
        proxy.set(Line::Cut);
        world.pass(Duration::from_secs(2)).await;
        proxy.set(Line::Open);
    }
    until("it goes on", async || client.numbers().len() >= (CUTS + 1) * 20).await;
    let numbers = client.numbers();
    let errors = client.lines[1].lock().unwrap().clone();
    let steady = numbers.windows(2).all(|pair| pair[1] == pair[0] + 1);
    assert!(steady, "{numbers:?}, and it said {errors:?}");
    drop(client);
    assert!(service.end().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_of_the_page_sees_every_trade_once() {
    follows_every_trade("python3", &["-c", "import websockets"], "client.py", "python").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_client_of_the_page_sees_every_trade_once() {
    let sockets = "process.exit(typeof WebSocket === 'function' ? 0 : 1)";
    follows_every_trade("node", &["--experimental-websocket", "-e", sockets], "client.mjs", "javascript").await;
}
