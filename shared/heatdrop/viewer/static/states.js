// The states of an image, as a badge and as steps.

import { el, icon } from "./dom.js";

export const STATES = {
  RECEIVED: { title: "Received", icon: "clock", note: "waiting for prediction" },
  CLASSIFIED: { title: "Classified", icon: "clock", note: "heatmaps are being made" },
  EXPLAINED: { title: "Explained", icon: "check", note: "" },
  REJECTED: { title: "Rejected", icon: "stop", note: "the file cannot be used" },
  FAILED: { title: "Failed", icon: "cross", note: "the fault is ours" },
};

const WAY = ["RECEIVED", "CLASSIFIED", "EXPLAINED"];

export const isFinal = (state) => !["RECEIVED", "CLASSIFIED"].includes(state);

export function badge(state) {
  const known = STATES[state] ?? { title: state, icon: "clock" };
  const kind = STATES[state] ? state.toLowerCase() : "received";
  return el("span", { class: `badge badge-${kind}` }, icon(known.icon), known.title);
}

/** The progress of an image in three steps; the last is red or amber if it failed or was rejected. */
export function steps(state) {
  const ended = ["REJECTED", "FAILED"].includes(state);
  const reached = WAY.indexOf(state);
  return el(
    "ol",
    { class: "steps", "aria-label": `State: ${STATES[state]?.title ?? "being sent"}` },
    WAY.map((step, index) => {
      const kind = ended ? "step-ended" : index <= reached ? "step-done" : index === reached + 1 ? "step-next" : "";
      return el("li", { class: `step ${kind}` }, el("span", { class: "hidden-text" }, STATES[step].title));
    }),
  );
}
