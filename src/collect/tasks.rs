//! Tasks that must run as long as their collector does.

use std::collections::HashMap;
use std::future::pending;

use tokio::task::{Id, JoinSet};

use super::collector::CollectError;

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

    /// Waits until one of them ends, by returning or by a panic, and says which. Waits for ever where there is none.
    pub async fn ended(&mut self) -> CollectError {
        let (id, how) = match self.running.join_next_with_id().await {
            None => pending().await,
            Some(Ok((id, ()))) => (id, "it returned".to_owned()),
            Some(Err(error)) => (error.id(), error.to_string()),
        };
        let name = self.names.remove(&id).unwrap_or_default();
        CollectError::TaskEnded { name, how }
    }

    /// Ends all of them and waits until they have ended.
    pub async fn shutdown(&mut self) {
        self.running.shutdown().await;
    }

    /// Waits until all of them have ended by themselves.
    pub async fn finished(&mut self) {
        while self.running.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_is_named() {
        let mut tasks = Tasks::default();
        tasks.spawn("stays", pending());
        tasks.spawn("leaves", async {});
        assert_eq!(tasks.ended().await.to_string(), "the task `leaves` ended: it returned");
        tasks.spawn("breaks", async { panic!("an absurd number") });
        let error = tasks.ended().await.to_string();
        assert!(error.starts_with("the task `breaks` ended: ") && error.contains("an absurd number"), "{error}");
        tasks.shutdown().await;
    }
}
