//! Tasks that must run as long as their collector does.

use std::collections::HashMap;
use std::future::pending;

use tokio::task::{Id, JoinSet};

use super::error::CollectError;

/// Tasks with their names. Dropping it ends them.
#[derive(Default)]
pub struct Tasks {
    running: JoinSet<()>,
    names: HashMap<Id, String>,
}

impl Tasks {
    /// Runs a task.
    pub fn spawn(&mut self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.running.spawn(task).id();
        self.names.insert(id, name.into());
    }

    /// Waits until one task returns or panics, and reports which. Waits forever if there are no tasks.
    pub async fn wait_for_end(&mut self) -> CollectError {
        let (id, cause) = match self.running.join_next_with_id().await {
            None => pending().await,
            Some(Ok((id, ()))) => (id, "it returned".to_owned()),
            Some(Err(error)) => (error.id(), error.to_string()),
        };
        let name = self.names.remove(&id).unwrap_or_default();
        CollectError::TaskEnded { name, cause }
    }

    /// Aborts all tasks and waits until they have ended.
    pub async fn shutdown(&mut self) {
        self.running.shutdown().await;
    }

    /// Waits until all tasks have returned.
    pub async fn join_all(&mut self) {
        while self.running.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reports_name_and_cause_of_ended_task() {
        let mut tasks = Tasks::default();
        tasks.spawn("running", pending());
        tasks.spawn("returning", async {});
        assert_eq!(tasks.wait_for_end().await.to_string(), "the task `returning` ended: it returned");
        tasks.spawn("panicking", async { panic!("test panic") });
        let error = tasks.wait_for_end().await.to_string();
        assert!(error.starts_with("the task `panicking` ended: ") && error.contains("test panic"), "{error}");
        tasks.shutdown().await;
    }
}
