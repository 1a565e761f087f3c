"use strict";
const $ = id => document.getElementById(id);
const about = JSON.parse($("about").textContent);
const still = JSON.parse($("still").textContent);
const words = {policy: "the policy's", data: "the episode's own", random: "random", zero: "zero"};
const keys = ["qa", "ws", "ed", "rf", "tg", "yh", "uj", "ik"];

// --- what is shown now

let at = null;      // the moment: {source, number, entry}
let moment = null;  // what the run says of it
let dream = null;   // this version
let past = [];      // the versions before, oldest first
const before = () => past.at(-1);
let plan = null;    // actions, edited further than the dream of them has come
let whole = [];     // the edited ones, also beyond the steps that are dreamt now
let simulated = null;
let kind = "policy", step = 0;

function el(name, attributes = {}, ...inside) {
  const svg = ["svg", "path", "line", "rect", "text"].includes(name);
  const found = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) found.addEventListener(key.slice(2), value);
    else if (value !== false && value !== null) found.setAttribute(key, value);
  }
  found.append(...inside);
  return found;
}
const number = x => Math.abs(x) >= 1000 ? x.toFixed(0) : Math.abs(x) >= 10 ? x.toFixed(1)
  : Math.abs(x) >= 0.1 || !x ? x.toFixed(2) : x.toFixed(3);
const worth = "later rewards counting less" + (about.counted ? `, each as ${about.counted}` : "");
const colour = member => about.colours[member % about.colours.length];

// --- asking

function complain(error) {
  $("trouble").textContent = error.message;
  $("trouble").hidden = false;
}
async function post(name, body) {
  const put = {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)};
  const answer = await fetch("/" + name, put).catch(() => {
    throw new Error("no answer: is eval.py --explore still running?");
  });
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error || answer.statusText);
  $("trouble").hidden = true;
  return answer;
}
const ask = async (name, body) => (await post(name, body)).json();

// Only one is under way; of those that come meanwhile the last one follows, the others never.
function latest(task) {
  let busy = false, waiting = null;
  return async function next(...given) {
    if (busy) return void (waiting = given);
    busy = true;
    try { await task(...given); } catch (error) { complain(error); }
    busy = false;
    if (waiting) { const one = waiting; waiting = null; next(...one); }
  };
}

// --- pictures: a strip has a row for each member and a column for each step

