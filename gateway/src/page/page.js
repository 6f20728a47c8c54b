"use strict";
const by = (id) => document.getElementById(id);
const make = (name, text, style) => {
  const element = document.createElement(name);
  element.textContent = text ?? "";
  if (style) element.className = style;
  return element;
};
const clock = (at) => (at ? new Date(at).toLocaleTimeString() : "–");
const size = (bytes) =>
  bytes == null ? "?" : bytes < 2 ** 30 ? `${Math.round(bytes / 2 ** 20)} MiB` : `${(bytes / 2 ** 30).toFixed(1)} GiB`;
const ago = (ms) =>
  ms == null ? "never" : ms < 120e3 ? `${Math.round(ms / 1e3)} s ago`
    : ms < 7200e3 ? `${Math.round(ms / 60e3)} min ago` : `${Math.round(ms / 3600e3)} h ago`;
const row = (cells) => {
  const line = document.createElement("tr");
  for (const cell of cells) {
    const field = document.createElement("td");
    field.append(cell);
    line.append(field);
  }
  return line;
};
const lamp = (light) => {
  const text = make("span", "");
  text.append(make("span", "", `lamp ${light}`), light);
  return text;
};
const words = (reason) => reason.toLowerCase().replaceAll("_", " ");

function show(look) {
  by("gateway").textContent = look.gateway;
  document.title = `${look.gateway} · Rollcall gateway`;
  const { clock: time, journal, cache, hub } = look;
  const facts = [
    ["Clock", `${new Date(time.at).toLocaleString()} (${time.trust}` +
      (time.uncertaintyMs == null ? ", time not known)" : time.uncertaintyMs ? `, within ${time.uncertaintyMs} ms)` : ")"),
      time.trust === "untrusted"],
    ["Hub", hub.failing ? `not reached: ${hub.failing}` : hub.heardAt ? `heard at ${clock(hub.heardAt)}` : "not heard yet",
      Boolean(hub.failing)],
    ["To hand over", `${hub.backlog} records`, false],
    ["Timetable", `${cache.sessions} sessions, ${cache.cards} cards; as the hub has it ${ago(cache.ageMs)}`,
      cache.sessions === 0 && !cache.currentAt],
    ["Journal", `${size(journal.usedBytes)} of ${size(journal.quotaBytes)}, last record ${journal.lastRecord}; ` +
      `${size(journal.freeBytes)} free on the disk` + (journal.diskFull ? "; the disk is full" : ""), journal.diskFull],
    ["Program", `version ${look.version}`, false],
  ];
  if (journal.refusingSince) facts.unshift(["Refusing", `swipes are refused since ${clock(journal.refusingSince)}: no room`, true]);
  if (journal.damagedSegments) facts.push(["Damage", `${journal.damagedSegments} segments of the journal are damaged`, true]);
  by("now").replaceChildren(
    ...facts.flatMap(([name, text, bad]) => [make("dt", name), make("dd", text, bad ? "bad" : "")]));
  by("readers").replaceChildren(...look.readers.map((reader) => row([
    reader.code,
    lamp(reader.light),
    make("span", reader.online ? "online" : "offline", reader.online ? "good" : "bad"),
    clock(reader.lastSwipe),
    reader.line ? `${reader.line.replyMs.toFixed(1)} ms` : "–",
    reader.line ? `${reader.line.timeouts} of ${reader.line.sent}` : "–",
    reader.line ? (reader.line.secured ? "encrypted" : "clear text") : "–",
    reader.firmware ?? "–",
  ])));
  by("swipes").replaceChildren(...look.swipes.map((swipe) =>
    row([clock(swipe.at), swipe.reader, lamp(swipe.light), words(swipe.reason), `${swipe.card}…`])));
}

const live = (text, bad) => {
  by("live").textContent = text;
  by("live").className = bad ? "bad" : "";
};
const events = new EventSource("events");
events.onmessage = (event) => {
  live("live");
  show(JSON.parse(event.data));
};
events.addEventListener("silent", () => live("the gateway does not answer", true));
events.onerror = () => live("no connection to the gateway; trying again", true);
