// Follows a run that goes on: what is new comes as server-sent events, while the page is looked at.

/** Whether the page is of a run that goes on. */
export const live = document.documentElement.hasAttribute("data-live");

const PATIENCE = 3; // times that the server is looked for in vain, before it counts as gone
const stream = { run: new URLSearchParams(location.search).get("run") ?? "", since: "", source: null, failed: 0, over: false, listener: null };

function openStream() {
  stream.source?.close();
  const source = stream.source = new EventSource(`events?${new URLSearchParams({ run: stream.run, since: stream.since })}`);
  source.addEventListener("message", (event) => { stream.failed = 0; stream.since = event.lastEventId; stream.listener.news(JSON.parse(event.data)); });
  source.addEventListener("error", () => { stream.failed += 1; if (stream.failed >= PATIENCE) endStream("gone"); });
  for (const how of ["finished", "gone"]) source.addEventListener(how, () => endStream(how));
}

function endStream(how) {
  stream.source?.close();
  stream.over = true;
  stream.listener.over(how);
}

// A browser has few connections to one server: a tab that nobody sees gives its own back.
document.addEventListener("visibilitychange", () => {
  if (!stream.listener || stream.over) return;
  if (document.hidden) stream.source?.close();
  else openStream();
});

/** Calls `listener.news` with what is new, and `listener.over` once there will be nothing more. */
export function follow(listener) {
  stream.listener = listener;
  if (!document.hidden) openStream();
}

/** Follows a run, or with an empty name whichever is at work. */
export function followRun(name) {
  Object.assign(stream, { run: name, since: "" });
  if (!stream.over) openStream();
}

/** Returns the run that is followed; empty where it is whichever is at work. */
export const followed = () => stream.run;

/** Opens the finished page of a run at the place where one is. */
export function openFinished(name) {
  history.replaceState(history.state, "", `?${new URLSearchParams({ run: name })}${location.hash}`);
  location.reload();
}

// What is pressed, or marked to be copied, must not change under the hand.
let pressed = false;
addEventListener("pointerdown", () => { pressed = true; }, true);
for (const name of ["pointerup", "pointercancel"]) addEventListener(name, () => { setTimeout(() => { pressed = false; }, 50); }, true);

/** Returns whether the page may change now. */
export function mayChange() {
  const marked = getSelection();
  return !pressed && (marked === null || marked.isCollapsed) && !document.querySelector("dialog[open]");
}
