// The live page: follows the run's events, and asks for what is shown of them.

// The run's first message has all of it.
const state = {};
let boxes = new Map();
let selected = "";
let player = null;
let step = 0;
let playing = 0;

async function ask(name, content = {}) {
  const answer = await fetch(name, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content),
  });
  const result = await answer.json();
  if (!answer.ok) throw new Error(result.error);
  return result;
}

// Runs what an event asked for; a refusal of the run is shown and not thrown.
async function attempt(work) {
  try {
    await work();
    by("problem").hidden = true;
  } catch (error) {
    by("problem").textContent = error.message;
    by("problem").hidden = false;
  }
}

// ---------------------------------------------------------------- events

const events = new EventSource("events");
events.addEventListener("open", () => { by("status").className = ""; });
events.addEventListener("error", () => {
  by("status").className = "lost";
  by("status").textContent = "not connected";
});
events.addEventListener("message", (event) => {
  const news = JSON.parse(event.data);
  if (news === null) {
    events.close();
    by("status").className = "lost";
    by("status").textContent = "the run has ended";
    return;
  }
  Object.assign(state, news);
  if (news.run) drawRun();
  if ("exercise" in news) drawExercise();
  if (news.run || news.links || news.differences || news.drops || news.dead) drawStatus();
  if (news.pools) drawPools();
  if (news.differences) drawDifferences();
  if (news.links) drawLinks();
  if (news.drawing) attempt(loadDrawing);
  else if (news.differences || news.links) mark();
  if (selected && (news.rerouted?.includes(selected) || news.links || news.dead)) attempt(loadPlace);
  unsettle();
});

function drawRun() {
  const { run } = state;
  document.title = `${run.name} - calico-mn`;
  by("title").textContent = `${run.name}: ${run.nodes} nodes, ${run.pods} pods`;
  if (!("touched" in by("auto").dataset)) by("auto").checked = run.pods <= 12;
}

function count(number, thing) {
  return `${number} ${thing}${number === 1 ? "" : "s"}`;
}

// During an exercise, what would give it away is shown only if it is asked for.
function isSecret() {
  return Boolean(state.exercise) && !by("reveal").checked;
}

function drawExercise() {
  by("revealing").hidden = !state.exercise;
  by("reveal").checked = false;
  drawSecrets();
}

function drawSecrets() {
  drawStatus();
  drawDifferences();
  drawLinks();
  mark();
}

by("reveal").addEventListener("change", drawSecrets);

function drawStatus() {
  if (isSecret()) {
    by("status").className = "";
    by("status").textContent = `exercise ${state.exercise.number}: ${state.exercise.symptom}`;
    return;
  }
  const down = state.links.filter((link) => !link.up).length;
  const parts = [
    state.differences.length ? count(state.differences.length, "difference") : "as it should be",
    ...(down ? [`${count(down, "link")} down`] : []),
    ...Object.entries(state.drops).map(([place, drops]) => `${place} drops ${drops.join(", ")}`),
    ...(state.dead.length ? [`no BGP speaker on ${state.dead.join(", ")}`] : []),
  ];
  by("status").className = parts.length > 1 || state.differences.length ? "lost" : "";
  by("status").textContent = parts.join("; ");
}

function drawPools() {
  by("pools").replaceChildren(...state.pools.map((pool) => make("li", {},
    `${pool.name} ${pool.cidr}: `, make("b", {}, pool.mode),
    Object.entries(pool.nodes).map(([node, mode]) => `, ${node} ${mode}`).join(""))));
  for (const button of document.querySelectorAll("[data-mode]")) {
    button.setAttribute("aria-pressed", state.pools.every(
      (pool) => pool.mode.startsWith(button.dataset.mode)));
  }
}

function drawDifferences() {
  const items = state.differences.slice(0, 100).map((item) => make("li", {},
    make("b", {}, item.namespace),
    ...(item.wanted ? [make("code", { className: "wanted" }, `- ${item.wanted}`)] : []),
    ...(item.present ? [make("code", { className: "present" }, `+ ${item.present}`)] : []),
    ...(item.failure ? [make("code", { className: "present" }, item.failure)] : [])));
  const more = state.differences.length - items.length;
  if (more > 0) items.push(make("li", {}, `and ${more} more`));
  by("differences").replaceChildren(...(isSecret() ? [] : items.length ? items
    : [make("li", {}, "none")]));
}

function inWords(link) {
  const parts = [[link.rateMbit, "Mbit/s"], [link.delayMs, "ms delay"], [link.jitterMs, "ms jitter"],
    [link.lossPercent, "% loss"], [link.reorderPercent, "% reordered"]]
    .filter(([value]) => value).map(([value, unit]) => `${value} ${unit}`);
  return [link.up ? "up" : "down", ...parts].join(", ");
}

