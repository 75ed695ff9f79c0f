// Keyboard shortcuts and their list. They can be switched off, since speech input also types letters.

import { el, freshId, isTyping } from "./dom.js";

const SWITCH = "heatdrop.shortcuts";
const groups = new Map();

/** Let `keys` ({key: [what it does, handler]}) work while `active()`; a group of the same name is replaced. */
export function shortcuts(group, active, keys) {
  groups.set(group, { active, keys });
}

export function enabled() {
  return stored() !== "off";
}

function onKey(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.querySelector("dialog[open]")) return;
  const typing = isTyping(event.target);
  // In a field only Escape is ours (it leaves the field).
  if (typing && event.key === "Escape") event.target.blur();
  if (typing || (!enabled() && event.key.length === 1)) return;
  for (const { active, keys } of groups.values()) {
    const found = active() && keys[event.key];
    if (found) {
      event.preventDefault();
      found[1](event);
      return;
    }
  }
}

const SHOWN = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Escape: "Esc" };

/** Show the list of keys. */
export function showHelp() {
  const title = freshId("title");
  const dialog = el("dialog", { class: "dialog", "aria-labelledby": title });
  const box = el("input", { type: "checkbox", onchange: () => store(box.checked ? "on" : "off") });
  box.checked = enabled();
  dialog.append(
    el("h2", { id: title }, "Keyboard"),
    ...[...groups].map(([name, { keys }]) =>
      el(
        "section",
        {},
        el("h3", {}, name),
        el(
          "dl",
          { class: "keys" },
          Object.entries(keys).map(([key, [meaning]]) =>
            el("div", {}, el("dt", {}, el("kbd", {}, SHOWN[key] ?? key)), el("dd", {}, meaning)),
          ),
        ),
      ),
    ),
    el("label", { class: "check" }, box, "Single-letter keys work"),
    el("button", { class: "button button-strong", type: "button", onclick: () => dialog.close() }, "Close"),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function stored() {
  try {
    return localStorage.getItem(SWITCH);
  } catch {
    return null;
  }
}

function store(value) {
  try {
    localStorage.setItem(SWITCH, value);
  } catch {
    // Without storage the choice lasts until the page is closed.
  }
}

document.addEventListener("keydown", onKey);
