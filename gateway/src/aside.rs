//! Work that may hang, because a disk or an adapter does: done beside everything else, and waited for by nobody who does not want to.

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

/// Does something in a thread of its own, which bears this name: neither a door nor the end of the program has to wait for it.
/// None comes where no thread could be had, or it panicked.
pub(crate) fn aside<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> oneshot::Receiver<T> {
    let (done, answer) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned());
    // Whoever asked may have gone.
    let begun = thread.spawn(move || drop(done.send(work())));
    if let Err(error) = begun {
        tracing::error!("no thread for the {name}: {error}");
    }
    answer
}

/// Whether something that was begun so still goes on; forgotten when it does not.
pub(crate) fn goes_on(begun: &mut Option<oneshot::Receiver<()>>) -> bool {
    let going = begun.as_mut().is_some_and(|it| it.try_recv() == Err(TryRecvError::Empty));
    if !going {
        *begun = None;
    }
    going
}

/// What comes of something that was begun so, once; never where nothing was, and none where it came to nothing.
pub(crate) async fn comes<T>(begun: &mut Option<oneshot::Receiver<T>>) -> Option<T> {
    let Some(answer) = begun else { return std::future::pending().await };
    let came = answer.await.ok();
    *begun = None;
    came
}