function drawLink(link) {
  const item = make("li", { className: link.up ? "" : "down" },
    `${link.end} - ${link.far}: ${inWords(link)} `);
  if (document.body.classList.contains("control")) {
    item.append(control(link.up ? "pull out" : "plug in", "link", {
      end: link.end, settings: { up: !link.up } }));
  }
  return item;
}

function drawLinks() {
  by("links").replaceChildren(...(isSecret() ? [] : state.links.length ? state.links.map(drawLink)
    : [make("li", {}, "all up, as the topology has them")]));
}

// ---------------------------------------------------------------- the drawing

async function loadDrawing() {
  const { svg } = await ask("drawing");
  const picture = drawPicture(svg);
  picture.classList.toggle("small", Number(picture.getAttribute("width")) < 1600);
  boxes = new Map([...picture.querySelectorAll("[data-place]")].map(
    (box) => [box.getAttribute("data-place"), box]));
  for (const [place, box] of boxes) {
    box.setAttribute("tabindex", "0");
    box.setAttribute("role", "button");
    box.setAttribute("aria-label", place);
  }
  for (const [tag, name] of [["path", "trail-tunnel"], ["path", "trail"], ["circle", "packet"]]) {
    const part = document.createElementNS(picture.namespaceURI, tag);
    part.setAttribute("class", name);
    picture.append(part);
  }
  by("drawing").replaceChildren(picture);
  mark();
  drawTrail();
}

function mark() {
  const [differences, links] = isSecret() ? [[], []] : [state.differences, state.links];
  const differs = new Set(differences.map((item) => item.namespace));
  const cut = new Set(links.filter((link) => !link.up).map(
    (link) => link.end.slice(0, link.end.lastIndexOf(":"))));
  for (const [place, box] of boxes) {
    box.classList.toggle("differs", differs.has(place));
    box.classList.toggle("cut", cut.has(place));
    box.classList.toggle("selected", place === selected);
  }
}

by("drawing").addEventListener("click", (event) => choose(event.target));
by("drawing").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" && event.key !== " ") return;
  event.preventDefault();
  choose(event.target);
});

function choose(box) {
  const place = box.getAttribute("data-place");
  if (!place) return;
  selected = place;
  mark();
  attempt(loadPlace);
}

let shown = new Set();
async function loadPlace() {
  const place = selected;
  const [{ routes }, { links }] = await Promise.all([ask("routes", { place }), ask("links", { place })]);
  if (place !== selected) return;
  const rows = routes.map((route) => [route.type === "unicast" ? route.destination
    : `${route.type} ${route.destination}`, route.gateway ?? "", route.device ?? "",
  route.protocol ?? "", route.meaning]);
  const isSame = by("place-name").textContent === place;
  by("place-name").textContent = place;
  by("place-links").replaceChildren(...links.map(drawLink));
  by("place-buttons").replaceChildren(...placeControls(place));
  by("routes").replaceChildren(
    make("tr", {}, ...["destination", "via", "dev", "proto", "for"].map((head) => make("th", {}, head))),
    ...rows.map((row) => make("tr", { className: isSame && !shown.has(row.join(" ")) ? "new" : "" },
      ...row.map((cell) => make("td", {}, cell)))));
  shown = new Set(rows.map((row) => row.join(" ")));
  by("place").hidden = false;
}

// ---------------------------------------------------------------- who reaches whom

let pinging = false;
let timer = 0;
function unsettle() {
  by("matrix").classList.add("stale");
  clearTimeout(timer);
  if (by("auto").checked && !document.hidden) timer = setTimeout(() => attempt(ping), 300);
}

async function ping() {
  if (pinging) {
    timer = setTimeout(() => attempt(ping), 300);
    return;
  }
  pinging = true;
  by("ping").disabled = true;
  try {
    const { labels, lines, legend, reached, pairs } = await ask("matrix");
    const width = Math.max(...labels.map((label) => label.length));
    by("matrix").replaceChildren(`${legend}   (rows send)\n`, ...lines.flatMap((line, number) => [
      `${labels[number].padEnd(width)}   `, ...(number ? drawMarks(line) : [line]), "\n"]),
    `${reached} of ${pairs} pairs`);
    by("matrix").classList.remove("stale");
  } finally {
    pinging = false;
    by("ping").disabled = false;
  }
}

function drawMarks(line) {
  const names = { "=": "direct", "#": "tunnel", ".": "none" };
  return line.match(/([=#.~?])(?: *\1)*| +/g)?.map((run) => (
    run.trim() ? make("span", { className: names[run[0]] ?? "" }, run) : run)) ?? [];
}

document.addEventListener("visibilitychange", () => {
  if (by("matrix").classList.contains("stale")) unsettle();
});
by("ping").addEventListener("click", () => attempt(ping));
by("auto").addEventListener("change", () => {
  by("auto").dataset.touched = "";
  if (by("auto").checked) attempt(ping);
});

// ---------------------------------------------------------------- follow a packet

by("trace").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    const { journey } = await ask("trace", {
      source: by("source").value.trim(), destination: by("destination").value.trim() });
    player = new JourneyPlayer(journey, go);
    by("journey").replaceChildren(player.element);
    by("steps").hidden = false;
    go(0);
  });
});

