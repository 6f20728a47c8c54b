//! Drives the MQTT connection, and connects again after it broke.
//!
//! A task of its own beside the session, because the client library's event loop must not be cancelled half
//! way, and must run for anything to be sent. Never looks into a message.

use std::time::Duration;

use rumqttc::{ConnectReturnCode, Event, EventLoop, Outgoing, Packet, Publish};
use tokio::sync::mpsc::UnboundedSender;

/// Between attempts to connect.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// What happened on the connection.
#[derive(Debug)]
pub(super) enum Note {
    /// The broker accepted the connection.
    Up,
    /// The subscriptions stand.
    Subscribed,
    /// A message came.
    Message(Publish),
    /// The connection broke, or could not be made.
    Down,
}

/// Runs until the client has sent its DISCONNECT, or the session has gone.
pub(super) async fn pump(mut event_loop: EventLoop, notes: UnboundedSender<Note>) {
    let mut told = String::new();
    loop {
        let note = match event_loop.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(ack))) if ack.code == ConnectReturnCode::Success => Note::Up,
            Ok(Event::Incoming(Packet::SubAck(_))) => Note::Subscribed,
            Ok(Event::Incoming(Packet::Publish(message))) => Note::Message(message),
            Ok(Event::Outgoing(Outgoing::Disconnect)) => return,
            Ok(_) => continue,
            Err(error) => {
                let reason = error.to_string();
                if reason != told {
                    tracing::warn!("no connection: {reason}; trying again");
                    told = reason;
                }
                if notes.send(Note::Down).is_err() {
                    return;
                }
                tokio::time::sleep(AGAIN_AFTER).await;
                continue;
            }
        };
        if notes.send(note).is_err() {
            return;
        }
    }
}