async function opened(strip) {
  if (!strip) return null;
  const image = new Image();
  image.src = strip.uri;
  await image.decode();
  return {...strip, image};
}
function paint(canvas, strip, row, column) {
  canvas.width = canvas.height = strip.side;
  const x = Math.min(column, strip.steps - 1) * strip.side, y = row * strip.side;
  canvas.getContext("2d").drawImage(strip.image, x, y, strip.side, strip.side, 0, 0, strip.side, strip.side);
}
function pixels(strip) {
  const canvas = el("canvas", {width: strip.image.width, height: strip.image.height});
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.drawImage(strip.image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}
// How much of each frame another version has otherwise: [rows][steps], 0 … 255.
function differences(now, old) {
  if (!now || !old || now.rows !== old.rows || now.steps !== old.steps) return null;
  const a = pixels(now).data, b = pixels(old).data, width = now.side * now.steps;
  const sums = Array.from({length: now.rows}, () => new Float64Array(now.steps));
  for (let i = 0; i < a.length; i += 4) {
    const p = i / 4, row = Math.floor(p / width / now.side), column = Math.floor(p % width / now.side);
    sums[row][column] += Math.abs(a[i] - b[i]) + Math.abs(a[i + 1] - b[i + 1]) + Math.abs(a[i + 2] - b[i + 2]);
  }
  return sums.map(row => Array.from(row, x => x / 3 / now.side ** 2));
}
function tint(canvas, row, column) {
  const old = el("canvas"), context = canvas.getContext("2d");
  paint(old, before().opened, row, column);
  const a = context.getImageData(0, 0, canvas.width, canvas.height);
  const b = old.getContext("2d").getImageData(0, 0, old.width, old.height);
  for (let i = 0; i < a.data.length; i += 4) {
    const d = Math.max(...[0, 1, 2].map(c => Math.abs(a.data[i + c] - b.data[i + c])));
    const share = Math.min(1, d / 64);
    [217, 119, 6].forEach((x, c) => { a.data[i + c] += share * (x - a.data[i + c]); });
  }
  context.putImageData(a, 0, 0);
}
function frame(name, strip, column, {row = 0, numbers = null, note = "", member = null, over = false} = {}) {
  const shades = {class: "frame" + (over ? " over" : "") + (strip && strip.side > 80 ? " smooth" : "")};
  const box = el("figure", shades);
  if (strip) {
    const canvas = el("canvas", {role: "img", "aria-label": name});
    paint(canvas, strip, row, column);
    box.append(canvas);
  } else {
    const at = numbers[row][Math.min(column, numbers[row].length - 1)];
    box.append(el("div", {class: "numbers"}, at.map(number).join("  ")));
  }
  const caption = el("figcaption", {}, el("span", {}, name), el("span", {class: "soft"}, note));
  if (member !== null) caption.firstChild.style.color = colour(member);
  box.append(caption);
  return box;
}

// --- the moment

function showMoment() {
  const strip = moment.opened, names = ["really", "the model's picture"];
  $("moment").replaceChildren(...names.map((name, row) => frame(name, strip, 0, {row, numbers: moment.numbers && moment.numbers.map(x => [x])})));
  $("moment-facts").replaceChildren("reward expected for the policy's next action ", el("b", {}, number(moment.reward)));
  if (about.valued) $("moment-facts").append(` · value: what the critic expects from here on, ${worth} `, el("b", {}, number(moment.value)));
}

// --- the dream

function showDream() {
  const steps = dream.actions.length;
  $("step").max = steps - 1;
  step = Math.min(step, steps - 1);
  $("step").value = step;
  for (const button of $("kinds").children) button.setAttribute("aria-pressed", button.dataset.kind === kind);
  if (!still) {
    $("hand").hidden = kind !== "by hand";
    $("lines").hidden = true;  // they were of another dream
    $("copy").textContent = "Copy as Python";
  }
  showStep();
}
function showStep() {
  $("step-is").value = `step ${step + 1} of ${dream.actions.length}`;
  showFrames();
  showCharts();
  if (!still) showJoints();
}
function showFrames() {
  const boxes = [], real = dream.real;
  if (real.reward.length && (dream.realOpened || real.numbers)) {
    const over = step >= real.reward.length;
    boxes.push(frame(dream.isData ? "what really followed" : "what followed in the episode", dream.realOpened, step,
      {numbers: real.numbers, note: over ? "over" : number(real.reward[step]), over}));
  }
  if (simulated && simulated.reward.length) {
    const over = step >= simulated.reward.length;
    boxes.push(frame("simulator, same actions", simulated.opened, step,
      {numbers: simulated.numbers, note: over ? "over" : number(simulated.reward[step]), over}));
  }
  const rows = dream.opened ? dream.opened.rows : dream.numbers.length;
  for (let row = 0; row < rows; row++) {
    const box = frame(about.together ? "all members" : `member ${row + 1}`, dream.opened, step,
      {row, numbers: dream.numbers, note: about.together ? "" : number(dream.reward[row][step]), member: about.together ? null : row});
    box.dataset.row = row;
    if (about.together) box.querySelector("figcaption").replaceChildren(el("span", {}, "all members: ",
      ...dream.reward.map((_, i) => el("b", {style: `color: ${colour(i)}`}, `${i + 1} `)), "black: what really followed"));
    if (dream.changes) {
      const change = dream.changes[row];
      box.classList.toggle("changed", change[step] > 0.05);
      box.append(el("div", {class: "changes", title: "changed against the version before"}, ...change.map(x => {
        const cell = el("i");
        if (x > 0.05) cell.style.background = `color-mix(in srgb, var(--changed) ${Math.round(25 + 75 * Math.min(1, x / 12))}%, var(--grid))`;
        return cell;
      })));
      if ($("mark").checked) tint(box.querySelector("canvas"), row, step);
    }
    boxes.push(box);
  }
  $("frames").classList.toggle("large", about.together);
  $("frames").replaceChildren(...boxes);
  if (!still) $("mark").closest("p").hidden = !dream.opened;
  if (!still) $("change-is").textContent = dream.changes ? "orange under a frame: steps that look otherwise than before" : "";
}

// --- curves

const curves = [
  ["reward", "Reward", "that each member expects, step by step"],
  ["value", "Value", `what the critic expects from there on, ${worth}`],
  ["disagreement", "Disagreement", "how far apart the members' predictions of the next state are"],
].filter(([name]) => about.valued || name !== "value");
function showCharts() {
  const figures = curves.map(([name, title, note]) => {
    const others = [];
    if (name === "reward" && dream.real.reward.length) others.push([dream.real.reward, "real", "thick: in the episode"]);
    if (name === "reward" && simulated) others.push([simulated.reward, "real dotted", "dotted: in the simulator"]);
    return chart(title, note, dream[name], before()?.[name], others);
  });
  if (dream.numbers) {
    const sizes = dream.numbers[0][0].map((_, i) => i);
    const of = (version, i) => version && version.numbers.map(row => row.map(x => x[i]));
    figures.push(...sizes.map(i => chart(`Number ${i + 1} of the state`, "", of(dream, i), of(before(), i),
      dream.real.numbers.length ? [[dream.real.numbers[0].map(x => x[i]), "real", "thick: in the episode"]] : [])));
  }
  $("charts").replaceChildren(...figures);
}
function chart(title, note, rows, old, others) {
  const steps = dream.actions.length, [w, h, left, low, top] = [330, 150, 44, 20, 8];
  const old_ = old && old[0].length === steps ? old : [];
  const all = [...rows, ...old_, ...others.map(other => other[0])].flat();
  let [least, most] = [Math.min(...all), Math.max(...all)];
  if (most - least < 1e-6) [least, most] = [least - 0.5, most + 0.5];
  const x = i => left + (w - left - 8) * (steps > 1 ? i / (steps - 1) : 0.5);
  const y = v => top + (h - top - low) * (most - v) / (most - least);
  const path = values => values.map((v, i) => `${i ? "L" : "M"}${x(i).toFixed(1)},${y(v).toFixed(1)}`).join("")
    + (values.length === 1 ? "h.1" : "");
  const svg = el("svg", {viewBox: `0 0 ${w} ${h}`, preserveAspectRatio: "none", role: "img", "aria-label": title});
  for (const v of [least, (least + most) / 2, most]) {
    svg.append(el("line", {class: "grid", x1: left, x2: w - 8, y1: y(v), y2: y(v)}));
    svg.append(el("text", {x: left - 6, y: y(v) + 4, "text-anchor": "end"}, number(v)));
  }
  svg.append(el("text", {x: left, y: h - 4}, "1"), el("text", {x: w - 8, y: h - 4, "text-anchor": "end"}, String(steps)));
  svg.append(el("line", {class: "now", x1: x(step), x2: x(step), y1: top, y2: h - low}));
  old_.forEach((row, i) => svg.append(el("path", {class: "before", d: path(row), stroke: colour(i)})));
  others.forEach(([row, look]) => row.length && svg.append(el("path", {class: look, d: path(row)})));
  rows.forEach((row, i) => svg.append(el("path", {d: path(row), stroke: colour(i)})));
  svg.addEventListener("click", event => {
    const box = svg.getBoundingClientRect(), share = ((event.clientX - box.left) / box.width * w - left) / (w - left - 8);
    go(Math.round(share * (steps - 1)));
  });
  return el("figure", {class: "chart"}, el("figcaption", {}, el("b", {}, title), el("span", {}, [note, ...others.map(other => other[2])].filter(x => x).join("; "))), svg);
}
function go(to) {
  if (!dream) return;
  step = Math.max(0, Math.min(dream.actions.length - 1, to));
  $("step").value = step;
  showStep();
}

let film = null;
$("step").addEventListener("input", () => go(Number($("step").value)));
$("run").addEventListener("click", () => {
  clearInterval(film);
  film = film ? null : setInterval(() => go((step + 1) % (Number($("step").max) + 1)), 100);
  $("run").textContent = film ? "❚❚" : "▶";
});

async function take(found, asked) {
  found.opened = await opened(found.strip);
  found.realOpened = await opened(found.real.strip);
  found.changes = differences(found.opened, before()?.opened);
  found.isData = kind === "data";
  dream = found;
  if (!Array.isArray(asked) || asked === plan) plan = found.actions;
  showDream();
}

// --- a page without a server: a fixed set of dreams

async function startStill() {
  const thumbs = still.map((one, i) => el("button", {class: "thumb", "aria-label": `moment ${i + 1}`, onclick: () => pick(i)}));
  $("moments").append(...thumbs);
  let here = 0;
  async function pick(i) {
    here = i;
    ({at, moment} = still[i]);
    thumbs.forEach((thumb, j) => thumb.setAttribute("aria-pressed", j === i));
    showMoment();
    await choose(kind);
  }
  async function choose(name) {
    kind = name;
    const found = still[here].dreams[name];
    await take(found.opened ? found : {...found});
  }
  for (const [i, one] of still.entries()) {
    one.moment.opened = await opened(one.moment.picture);
    if (!one.moment.opened) { thumbs[i].textContent = `moment ${i + 1}`; continue; }
    const canvas = el("canvas");
    paint(canvas, one.moment.opened, 0, 0);
    thumbs[i].append(canvas);
  }
  $("kinds").append(...about.kinds.map(name =>
    el("button", {"data-kind": name, onclick: () => choose(name)}, words[name] || name)));
  await pick(0);
}

// --- a page with one

const within = (id, least, most, none) => {
  const given = Math.round(Number($(id).value));
  return $(id).value === "" || !Number.isFinite(given) ? none : Math.max(least, Math.min(most, given));
};
const steps = () => within("steps", 1, about.longest, about.steps);
const dice = () => within("seed", 0, 2 ** 31 - 1, 0);
const wanted = actions => ({...at, actions, steps: steps(), seed: dice()});

const look = latest(async () => {
  const found = await ask("moment", at);
  found.opened = await opened(found.picture);
  moment = found;
  showMoment();
  past = [];
  imagine(kind === "by hand" ? plan : kind);
});
const imagine = latest(async actions => {
  const version = {kind, seed: dice()};
  const waiting = setTimeout(() => { $("busy").hidden = false; }, 300);
  try {
    const found = await ask("dream", wanted(actions));
    await take({...found, version}, actions);
  } finally {
    clearTimeout(waiting);
    $("busy").hidden = true;
  }
  simulated = moment.simulated ? simulated : null;
  if (moment.simulated) simulate(dream.actions);
});
const simulate = latest(async actions => {
  const found = await ask("simulate", wanted(actions));
  found.opened = await opened(found.strip);
  simulated = found;
  showStep();
});

function listEpisodes() {
  const known = about.lengths[$("source").value];
  $("playing").hidden = $("source").value !== "played";
  $("number").replaceChildren(...known.map(([name]) => el("option", {value: name}, String(name))));
}
function here() {
  const known = about.lengths[$("source").value].find(([name]) => String(name) === $("number").value);
  if (!known) return;
  $("entry").max = Math.max(0, known[1] - 2);
  at = {source: $("source").value, number: known[0], entry: Number($("entry").value)};
  $("entry-is").value = `${at.entry} of ${known[1] - 1}`;
  simulated = null;
  look();
}
// What is dreamt now becomes the version before.
function keep() {
  if (dream) past.push(dream);
}
function choose(name) {
  kind = name;
  whole = [];
  keep();
  if (name === "random") $("seed").value = dice() + 1;
  imagine(name);
}

// --- editing: one gesture is one version

let editing = false;
function edit(joint, value, where = step) {
  if (!dream || where >= plan.length) return;
  if (!editing) { keep(); editing = true; }
  if (kind !== "by hand") whole = [];
  kind = "by hand";
  plan = plan.map(row => [...row]);
  plan[where][joint] = Math.max(-1, Math.min(1, Math.round(value * 100) / 100));
  whole = [...plan, ...whole.slice(plan.length)];
  showJoints();
  imagine(plan);
}
const settle = () => { editing = false; };

function makeJoints() {
  const boxes = about.joints.map((name, joint) => {
    const bars = el("svg", {viewBox: "0 0 300 64", preserveAspectRatio: "none", role: "img", "aria-label": `${name} over time`});
    const drag = event => {
      if (!plan || !event.buttons && event.type !== "pointerdown") return;
      const box = bars.getBoundingClientRect(), count = plan.length;
      const column = Math.floor((event.clientX - box.left) / box.width * count);
      step = Math.max(0, Math.min(count - 1, column));
      $("step").value = step;
      edit(joint, 1 - 2 * (event.clientY - box.top) / box.height);
    };
    bars.addEventListener("pointerdown", event => { bars.setPointerCapture(event.pointerId); drag(event); });
    bars.addEventListener("pointermove", drag);
    bars.addEventListener("pointerup", settle);
    bars.addEventListener("pointercancel", settle);
    const slider = el("input", {type: "range", min: -1, max: 1, step: 0.01, "aria-label": name,
      oninput: event => edit(joint, Number(event.target.value)), onchange: settle});
    return el("div", {class: "joint"}, el("header", {}, el("span", {}, name), el("output")), bars, slider);
  });
  $("joints").replaceChildren(...boxes);
}
function showJoints() {
  const count = plan.length, width = 300 / count, earlier = before()?.actions;
  [...$("joints").children].forEach((box, joint) => {
    const value = plan[Math.min(step, count - 1)][joint];
    box.querySelector("output").value = value.toFixed(2);
    box.querySelector("input").value = value;
    box.querySelector("svg").replaceChildren(...plan.flatMap((row, i) => {
      const old = earlier?.length === count ? earlier[i][joint] : row[joint];
      const height = Math.max(1, Math.abs(row[joint]) * 30);
      return [el("rect", {class: "column" + (i === step ? " now" : ""), x: i * width, y: 0, width, height: 64}),
        el("rect", {class: old !== row[joint] ? "edited" : "", x: i * width + 1, y: row[joint] > 0 ? 32 - height : 32, width: width - 2, height})];
    }));
  });
  $("undo").disabled = !past.length;
}

// --- keeping

async function save(name, format) {
  if (!dream) return;
  const answer = await post(name, {...wanted(dream.actions), format});
  const link = el("a", {href: URL.createObjectURL(await answer.blob()), download: `dream.${format}`});
  link.click();
  URL.revokeObjectURL(link.href);
}
async function copy() {
  if (!dream) return;
  const {lines} = await ask("lines", wanted(dream.actions));
  $("lines").textContent = lines;
  $("lines").hidden = false;
  await navigator.clipboard.writeText(lines).then(() => { $("copy").textContent = "Copied"; }, () => {});
}

// --- driving

let held = {}, driving = null;
function makeHandles() {
  $("driver").append(...Array.from({length: about.members}, (_, i) => el("option", {value: i}, `member ${i + 1}`)));
  $("handles").append(...about.joints.map((name, joint) => {
    const pair = keys[joint] ? [el("kbd", {}, keys[joint][1].toUpperCase()), " − ", el("kbd", {}, keys[joint][0].toUpperCase()), " +"] : [];
    if (about.joints.length === 2) pair.push(" or ", el("kbd", {}, joint ? "↓ ↑" : "← →"));
    return el("div", {class: "joint"}, el("header", {}, el("span", {}, name), el("span", {class: "keys"}, ...pair)),
      el("input", {type: "range", min: -1, max: 1, step: 0.01, value: 0, "aria-label": `drive ${name}`, ondblclick: event => { event.target.value = 0; }}));
  }));
  const arrows = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowDown: [1, -1], ArrowUp: [1, 1]};
  const meant = event => about.joints.length === 2 && arrows[event.key] || keys.slice(0, about.joints.length).flatMap((pair, joint) =>
    event.key.toLowerCase() === pair[0] ? [[joint, 1]] : event.key.toLowerCase() === pair[1] ? [[joint, -1]] : [])[0];
  for (const type of ["keydown", "keyup"]) addEventListener(type, event => {
    const found = driving && !event.ctrlKey && !event.metaKey && meant(event);
    if (!found) return;
    event.preventDefault();
    $("handles").children[found[0]].querySelector("input").value = type === "keydown" ? found[1] : 0;
  });
}
async function drive() {
  if (driving) { driving = null; $("drive").textContent = "Drive from this moment"; return; }
  const mine = driving = {};
  $("drive").textContent = "Stop";
  $("driven").classList.add("large");
  $("drive").blur();
  try {
    await ask("begin_drive", {...at, member: Number($("driver").value)});
    const times = [];
    for (let count = 1; driving === mine; count++) {
      const began = performance.now();
      const action = [...$("handles").querySelectorAll("input")].map(input => Number(input.value));
      const found = await ask("drive", {action});
      const strip = await opened(found.picture), rows = strip ? strip.rows : found.numbers.length;
      const names = ["dream", "simulator"], notes = [found.reward, found.real_reward];
      $("driven").replaceChildren(...names.slice(0, rows).map((name, row) => frame(name, strip, 0,
        {row, numbers: found.numbers && found.numbers.map(x => [x]), note: `reward ${number(notes[row])}`})));
      times.push(began);
      const pace = times.length > 1 ? 1000 * (times.length - 1) / (times.at(-1) - times[0]) : 0;
      if (times.length > 20) times.shift();
      $("drive-is").textContent = `step ${count} · ${pace.toFixed(0)} a second`
        + (about.valued ? ` · value ${number(found.value)}` : "")
        + (rows < 2 && moment.simulated ? " · the simulator's episode is over" : "");
      const rest = 1000 / Number($("pace").value) - (performance.now() - began);
      await new Promise(done => setTimeout(done, Math.max(0, rest)));
    }
  } catch (error) { complain(error); driving = null; $("drive").textContent = "Drive from this moment"; }
}