function go(number) {
  if (!player) return;
  step = showStep([player], number);
  if (by("on").disabled) pause();
  drawTrail();
}

function pause() {
  clearInterval(playing);
  playing = 0;
  by("play").textContent = "Play";
}

by("play").addEventListener("click", () => {
  if (playing) {
    pause();
    return;
  }
  if (by("on").disabled) go(0);
  by("play").textContent = "Pause";
  playing = setInterval(() => go(step + 1), 1000);
});
by("back").addEventListener("click", () => go(step - 1));
by("on").addEventListener("click", () => go(step + 1));
addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || !player) return;
  if (event.target.closest("input, .scroll[tabindex], pre[tabindex]")) return;
  const target = { ArrowLeft: step - 1, ArrowRight: step + 1 }[event.key];
  if (target === undefined) return;
  event.preventDefault();
  pause();
  go(target);
});

// Where a packet is drawn in a place: on a subnet's line, else at the upper edge of a card.
function point(place) {
  const box = boxes.get(place);
  if (!box) return null;
  const [x, y, width, height] = ["x", "y", "width", "height"].map(
    (name) => Number(box.getAttribute(name)));
  return [x + width / 2, y + (box.classList.contains("subnet") ? 58 : Math.min(height / 2, 16))];
}

function drawTrail() {
  const picture = by("drawing").querySelector("svg");
  if (!picture || !player) return;
  const { stops } = player.journey;
  const leg = stops[step].leg;
  const first = stops.findIndex((stop) => stop.leg === leg);
  const until = stops.slice(first, step + 1).map((stop) => [stop, point(stop.place)])
    .filter(([, at]) => at);
  const tunnel = until.filter(([stop]) => isEncapsulated(stop));
  const line = (points) => points.map(([, [x, y]], number) => `${number ? "L" : "M"}${x} ${y}`).join("");
  picture.querySelector(".trail-tunnel").setAttribute("d", line(tunnel));
  picture.querySelector(".trail").setAttribute("d", line(until));
  const packet = picture.querySelector(".packet");
  packet.setAttribute("r", "8");
  packet.classList.toggle("in-tunnel", isInTunnel(stops[step].goes));
  if (until.length) {
    const [x, y] = until[until.length - 1][1];
    packet.style.transform = `translate(${x}px, ${y}px)`;
    reveal(boxes.get(until[until.length - 1][0].place));
  }
  for (const [place, box] of boxes) box.classList.toggle("here", place === stops[step].place);
}

// Scrolls the drawing, and not the page, until a box can be seen.
function reveal(box) {
  const frame = by("drawing").getBoundingClientRect();
  const at = box.getBoundingClientRect();
  if (at.top < frame.top || at.bottom > frame.bottom) {
    by("drawing").scrollTop += at.top - frame.top - frame.height / 3;
  }
  if (at.left < frame.left || at.right > frame.right) {
    by("drawing").scrollLeft += at.left - frame.left - frame.width / 3;
  }
}

// ---------------------------------------------------------------- control

// Buttons that change the run have the operation's name and its arguments.
addEventListener("click", (event) => {
  const button = event.target.closest("[data-verb]");
  if (!button) return;
  attempt(async () => {
    const { verb } = button.dataset;
    const { answer } = await ask("do", {
      verb, arguments: JSON.parse(button.dataset.arguments ?? "{}") });
    if (verb in inWordsOf) by("exercise").textContent = inWordsOf[verb](answer);
  });
});

// What the answers about exercises say.
const inWordsOf = {
  break: (task) => `${task.number}. ${task.symptom}\n${task.question}`,
  hint: (hint) => `Hint ${hint.hint} of ${hint.of}: ${hint.text}`,
  "break-check": (check) => (check.solved ? "It is mended." : "It is not mended yet."),
  "break-reset": (end) => (end.remaining ? `${count(end.remaining, "difference")} left.`
    : "All is as it was before."),
  solution: (solution) => [solution.cause, "Found by:", ...solution.find.map((line) => `  ${line}`),
    "Mended by:", ...solution.mend.map((line) => `  ${line}`)].join("\n"),
};

function control(words, verb, content) {
  const button = make("button", { type: "button" }, words);
  button.dataset.verb = verb;
  button.dataset.arguments = JSON.stringify(content);
  return button;
}

function placeControls(place) {
  if (!document.body.classList.contains("control")) return [];
  const kind = boxes.get(place)?.getAttribute("class") ?? "";
  const isDead = state.dead.includes(place);
  return [
    control("drop IPIP", "drop", { place, what: "ipip" }),
    control("drop nothing", "drop-reset", { place }),
    ...(kind.includes("node") ? [control(isDead ? "restart BGP" : "kill BGP", "speaker", {
      node: place, action: isDead ? "restart" : "kill" })] : []),
  ];
}
