//! Serial ports and the MQTT broker's address: there, allowed, free.

use std::fs;
use std::path::Path;

use super::Finding;
use crate::config::Config;
use crate::keys::ReaderKeys;

/// Milliseconds that an adapter waits for more before it hands over what it has; more than this delays every reply.
const LATENCY_MS: u32 = 4;

pub(super) fn check(config: &Config, running: bool, say: &mut impl FnMut(Finding)) {
    let lines = config.buses.iter().map(|bus| (&bus.port, bus.baud));
    for (port, baud) in lines.chain(config.ascii.iter().map(|reader| (&reader.port, reader.baud))) {
        let name = port.display();
        match fs::canonicalize(port) {
            Err(error) => say(Finding::fail(
                "port",
                format!("{name}: {error}"),
                "is the adapter plugged in? ls -l /dev/serial/by-id shows those that are",
            )),
            Ok(device) => {
                say(if running {
                    Finding::pass("port", format!("{name} is there"))
                } else {
                    open(port, baud)
                });
                steady(port, &device, say);
            }
        }
    }
    if let Err(error) = config.page.password() {
        let advice = "chown it to the user of the service, or take page.password_file out; there is no page without it";
        say(Finding::fail("page", format!("{error:#}"), advice));
    }
    if let (Some(mqtt), false) = (&config.mqtt, running) {
        let gate = mqtt.gate.as_ref().map(|gate| (gate.listen, "the readers' gate"));
        for (listen, whose) in [(mqtt.listen, "the broker")].into_iter().chain(gate) {
            say(match std::net::TcpListener::bind(listen) {
                Ok(_) => Finding::pass("mqtt", format!("{listen} is free for {whose}")),
                Err(error) => Finding::fail(
                    "mqtt",
                    format!("{listen} cannot be listened on: {error}"),
                    "stop the other broker (systemctl disable --now mosquitto), or say another listen below [mqtt]",
                ),
            });
        }
    }
    keys(config, say);
}

/// Whether each OSDP reader has a key of its own.
fn keys(config: &Config, say: &mut impl FnMut(Finding)) {
    let keys = match ReaderKeys::load(&config.data) {
        Ok(keys) => keys,
        Err(error) => {
            let advice = "no line is served before that; a key that is lost is made anew: rollcall-gateway reader keyset";
            return say(Finding::fail("key", format!("{error:#}"), advice));
        }
    };
    let readers: Vec<&str> =
        config.buses.iter().flat_map(|bus| &bus.readers).map(|reader| reader.code.as_str()).collect();
    let bare: Vec<&str> = readers.iter().copied().filter(|code| keys.key(code).is_none()).collect();
    if let Some(first) = bare.first() {
        say(Finding::warn(
            "key",
            format!(
                "{} have no key: who reaches their wire can read cards and play them again",
                bare.join(", ")
            ),
            format!(
                "rollcall-gateway reader keyset {first}, and so on; a reader that knows no secure channel stays"
            ),
        ));
    } else if !readers.is_empty() {
        say(Finding::pass("key", format!("all {} OSDP readers have keys of their own", readers.len())));
    }
}

fn open(port: &Path, baud: u32) -> Finding {
    let name = port.display();
    match tokio_serial::new(port.to_string_lossy(), baud).open() {
        Ok(opened) => {
            let at = opened.baud_rate().unwrap_or(baud);
            Finding::pass("port", format!("{name} opens at {at} baud"))
        }
        Err(error) if error.kind == tokio_serial::ErrorKind::Io(std::io::ErrorKind::PermissionDenied) => {
            Finding::fail(
                "port",
                format!("{name}: {error}"),
                "usermod -aG dialout rollcall-gateway, and start the service again",
            )
        }
        Err(error) => Finding::fail(
            "port",
            format!("{name}: {error}"),
            "is another program on it? fuser -v PORT names it",
        ),
    }
}

/// What makes trouble later: a name that moves, an adapter that waits.
fn steady(port: &Path, device: &Path, say: &mut impl FnMut(Finding)) {
    let name = port.display();
    if port == device && device.to_string_lossy().contains("/ttyUSB") {
        say(Finding::warn(
            "port",
            format!("{name} may be another adapter after a restart"),
            "name it by /dev/serial/by-id/…, or by /dev/serial/by-path/… where two adapters are alike",
        ));
    }
    let Some(tty) = device.file_name() else { return };
    let timer = Path::new("/sys/class/tty").join(tty).join("device/latency_timer");
    let Some(latency) = fs::read_to_string(timer).ok().and_then(|text| text.trim().parse::<u32>().ok())
    else {
        return;
    };
    if latency > LATENCY_MS {
        say(Finding::warn(
            "port",
            format!("{name}: the adapter holds replies back for {latency} ms"),
            "a udev rule: ACTION==\"add\", SUBSYSTEM==\"usb-serial\", DRIVER==\"ftdi_sio\", ATTR{latency_timer}=\"1\"",
        ));
    }
}
