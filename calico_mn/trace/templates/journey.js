// Draws a journey, which calico_mn/trace/journey.py describes, and one of its stops at a time.

const by = (id) => document.getElementById(id);

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// An SVG picture as an element, under the name that its title gives it.
function drawPicture(svg) {
  const parsed = new DOMParser().parseFromString(svg, "image/svg+xml").documentElement;
  const picture = document.importNode(parsed, true);
  picture.setAttribute("aria-label", picture.querySelector("title").textContent);
  return picture;
}

class JourneyPlayer {
  // chosen(number) is called when a stop is clicked.
  constructor(journey, chosen) {
    this.journey = journey;
    this.slide = make("div", { className: "slide" });
    this.rail = make("ol", { className: "rail scroll" });
    this.stop = make("div", { className: "stop" });
    this.picture = null;
    this.buttons = journey.stops.map((stop, number) => {
      const button = make("button", { type: "button" }, stop.place);
      button.dataset.kind = stop.kind;
      button.classList.toggle("in-tunnel", isEncapsulated(stop));
      button.classList.toggle("dropped", stop.dropped.length > 0);
      button.addEventListener("click", () => chosen(number));
      const starts = number === 0 || journey.stops[number - 1].leg !== stop.leg;
      this.rail.append(make("li", {}, ...(starts ? [make("b", {}, stop.leg)] : []), button));
      return button;
    });
    this.element = make("section", { className: "journey" },
      ...(journey.title ? [make("h2", {}, journey.title)] : []),
      make("p", { className: journey.answered ? "verdict good" : "verdict bad" }, journey.verdict),
      this.slide, this.rail, this.stop,
      ...journey.notes.map((note) => make("p", { className: "note" }, `NOTE ${note}`)));
    this.show(0);
  }

  show(number) {
    const stops = this.journey.stops;
    if (!stops.length) return;
    const current = Math.min(number, stops.length - 1);
    const stop = stops[current];
    this.buttons.forEach((button, position) => {
      if (position === current) button.setAttribute("aria-current", "step");
      else button.removeAttribute("aria-current");
    });
    const button = this.buttons[current];
    this.rail.scrollLeft = button.parentNode.offsetLeft - this.rail.clientWidth / 2;
    const picture = this.journey.pictures[stop.picture];
    if (picture && stop.picture !== this.picture) {
      this.picture = stop.picture;
      this.slide.replaceChildren(drawPicture(picture));
    }
    for (const card of this.slide.querySelectorAll("[data-hop]")) {
      card.classList.toggle("current", stop.picture !== null
        && card.getAttribute("data-hop") === String(stop.hop));
    }
    this.stop.replaceChildren(...drawStop(stop));
    const lit = this.stop.querySelector(".table .chosen");
    if (lit) lit.parentNode.scrollTop = lit.offsetTop - lit.parentNode.offsetTop - 40;
  }
}

// Shows all players the step of this number, or the nearest that there is, and returns it.
function showStep(players, number) {
  const last = Math.max(...players.map((player) => player.journey.stops.length)) - 1;
  const step = Math.min(Math.max(number, 0), last);
  for (const player of players) player.show(step);
  by("count").textContent = `step ${step + 1} of ${last + 1}`;
  by("back").disabled = step === 0;
  by("on").disabled = step === last;
  return step;
}

function isInTunnel(packet) {
  return Boolean(packet?.headers.some(([, , outer]) => outer));
}

function isEncapsulated(stop) {
  return isInTunnel(stop.comes) || isInTunnel(stop.goes);
}

function drawStop(stop) {
  const parts = [
    make("h3", {}, stop.place, make("small", {}, ` ${stop.kind}, ${stop.leg}: ${stop.packet}`)),
    make("div", { className: "stacks" },
      drawPacket(stop.comes, "comes in by", "made here"),
      drawPacket(stop.goes, "goes out by", stop.dropped.length ? "dropped here"
        : stop.arrived ? "arrived" : "not seen to leave")),
  ];
  if (stop.dropped.length) {
    parts.push(make("pre", { className: "dropped" }, stop.dropped.join("\n")));
  }
  parts.push(make("pre", { className: "lines" }, ...stop.lines.map(
    ([text, style]) => make("span", { className: style }, text))));
  if (stop.table.length) {
    parts.push(make("h4", {}, `Routes of ${stop.place}`), drawTable(stop.table));
  }
  return parts;
}

function drawPacket(packet, words, otherwise) {
  if (!packet) return make("div", { className: "packet none" }, otherwise);
  const mtu = words.startsWith("goes") ? `, MTU ${packet.mtu}` : "";
  return make("div", { className: "packet" },
    make("p", {}, `${words} `, make("code", {}, packet.device), mtu),
    ...packet.headers.map(([name, text, outer]) => make("div",
      { className: outer ? "header outer" : "header" }, make("b", {}, name), ` ${text}`)));
}

function drawTable(lines) {
  return make("ul", { className: "table" }, ...lines.map(([line, chosen]) => make("li",
    { className: chosen ? "chosen" : "" }, line)));
}
