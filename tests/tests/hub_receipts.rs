//! Signed journals: receipts that prove a swipe, and what a signature that does not hold brings about.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop at once, and say where")]

use rollcall_gateway::core::hex;
use rollcall_gateway::journal::format::chain;
use rollcall_gateway::uplink::sign::SigningKey;
use rollcall_hub::service::intake::evidence::Evidence;
use rollcall_tests::hub::{at, ms};
use rollcall_tests::timetable::{Gateway, alerts, class, send};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A journal of one batch with its signature, as the gateway makes it.
fn signed(key: &SigningKey, swipes: &mut [Value]) -> Value {
    let before = [3u8; 32];
    let (mut value, mut links) = (before, Vec::new());
    let first = swipes[0]["sequence"].as_u64().unwrap();
    for (sequence, swipe) in (first..).zip(swipes.iter_mut()) {
        let record = json!({"t": "swipe", "id": swipe["swipeId"]}).to_string();
        value = chain(&value, sequence, record.as_bytes());
        links.push(hex(&Sha256::digest(record.as_bytes())));
        (swipe["record"], swipe["chain"]) = (json!(record), json!(hex(&value)));
    }
    let through = first + swipes.len() as u64 - 1;
    let signed_at = ms(&at("11:00"));
    let signature = key.sign(Uuid::from_u128(7), through, &value, signed_at);
    json!({
        "journal": {"journalId": Uuid::from_u128(7), "after": null, "through": through, "chain": hex(&value)},
        "head": {"chainBefore": hex(&before), "links": links, "signedAt": at("11:00"), "signature": signature,
                 "publicKey": key.public()},
    })
}

#[tokio::test]
async fn a_receipt_proves_a_swipe_by_the_gateways_key_alone_and_nothing_in_it_can_be_changed() {
    let (hub, mut gateway, held) = class().await;
    hub.clock.set(&at("12:00"));
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::load(&folder.path().join("key")).unwrap();
    assert_eq!(SigningKey::load(&folder.path().join("key")).unwrap().public(), key.public());
    let mut swipes: Vec<Value> = (0..3).map(|it| gateway.swipe(it, 0, &at("10:01"), &[&held])).collect();
    let head = signed(&key, &mut swipes);
    send(&hub, &gateway, &swipes, &at("11:00"), head).await;
    let id = swipes[1]["swipeId"].as_str().unwrap();
    let found =
        hub.read(&format!("{{ swipe(id: \"{id}\") {{ receipt {{ file publicKey sequence }} }} }}")).await;
    let receipt = &found["swipe"]["receipt"];
    assert_eq!(receipt["publicKey"], key.public());
    let evidence: Evidence = serde_json::from_str(receipt["file"].as_str().unwrap()).unwrap();
    assert_eq!(evidence.check(Some(&key.public())), Ok(()));
    assert!(evidence.check(Some(&"0".repeat(64))).unwrap_err().contains("another gateway's key"));
    let harmed: [(&str, fn(&mut Evidence)); 6] = [
        ("record", |it| it.record.push(' ')),
        ("signature", |it| it.sequence += 1),
        ("signature", |it| it.links[0].replace_range(0..2, "00")),
        ("signature", |it| it.signed_at += 1),
        ("signature", |it| it.chain_before.replace_range(0..2, "00")),
        ("signature", |it| it.journal_id = Uuid::from_u128(1)),
    ];
    for (index, (named, harm)) in harmed.into_iter().enumerate() {
        let mut changed = evidence.clone();
        harm(&mut changed);
        let error = changed.check(None).unwrap_err();
        assert!(error.starts_with(named) || error.starts_with("record"), "{index}: {error}");
    }
    assert_eq!(alerts(&hub).await, [""; 0]);
}