function start() {
  $("kinds").append(...about.kinds.map(name => el("button", {"data-kind": name, onclick: () => choose(name)}, words[name])));
  $("source").addEventListener("change", () => { listEpisodes(); here(); });
  $("number").addEventListener("change", () => { $("played-is").textContent = ""; here(); });
  $("entry").addEventListener("input", here);
  for (const id of ["steps", "seed"]) $(id).addEventListener("change", () => {
    $("steps").value = steps();
    $("seed").value = dice();
    keep();
    if (kind === "by hand") plan = Array.from({length: steps()}, (_, i) => whole[i] || about.joints.map(() => 0));
    imagine(kind === "by hand" ? plan : kind);
  });
  $("mark").addEventListener("change", showFrames);
  $("undo").addEventListener("click", () => {
    const {actions, version} = past.pop();
    [plan, whole, kind] = [actions, actions, version.kind];
    $("seed").value = version.seed;
    $("steps").value = actions.length;
    imagine(plan);
  });
  $("play-episode").addEventListener("click", async () => {
    const button = $("play-episode");
    button.disabled = true;
    $("played-is").textContent = "playing …";
    try {
      const found = await ask("play", {seed: Math.floor(Number($("seed-played").value)) || 0});
      about.lengths = found.lengths;
      listEpisodes();
      $("number").value = found.seed;
      $("played-is").textContent = `return ${number(found.return)}`;
      here();
    } catch (error) { $("played-is").textContent = ""; complain(error); }
    button.disabled = false;
  });
  for (const button of document.querySelectorAll("[data-save]"))
    button.addEventListener("click", () => save(button.dataset.save, button.dataset.format).catch(complain));
  $("copy").addEventListener("click", () => copy().catch(complain));
  $("drive").addEventListener("click", drive);
  makeJoints();
  makeHandles();
  if (!about.lengths.dataset.length) {
    $("source").options[0].disabled = true;
    $("source").value = "played";
  }
  listEpisodes();
  const known = about.lengths[$("source").value];
  const [first, length] = known.find(found => found[1] > about.steps + 1) || known[0];
  $("number").value = first;
  $("entry").max = length;
  $("entry").value = Math.floor($("entry").max / 4);  // amid things
  here();
}
if (still) startStill(); else start();
