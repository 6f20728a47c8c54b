//! Runs a request together with what its loaders read, in one task: reads begin once the request can go on with
//! nothing else, so that one statement answers all that was asked by then.
//!
//! Nothing is spawned and no time passes: which questions share a statement depends on the query alone. A request that is
//! dropped takes its reads with it.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use async_graphql::parser::types::{ExecutableDocument, OperationType};
use async_graphql::{Pos, Request, Response};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, FuturesUnordered};
use futures_util::task::AtomicWaker;
use futures_util::{FutureExt, Stream, StreamExt};

use super::context::{Rows, coded};
use super::loader::Loaders;
use super::{HubSchema, wide};
use crate::service::Hub;

/// How often a request is polled in one go before others have their turn.
const TURNS: usize = 10_000;

type Read = BoxFuture<'static, ()>;

/// Reads that were asked for and have not begun.
#[derive(Clone, Default)]
struct Queue(Arc<Mutex<Vec<Read>>>);

impl Queue {
    fn push(&self, read: Read) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(read);
    }

    fn take(&self) -> Vec<Read> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Carries a request out over a hub.
pub async fn execute(schema: &HubSchema, mut request: Request, hub: Hub) -> Response {
    if let Some(refused) = too_wide(&mut request) {
        return refused;
    }
    let queue = Queue::default();
    let request = with_loaders(request, hub, &queue);
    Driven::new(schema.execute(request).boxed(), queue).await
}

/// Carries a request out over a hub, with one response or with many.
pub fn execute_stream(
    schema: &HubSchema,
    mut request: Request,
    hub: Hub,
) -> impl Stream<Item = Response> + Send + use<> {
    let queue = Queue::default();
    let responses = match too_wide(&mut request) {
        Some(refused) => stream::once(std::future::ready(refused)).boxed(),
        None => schema.execute_stream(with_loaders(request, hub, &queue)).boxed(),
    };
    Driven::new(responses, queue)
}

/// The answer to what no later step could bear to walk through. What does not parse is left to them.
fn too_wide(request: &mut Request) -> Option<Response> {
    let message = wide::refused(request.parsed_query().ok()?)?;
    let error = coded("BAD_USER_INPUT", message).into_server_error(Pos::default());
    Some(Response::from_errors(vec![error]))
}

fn with_loaders(mut request: Request, hub: Hub, queue: &Queue) -> Request {
    let asked = queue.clone();
    // The operation that is carried out; a subscription's answers have no end.
    let wanted = request.operation_name.clone();
    let answers_once = |document: &ExecutableDocument| {
        let mut all = document.operations.iter();
        !all.any(|(name, operation)| {
            operation.node.ty == OperationType::Subscription
                && wanted.as_ref().is_none_or(|wanted| name.is_none_or(|name| name.as_str() == wanted))
        })
    };
    if request.parsed_query().is_ok_and(answers_once) {
        request = request.data(Rows::default());
    }
    request.data(Loaders::new(hub.clone(), move |read| asked.push(read))).data(hub)
}

/// Tells whether the request itself was woken, and not one of its reads.
struct Woken {
    request: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.request.store(true, Ordering::Release);
        self.task.wake();
    }
}

/// A request and its reads.
struct Driven<F> {
    request: F,
    queue: Queue,
    reads: FuturesUnordered<Read>,
    woken: Arc<Woken>,
    waker: Waker,
}

impl<F: Unpin> Driven<F> {
    fn new(request: F, queue: Queue) -> Self {
        let woken = Arc::new(Woken { request: AtomicBool::new(true), task: AtomicWaker::new() });
        let waker = Waker::from(woken.clone());
        Self { request, queue, reads: FuturesUnordered::new(), woken, waker }
    }

    fn drive<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl Fn(&mut F, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.woken.task.register(cx.waker());
        for _ in 0..TURNS {
            // A long list is walked in stretches, after each of which it wakes itself.
            if self.woken.request.swap(false, Ordering::AcqRel) {
                if let Poll::Ready(value) = poll(&mut self.request, &mut Context::from_waker(&self.waker)) {
                    // A stream has more to say.
                    self.woken.request.store(true, Ordering::Release);
                    return Poll::Ready(value);
                }
                continue;
            }
            self.reads.extend(self.queue.take());
            match self.reads.poll_next_unpin(cx) {
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) | Poll::Pending => {
                    if !self.woken.request.load(Ordering::Acquire) {
                        return Poll::Pending;
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Future for Driven<BoxFuture<'_, Response>> {
    type Output = Response;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response> {
        self.get_mut().drive(cx, |request, cx| request.poll_unpin(cx))
    }
}

impl Stream for Driven<BoxStream<'static, Response>> {
    type Item = Response;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Response>> {
        self.get_mut().drive(cx, |request, cx| request.poll_next_unpin(cx))
    }
}