#[tokio::test]
async fn of_a_cloned_journal_a_swipe_has_the_receipt_that_was_signed_over_it_or_none() {
    let (hub, mut gateway, held) = class().await;
    hub.clock.set(&at("12:00"));
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::load(&folder.path().join("key")).unwrap();
    let mut swipes = [gateway.swipe(0, 0, &at("10:01"), &[&held])];
    let head = signed(&key, &mut swipes);
    send(&hub, &gateway, &swipes, &at("11:00"), head).await;
    // The clone goes on under the same journal and number, and signs nothing.
    let mut clone = [gateway.swipe(1, 0, &at("10:02"), &[&held])];
    clone[0]["sequence"] = swipes[0]["sequence"].clone();
    let mut more = signed(&key, &mut clone);
    more["head"] = Value::Null;
    let sent = send(&hub, &gateway, &clone, &at("11:00"), more).await;
    assert_eq!(sent["receipts"], json!([{"outcome": "STORED"}]));
    let found = hub.read("{ swipes { nodes { student { number } receipt { sequence } } } }").await;
    let mut found: Vec<(&Value, bool)> = found["swipes"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (&it["student"]["number"], it["receipt"].is_null()))
        .collect();
    found.sort_by_key(|(_, none)| *none);
    assert_eq!(found, [(&json!("S00000"), false), (&json!("S00001"), true)]);
}

#[tokio::test]
async fn nobody_signs_over_what_a_gateway_signed() {
    let (hub, mut gateway, held) = class().await;
    hub.clock.set(&at("12:00"));
    let folder = tempfile::tempdir().unwrap();
    let key = |name: &str| SigningKey::load(&folder.path().join(name)).unwrap();
    let mut swipes = vec![gateway.swipe(0, 0, &at("10:01"), &[&held])];
    let head = signed(&key("own"), &mut swipes);
    send(&hub, &gateway, &swipes, &at("11:00"), head).await;
    let own = swipes[0]["swipeId"].as_str().unwrap().to_owned();
    // Another gateway, and then another key, over a stretch that reaches further.
    hub.done("saveGateways", json!({"gateways": [{"code": "GW2", "building": "A"}]})).await;
    let reader = json!({"code": "D9", "gateway": "GW2", "room": "R1", "kind": "OSDP"});
    hub.done("saveReaders", json!({"readers": [reader]})).await;
    let mut other = Gateway::start(&hub, "GW2").await;
    for sender in [&mut other, &mut gateway] {
        let mut further = [swipes[0].clone(), sender.swipe(1, 0, &at("10:02"), &[&held])];
        further[1]["sequence"] = json!(swipes[0]["sequence"].as_u64().unwrap() + 1);
        let head = signed(&key("another"), &mut further);
        let input = {
            let mut input = sender.batch(&further[1..], &at("11:00"));
            input.as_object_mut().unwrap().extend(head.as_object().unwrap().clone());
            input
        };
        hub.write_as(&sender.token, "gatewaySubmitSwipes receipts { outcome }", input).await;
        let found = hub.read(&format!("{{ swipe(id: \"{own}\") {{ receipt {{ publicKey }} }} }}")).await;
        assert_eq!(found["swipe"]["receipt"]["publicKey"], key("own").public());
    }
}

#[tokio::test]
async fn a_signature_that_does_not_hold_or_a_new_key_is_an_alert_and_holds_up_no_swipe() {
    let (hub, mut gateway, held) = class().await;
    hub.clock.set(&at("12:00"));
    let folder = tempfile::tempdir().unwrap();
    for (name, spoil, wanted) in [
        ("a", false, vec![]),
        ("a", true, vec!["BAD_SIGNATURE"]),
        ("b", false, vec!["BAD_SIGNATURE", "KEY_CHANGED"]),
    ] {
        let key = SigningKey::load(&folder.path().join(name)).unwrap();
        let mut swipes = [gateway.swipe(0, 0, &at("10:01"), &[&held])];
        let mut more = signed(&key, &mut swipes);
        if spoil {
            more["head"]["signedAt"] = json!(at("11:01"));
        }
        let sent = send(&hub, &gateway, &swipes, &at("11:00"), more).await;
        assert_eq!(sent["receipts"], json!([{"outcome": "STORED"}]));
        let mut found = alerts(&hub).await;
        found.sort();
        assert_eq!(found, wanted);
    }
}
