//! The program itself as a process of its own, as a person or a platform runs it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use candlewick::model::ExchangeId;
use serde_json::Value;

use super::until;

/// Addresses, folders and whatever else a machine sets are the test's own.
fn command(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_candlewick"));
    command.current_dir(folder).args(arguments).env_clear().envs(environment.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the program to its end.
pub fn run(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    command(folder, arguments, environment).output().unwrap()
}

/// The program while it runs; it is killed when this is dropped.
pub struct Process {
    child: Child,
    /// What it has written to standard error, by line.
    lines: Arc<Mutex<Vec<String>>>,
}

impl Process {
    pub fn spawn(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = command(folder, arguments, environment).stdout(Stdio::null()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let heard = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                heard.lock().unwrap().push(line);
            }
        });
        Self { child, lines }
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// The log; every line must be one.
    pub fn log(&self) -> Vec<Value> {
        let parse =
            |line: String| serde_json::from_str(&line).unwrap_or_else(|_| panic!("not a line of a log: {line}"));
        self.lines().into_iter().map(parse).collect()
    }

    /// Waits for the first line of the log that says `message`.
    pub async fn logged(&mut self, message: &str) -> Value {
        let mut found = None;
        until(&format!("`{message}` is logged"), async || {
            let ended = self.child.try_wait().unwrap();
            found = self.log().into_iter().find(|line| line["message"] == message);
            assert!(found.is_some() || ended.is_none(), "it ended with {ended:?}: {:#?}", self.lines());
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// Where the service listens.
    pub async fn address(&mut self) -> SocketAddr {
        self.logged("listening").await["address"].as_str().unwrap().parse().unwrap()
    }

    /// Its number on this machine.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -s {name} {}", self.id())).status().unwrap();
        assert!(sent.success());
    }

    /// Ends it in the middle of whatever it does: SIGKILL.
    pub fn kill(&mut self) {
        assert_eq!(self.child.try_wait().unwrap(), None, "it still ran: {:#?}", self.lines());
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end: the exit code, `None` when a signal ended it.
    pub async fn ended(&mut self) -> Option<i32> {
        let mut status = None;
        until("the process ended", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only when it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The environment that looks for every exchange at `address`.
pub fn all_exchanges_at(address: &str) -> Vec<(String, String)> {
    let of = |id: ExchangeId| {
        let name = id.as_str().to_uppercase();
        [("REST", "http"), ("WS", "ws")].map(|(kind, scheme)| {
            (format!("CANDLEWICK__EXCHANGES__{name}__{kind}_URL"), format!("{scheme}://{address}"))
        })
    };
    ExchangeId::ALL.into_iter().flat_map(of).collect()
}

/// Both as [`Process::spawn`] takes them.
pub fn with<'a>(own: &[(&'a str, &'a str)], more: &'a [(String, String)]) -> Vec<(&'a str, &'a str)> {
    own.iter().copied().chain(more.iter().map(|(name, value)| (&**name, &**value))).collect()
}
