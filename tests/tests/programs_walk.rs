//! `rollcall-gateway walk`: an installer goes from door to door while the gateway runs; the hub keeps the report.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use rollcall_tests::programs::site::*;
use rollcall_tests::programs::{Program, run};
use serde_json::{Value, json};

const KEPT: &str =
    "{ gateways { nodes { commissionings { nodes { readerCode installer passed steps { step result note } } }
    readers { code commissionings { nodes { passed } } } } } }";

async fn answered(walk: &mut Program, question: &str, answer: &str) {
    walk.line_with(question).await;
    walk.say(answer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lights_buzzer_and_a_card_are_seen_at_every_kind_of_door_and_the_hub_keeps_what_was_said() {
    let site = Site::new().await;
    let mut hub = site.hub().await;
    let (mut osdp, port) = osdp_reader().await;
    site.configure(Some(&port));
    let mut gateway = site.gateway();
    let mut mqtt = site.mqtt_reader();
    osdp.line_with("light blue").await;
    mqtt.line_with("light blue").await;

    // Students would take these lights for an answer.
    let (config, folder) = (site.config(), site.path("reports").to_str().unwrap().to_owned());
    let words = ["walk", "--installer", "A. Smith", "--config", &config, "--report", &folder];
    let refused = run(GATEWAY, &words).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.out.contains("a session is open at D1"), "{refused:?}");
    let unknown = run(GATEWAY, &[&words[..], &["--reader", "D9"]].concat()).await;
    failed_naming(&unknown, &["no reader D9", "D1, D2"]);

    let mut walk = Program::start(GATEWAY, &[&words[..], &["--during-teaching"]].concat());
    walk.line_with("door 1 of 2: D1 (osdp), it answers").await;
    answered(&mut walk, "steady blue?", "y").await;
    for (question, shown) in
        [("flash green?", "flash green"), ("flash red?", "flash red"), ("flash amber?", "flash amber")]
    {
        walk.line_with(question).await;
        osdp.line_with(shown).await;
        walk.say("y").await;
    }
    walk.line_with("beep three times?").await;
    osdp.line_with("flash amber").await;
    osdp.line_with("buzzer").await;
    walk.say("maybe").await;
    walk.line_with("'maybe' is none of").await;
    answered(&mut walk, "beep three times?", "y").await;
    walk.line_with("hold a card to D1").await;
    assert_eq!(flashes(&mut osdp, CARDS[0]).await, "flash green");
    walk.line_with("it was read: 56 bits, green (RECORDED)").await;
    answered(&mut walk, "in that colour?", "y").await;

    walk.line_with("door 2 of 2: D2 (mqtt), it answers").await;
    answered(&mut walk, "steady blue?", "y").await;
    walk.line_with("flash green?").await;
    mqtt.line_with("flash green").await;
    walk.say("n").await;
    answered(&mut walk, "flash red?", "s").await;
    answered(&mut walk, "flash amber?", "q").await;
    walk.line_with("NOT everything was as it should be").await;
    walk.line_with("handed over").await;
    assert_eq!(walk.ended().await, Some(1), "{}", walk.all());

    let kept = site.client.ask(KEPT, json!({})).await;
    let gateways = kept["gateways"]["nodes"].as_array().unwrap();
    let of = |reader: &str, passed: bool| -> Vec<Value> {
        let all = gateways[0]["commissionings"]["nodes"].as_array().unwrap().iter();
        all.filter(|it| it["readerCode"] == reader && it["passed"] == passed).cloned().collect()
    };
    assert_eq!(of("D1", true)[0]["installer"], "A. Smith");
    assert_eq!(
        of("D1", true)[0]["steps"][5],
        json!({"step": "CARD", "result": "PASSED", "note": "56 bits, green (RECORDED)"})
    );
    let mqtt_door =
        of("D2", false).into_iter().find(|it| it["steps"].as_array().unwrap().len() == 3).unwrap();
    let results: Vec<&Value> =
        mqtt_door["steps"].as_array().unwrap().iter().map(|it| &it["result"]).collect();
    assert_eq!(results, ["PASSED", "FAILED", "SKIPPED"]);
    assert_eq!(
        gateways[0]["readers"][0]["commissionings"]["nodes"],
        json!([{"passed": false}, {"passed": true}])
    );
    // A test light is no swipe.
    assert_eq!(site.swipes_are(1).await.len(), 1);

    // Without the hub the report waits in its file; handed over later, twice, it is there once.
    assert_eq!(hub.interrupt().await, Some(0));
    let only = [&words[..], &["--during-teaching", "--reader", "D2"]].concat();
    let mut alone = Program::start(GATEWAY, &only);
    answered(&mut alone, "steady blue?", "n").await;
    answered(&mut alone, "flash green?", "q").await;
    let line = alone.line_with("NOT handed over").await;
    let file = line.rsplit(' ').next().unwrap().to_owned();
    assert_eq!(alone.ended().await, Some(1));
    let mut hub = site.hub().await;
    for _ in 0..2 {
        let sent = run(GATEWAY, &["walk", "--send", &file, "--config", &config]).await;
        assert_eq!(sent.code, Some(0), "{sent:?}");
    }
    let kept = site.client.ask(KEPT, json!({})).await;
    let all = kept["gateways"]["nodes"][0]["commissionings"]["nodes"].as_array().unwrap().len();
    assert_eq!(all, 2 + 2 + 1);
    let text = std::fs::read_to_string(file.replace(".json", ".txt")).unwrap();
    assert!(text.contains("blue   FAIL") && text.contains("by A. Smith"), "{text}");

    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    let gone = run(GATEWAY, &words).await;
    failed_naming(&gone, &["no gateway runs on", "systemctl start"]);
    assert_eq!(hub.interrupt().await, Some(0));
}
