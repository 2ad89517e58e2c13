//! The program as a separate process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use candlewick::model::ExchangeId;
use serde_json::Value;

use super::wait_until;

/// A command with only the given environment, so that the machine's variables have no effect.
fn command(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_candlewick"));
    command.current_dir(folder).args(arguments).env_clear().envs(environment.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the program until it exits.
pub fn run(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    command(folder, arguments, environment).output().unwrap()
}

/// A running process of the program. It is killed on drop.
pub struct Process {
    child: Child,
    /// Lines of standard error so far.
    lines: Arc<Mutex<Vec<String>>>,
}

impl Process {
    pub fn spawn(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = command(folder, arguments, environment).stdout(Stdio::null()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let received = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                received.lock().unwrap().push(line);
            }
        });
        Self { child, lines }
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// The log entries so far.
    ///
    /// # Panics
    ///
    /// If a line of standard error is not a JSON log entry.
    pub fn log(&self) -> Vec<Value> {
        let parse = |line: String| serde_json::from_str(&line).unwrap_or_else(|_| panic!("not a log entry: {line}"));
        self.lines().into_iter().map(parse).collect()
    }

    /// Waits for a log entry with this message and returns the first one.
    pub async fn wait_for_log(&mut self, message: &str) -> Value {
        let mut found = None;
        wait_until(&format!("`{message}` is logged"), async || {
            let status = self.child.try_wait().unwrap();
            found = self.log().into_iter().find(|line| line["message"] == message);
            assert!(found.is_some() || status.is_none(), "the process ended with {status:?}: {:#?}", self.lines());
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// Waits until the service listens and returns its address.
    pub async fn address(&mut self) -> SocketAddr {
        self.wait_for_log("listening").await["address"].as_str().unwrap().parse().unwrap()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("sh").arg("-c").arg(format!("kill -s {name} {}", self.id())).status().unwrap();
        assert!(status.success());
    }

    /// Kills the process with SIGKILL.
    pub fn kill(&mut self) {
        assert_eq!(self.child.try_wait().unwrap(), None, "the process has already ended: {:#?}", self.lines());
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the process to exit. Returns the exit code, or `None` if a signal ended it.
    pub async fn wait_for_exit(&mut self) -> Option<i32> {
        let mut status = None;
        wait_until("the process exits", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Environment variables that set the URLs of every exchange to `address`.
pub fn exchange_urls(address: &str) -> Vec<(String, String)> {
    let variables = |id: ExchangeId| {
        let name = id.as_str().to_uppercase();
        [("REST", "http"), ("WS", "ws")].map(|(kind, scheme)| {
            (format!("CANDLEWICK__EXCHANGES__{name}__{kind}_URL"), format!("{scheme}://{address}"))
        })
    };
    ExchangeId::all().flat_map(variables).collect()
}

/// Concatenates borrowed and owned environment variables for [`Process::spawn`] and [`run`].
pub fn merge_env<'a>(own: &[(&'a str, &'a str)], more: &'a [(String, String)]) -> Vec<(&'a str, &'a str)> {
    own.iter().copied().chain(more.iter().map(|(name, value)| (&**name, &**value))).collect()
}
