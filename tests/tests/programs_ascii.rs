//! A serial reader that just prints card numbers, with programs as they are installed.

use jiff::{SignedDuration, Timestamp};
use rollcall_tests::programs::site::*;
use rollcall_tests::programs::{Program, until};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_that_lies_at_an_rdm6300_is_one_swipe_and_its_light_follows() {
    let site = Site::new().await;
    let mut hub = site.hub().await;
    let reader = json!({"code": "D3", "gateway": "GW-A", "room": "R1", "kind": "ASCII"});
    site.client.save("readers", json!([reader])).await;
    let from = (Timestamp::now() - SignedDuration::from_hours(48)).to_string();
    let credential = json!({"bits": 40, "raw": "62E3086CED"});
    let card = json!({"code": "K-FOB", "student": "S1", "credentials": [credential], "from": from});
    site.client.save("cards", json!([card])).await;
    let mut reader = Program::start(SIMULATOR, &["reader", "--ascii", "new", "--code", "D3"]);
    let port = reader.line_with("pty ").await.replace("pty ", "");
    let ascii = format!(
        "[[ascii]]\ncode = 'D3'\nport = '{port}'\nmodel = 'rdm6300'\n[ascii.light]\noff = '4f'\nblue = '42'\n\
         green = '47'\nred = '52'\namber = '41'\n"
    );
    site.write_config(&format!("http://127.0.0.1:{}", site.hub_port), "", &ascii);
    let mut gateway = site.gateway();
    reader.line_with("light blue").await;
    // Said again, for one that lost its power in between.
    reader.line_with("light blue").await;
    assert_eq!(flashes(&mut reader, "raw 40 62E3086CED").await, "flash green", "{}", gateway.all());
    reader.line_with("light blue").await;
    assert_eq!(flashes(&mut reader, "raw 40 0000000001").await, "flash red");
    reader.say("uid 04A1B2C3D40001").await;
    reader.line_with("error: an RDM6300 shows cards of 40 bits").await;

    site.swipes_are(2).await;
    let swipes = site.swipes().await;
    assert_eq!(numbers_and_lights(&swipes), [(Some("S1"), "GREEN"), (None, "RED")]);
    let present = until("the register", || site.present("NOW"), |present| !present.is_empty()).await;
    assert_eq!(present, ["S1"]);
    let state =
        || site.client.ask("{ readers(filter: {kinds: [ASCII]}) { nodes { kind state } } }", json!({}));
    let online = |found: &serde_json::Value| found["readers"]["nodes"][0]["state"] == "ONLINE";
    let found = until("the reader's state", state, online).await;
    assert_eq!(found["readers"]["nodes"][0]["kind"], "ASCII");
    reader.forget();
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    reader.line_with("light off").await;
    assert_eq!(hub.interrupt().await, Some(0), "{}", hub.all());
}
