
// The page of calico-mn trace --html: all journeys take the same step.
const players = JSON.parse(by("data").textContent).map((journey) => {
  const player = new JourneyPlayer(journey, (number) => go(number));
  by("journeys").append(player.element);
  return player;
});
let step = 0;

function go(number) {
  step = showStep(players, number);
}

by("back").addEventListener("click", () => go(step - 1));
by("on").addEventListener("click", () => go(step + 1));
addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const target = { ArrowLeft: step - 1, ArrowRight: step + 1, Home: 0, End: Infinity }[event.key];
  if (target === undefined) return;
  event.preventDefault();
  go(target);
});
go(0);
