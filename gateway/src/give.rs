//! How two tasks that give each other things through bounded channels never wait for each other.

use tokio::sync::mpsc;

/// Gives something to a task that may just now be waiting to give something in turn: what comes from it is taken meanwhile. Nothing
/// happens where nobody is left to take it.
///
/// One of two that give each other things must do so, or both wait for good once both channels are full.
pub(crate) async fn give_and_take<T, O>(
    to: &mpsc::Sender<T>,
    what: T,
    from: &mut mpsc::Receiver<O>,
    mut take: impl FnMut(O),
) {
    loop {
        tokio::select! {
            biased;
            permit = to.reserve() => {
                if let Ok(permit) = permit {
                    permit.send(what);
                }
                return;
            }
            Some(order) = from.recv() => take(order),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn two_that_give_each_other_more_than_there_is_room_for_do_not_wait_for_each_other() {
        const COUNT: usize = 1_000;
        let (events, mut heard) = mpsc::channel(1);
        let (orders, mut taken) = mpsc::channel(1);
        // As the main loop: some orders for each event, and nothing else while there is no room for them.
        let mind = tokio::spawn(async move {
            while let Some(event) = heard.recv().await {
                for _ in 0..3 {
                    orders.send(event).await.unwrap();
                }
            }
        });
        let line = async {
            let mut orders = 0;
            for event in 0..COUNT {
                give_and_take(&events, event, &mut taken, |_| orders += 1).await;
            }
            drop(events);
            while taken.recv().await.is_some() {
                orders += 1;
            }
            orders
        };
        let orders = tokio::time::timeout(Duration::from_secs(60), line).await;
        assert_eq!(orders.ok(), Some(3 * COUNT), "they wait for each other");
        mind.await.unwrap();
    }
}
