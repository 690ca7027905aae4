//! The trace of the work that a task is at, for whoever is too deep in it to be handed one.

use events::TraceContext;

tokio::task_local! {
    static CURRENT: Option<TraceContext>;
}

/// Does `work` within a trace, or within none.
pub async fn scope<T>(trace: Option<TraceContext>, work: impl Future<Output = T>) -> T {
    CURRENT.scope(trace, work).await
}

/// The trace that this task's work is within.
pub fn current() -> Option<TraceContext> {
    CURRENT.try_with(|trace| *trace).ok().flatten()
}
