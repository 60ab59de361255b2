//! The runtime that the harness's own connections live on.

use std::sync::{OnceLock, mpsc};

use tokio::runtime::{Builder, Runtime};

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime"))
}

/// Runs a future to its end on the harness's runtime and blocks meanwhile, inside another runtime too.
pub fn wait<F>(future: F) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    let (done, result) = mpsc::channel();
    runtime().spawn(async move { done.send(future.await) });
    result.recv().expect("the harness's task does not panic")
}

/// Lets a future run beside the test.
pub fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    runtime().spawn(future);
}
