"use strict";
const at = (id) => document.getElementById(id);
const facts = JSON.parse(at("facts").textContent);
const token = encodeURIComponent(new URLSearchParams(location.search).get("token"));
// Photos come again, frames of a camera do not.
const recurring = facts.total !== null;
const [one, many] = recurring ? ["photo", "photos"] : ["frame", "frames"];
const percent = (share, digits = 2) => `${(100 * share).toFixed(digits)} %`;
const points = (share) => `${(100 * share).toFixed(2)} points`;
let paused = false;

function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function set(id, text) {
  if (at(id).textContent !== text) at(id).textContent = text;
}

// The parts that stay: a card for each bundle, and what the figures include.
const cards = facts.bundles.map((bundle, index) => {
  const card = document.createElement("section");
  const title = element("h2", bundle.name);
  title.id = `bundle${index}`;
  card.setAttribute("aria-labelledby", title.id);
  const list = document.createElement("ol");
  const time = element("p", "", "figure");
  const p50 = element("strong", "–");
  const words = element("span", "", "quiet");
  time.append(p50, " ", words);
  card.append(title, element("p", bundle.about, "quiet"), list, time);
  at("answers").append(card);
  return { card, list, p50, words };
});
for (const [name, words] of facts.included) at("included").append(element("dt", name), element("dd", words));
at("machine").textContent = facts.machine;
at("change").hidden = facts.bundles.length < 2;
at("rate-words").textContent = `${many} per second`;
if (!recurring) at("previous").hidden = true;

function showAnswer(card, answer) {
  card.list.replaceChildren(...answer.classes.map((one) => {
    const row = document.createElement("li");
    const bar = element("span", "", "bar");
    bar.style.width = `${100 * one.probability}%`;
    row.append(bar, element("span", one.label, "label"), element("span", percent(one.probability), "percent"));
    return row;
  }));
  card.p50.textContent = `${answer.p50_ms.toFixed(2)} ms`;
  card.words.textContent = answer.samples > 1 ? `p50 of the last ${answer.samples} inferences` : "the first inference";
}

function showChange(change) {
  set("changed", `${change.changed} of ${change.photos}`);
  set("changed-words", `${many} so far have another first class`);
  const words = `For this ${one}, the first class ${change.first_differs ? "differs" : "is the same"}; the greatest ` +
    `difference of a probability is ${points(change.difference)}.`;
  set("differs", words);
  at("differs").className = change.first_differs ? "alarm" : "";
  at("change").classList.toggle("differs", change.first_differs);
  set("differences", `Over the ${many} so far, it is ${points(change.mean_difference)} on average, and at most ` +
    `${points(change.greatest_difference)} (${change.greatest_photo}).`);
}

function showState(state) {
  paused = state.paused;
  set("pause-word", paused ? "Go on" : "Pause");
  at("pause").disabled = at("next").disabled = state.ended;
  const skipped = state.skipped ? `${state.skipped} ${state.skipped === 1 ? one : many} skipped. The latest: ${state.notice}` : "";
  set("notice", state.ended ? "The video has no more frames." : skipped);
  const shown = state.shown;
  if (!shown) return;
  at("picture").src = state.picture;
  at("picture").alt = shown.truth === null ? `The ${one} ${shown.photo}` : `The photo ${shown.photo}, labelled ${shown.truth}`;
  at("picture").hidden = false;
  set("photo", shown.photo);
  at("photo").title = shown.photo;
  set("truth", shown.truth === null ? "" : `labelled ${shown.truth}`);
  set("place", !recurring ? "" : `${shown.place} of ${facts.total}`);
  shown.answers.forEach((answer, index) => showAnswer(cards[index], answer));
  if (shown.change) showChange(shown.change);
  set("rate", shown.per_second === null ? "–" : shown.per_second.toFixed(1));
  set("work", `${shown.work_ms.toFixed(2)} ms is the median time of the work for a ${one}.`);
}

const events = new EventSource(`events?token=${token}`);
events.onmessage = (event) => showState(JSON.parse(event.data));
events.onerror = () => set("notice", "The connection to xedge demo is lost; it may have ended.");

function control(action) {
  fetch(`control?token=${token}`, { method: "POST", body: action }).catch(() => events.onerror());
}
at("previous").onclick = () => control("previous");
at("next").onclick = () => control("next");
at("pause").onclick = () => control(paused ? "resume" : "pause");

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const on = event.target.closest("button, summary, a");
  if (event.key === "ArrowLeft" && recurring) control("previous");
  else if (event.key === "ArrowRight") control("next");
  else if (event.key === " " && !on) control(paused ? "resume" : "pause");
  else return;
  event.preventDefault();
});
