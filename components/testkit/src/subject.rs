//! What a suite runs against, and the runtime it runs in.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

/// A case that takes longer hangs: the slowest writes ten thousand messages, each to the disk.
const DEADLINE: Duration = Duration::from_secs(600);
/// How long a case waits for what must happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same where it is known not to happen.
const IMPATIENCE: Duration = Duration::from_secs(6);

tokio::task_local! {
    static PATIENT_FOR: Duration;
}

/// A component under test together with what must outlive it: a directory, a server.
pub struct Subject<T: ?Sized> {
    store: Arc<T>,
    kept: Vec<Box<dyn Any + Send>>,
}

impl<T: ?Sized> Subject<T> {
    pub fn new(store: Arc<T>) -> Self {
        Self { store, kept: Vec::new() }
    }

    /// Keeps something alive until the case has ended.
    #[must_use]
    pub fn keeping(mut self, what: impl Any + Send) -> Self {
        self.kept.push(Box::new(what));
        self
    }

    /// Another handle to the component.
    pub fn handle(&self) -> Arc<T> {
        Arc::clone(&self.store)
    }
}

/// What the expression given to a suite may be.
pub trait IntoSubject<T: ?Sized> {
    /// `None` skips the case.
    fn into_subject(self) -> Option<Subject<T>>;
}

impl<T: ?Sized> IntoSubject<T> for Subject<T> {
    fn into_subject(self) -> Option<Subject<T>> {
        Some(self)
    }
}

impl<T: ?Sized> IntoSubject<T> for Arc<T> {
    fn into_subject(self) -> Option<Subject<T>> {
        Some(Subject::new(self))
    }
}

impl<T: ?Sized, S: IntoSubject<T>> IntoSubject<T> for Option<S> {
    fn into_subject(self) -> Option<Subject<T>> {
        let subject = self.and_then(IntoSubject::into_subject);
        if subject.is_none() {
            eprintln!("skipped: what this backend needs is not there");
        }
        subject
    }
}

/// Runs a case to its end on a runtime of its own; one that hangs panics.
pub fn run<T>(case: impl Future<Output = T>) -> T {
    let case = async { tokio::time::timeout(DEADLINE, case).await };
    runtime().block_on(case).unwrap_or_else(|_| panic!("the case did not end within {DEADLINE:?}"))
}

/// As [`run`], for a case that is to fail: what does not happen is not waited for as long.
pub fn run_impatiently<T>(case: impl Future<Output = T>) -> T {
    run(PATIENT_FOR.scope(IMPATIENCE, case))
}

/// How long the case that asks waits for what must happen.
pub(crate) fn patience() -> Duration {
    PATIENT_FOR.try_with(|patience| *patience).unwrap_or(PATIENCE)
}

/// Runs a future on a new thread with a runtime of its own, which has ended when this returns. The caller's runtime
/// goes on meanwhile.
pub async fn in_other_runtime<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let future = PATIENT_FOR.scope(patience(), future);
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let thread = thread::spawn(move || {
        let runtime = runtime();
        let result = runtime.block_on(future);
        drop(runtime);
        sender.send(result).is_ok()
    });
    match receiver.await {
        Ok(result) => result,
        // The sender is gone because the future panicked: that panic is the case's.
        Err(_) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(_) => unreachable!("the thread sends unless it panics"),
        },
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime can be built")
}
