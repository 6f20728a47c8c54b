//! The three programs as they are installed: real processes, real clocks, real sockets, a real pty.

use rollcall_tests::programs::site::*;
use rollcall_tests::programs::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cards_at_both_kinds_of_reader_are_answered_and_each_stands_once_in_the_hub() {
    let site = Site::new().await;
    let mut hub = site.hub().await;
    let (mut osdp, port) = osdp_reader().await;
    site.configure(Some(&port));
    let mut gateway = site.gateway();
    let mut mqtt = site.mqtt_reader();
    osdp.line_with("light blue").await;
    mqtt.line_with("light blue").await;

    assert_eq!(flashes(&mut osdp, CARDS[0]).await, "flash green");
    assert_eq!(flashes(&mut osdp, CARDS[1]).await, "flash green");
    assert_eq!(flashes(&mut osdp, NOBODYS).await, "flash red");
    assert_eq!(flashes(&mut mqtt, CARDS[2]).await, "flash green");
    assert_eq!(mqtt.line_with("ack ").await, "ack 1 recorded");
    assert_eq!(flashes(&mut mqtt, CARDS[4]).await, "flash red");
    assert_eq!(mqtt.line_with("ack ").await, "ack 2 not_recorded");
    osdp.say("uid 04").await;
    osdp.line_with("error: a UID has 4, 7 or 10 bytes").await;

    let present = until("the register", || site.present("NOW"), |present| present.len() >= 3).await;
    assert_eq!(present, ["S1", "S2", "S3"]);
    site.swipes_are(5).await;
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    osdp.line_with("light off").await;
    mqtt.line_with("light off").await;
    let swipes = site.swipes().await;
    let wanted = [
        (Some("S1"), "GREEN"),
        (Some("S2"), "GREEN"),
        (None, "RED"),
        (Some("S3"), "GREEN"),
        (Some("S5"), "RED"),
    ];
    assert_eq!(numbers_and_lights(&swipes), wanted);
    assert_eq!(site.present("BEFORE").await, Vec::<String>::new());
    assert_eq!(osdp.take_with("flash"), Vec::<String>::new());
    assert_eq!(mqtt.take_with("flash"), Vec::<String>::new());
    for program in [&mut osdp, &mut mqtt, &mut hub] {
        assert_eq!(program.interrupt().await, Some(0), "{}", program.all());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_door_without_its_hub_works_on_also_after_a_restart_and_hands_everything_over_once() {
    let site = Site::new().await;
    let mut hub = site.hub().await;
    let (mut osdp, port) = osdp_reader().await;
    site.configure(Some(&port));
    let mut gateway = site.gateway();
    osdp.line_with("light blue").await;
    assert_eq!(flashes(&mut osdp, CARDS[0]).await, "flash green");
    site.swipes_are(1).await;
    assert_eq!(hub.interrupt().await, Some(0), "{}", hub.all());

    assert_eq!(flashes(&mut osdp, CARDS[1]).await, "flash green");
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    osdp.line_with("light off").await;
    osdp.forget();
    let mut gateway = site.gateway();
    osdp.line_with("light blue").await;
    let flash = flashes(&mut osdp, CARDS[2]).await;
    assert_eq!(flash, "flash green", "{}\n{}", gateway.all(), osdp.all());
    assert_eq!(flashes(&mut osdp, CARDS[1]).await, "flash green");
    assert_eq!(flashes(&mut osdp, CARDS[4]).await, "flash red");
    gateway.line_with("the hub cannot be reached").await;

    let mut hub = site.hub().await;
    site.swipes_are(5).await;
    let present = until("the register", || site.present("NOW"), |present| present.len() >= 3).await;
    assert_eq!(present, ["S1", "S2", "S3"]);
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    let swipes = site.swipes().await;
    let seen: Vec<Option<&str>> = numbers_and_lights(&swipes).into_iter().map(|(number, _)| number).collect();
    assert_eq!(seen, [Some("S1"), Some("S2"), Some("S3"), Some("S2"), Some("S5")]);
    assert_eq!(
        swipes[3]["shown"]["reason"], "ALREADY_RECORDED",
        "what was green before the restart is still known"
    );
    assert_eq!(hub.interrupt().await, Some(0), "{}", hub.all());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_killed_right_after_green_has_the_swipe_and_the_hub_gets_it_once() {
    let site = Site::new().await;
    let _hub = site.hub().await;
    let (mut osdp, port) = osdp_reader().await;
    site.configure(Some(&port));
    for (round, card) in (1..).zip(&CARDS[..4]) {
        let mut gateway = site.gateway();
        gateway.line_with("reader online").await;
        if round == 1 {
            osdp.line_with("light blue").await;
        }
        assert_eq!(flashes(&mut osdp, card).await, "flash green", "{}", gateway.all());
        gateway.kill().await;
    }
    let mut gateway = site.gateway();
    site.swipes_are(4).await;
    until("the register", || site.present("NOW"), |present| present.len() == 4).await;
    assert_eq!(gateway.interrupt().await, Some(0), "{}", gateway.all());
    let swipes = site.swipes().await;
    let wanted = ["S1", "S2", "S3", "S4"].map(|number| (Some(number), "GREEN"));
    assert_eq!(numbers_and_lights(&swipes), wanted);
    assert!(!gateway.all().contains("damaged"), "{}", gateway.all());
}
