// Ask for another explanation of an image, and choose which one is shown.

import { explainAgain } from "./api.js";
import { announce, el } from "./dom.js";
import { moment } from "./format.js";
import { METHODS, NOISY, layerTitle, methodTitle } from "./layers.js";
import { savedDefaultKind } from "./preferences.js";
import { badge, isFinal } from "./states.js";

const ESTIMATORS = ["mean_abs", "signed", "squared", "variance"];

/** The explanations of an image that were requested after the first. */
export function explanationsOf(image) {
  return Object.values(image.explanations ?? {});
}

/** A choice of the explanation to show; null if there is only the first. */
export function explanationChoice(image, chosen, onChoose) {
  const asked = explanationsOf(image);
  if (!asked.length) return null;
  const first = { explanation_id: "", state: "EXPLAINED", words: "First" };
  const rows = [first, ...asked].map((explanation) => {
    const ready = explanation.state === "EXPLAINED";
    const radio = el("input", { type: "radio", name: "explanation", disabled: !ready });
    radio.checked = explanation.explanation_id === chosen;
    radio.addEventListener("change", () => onChoose(explanation.explanation_id));
    return el(
      "label",
      { class: "explanation" },
      radio,
      el("span", {}, explanation.words ?? inWords(explanation)),
      !ready && badge(explanation.state),
      explanation.reason && el("span", { class: "hint" }, explanation.reason),
    );
  });
  return el("fieldset", { class: "panel" }, el("legend", {}, "Explanation"), rows);
}

function inWords({ settings, requested_at: at }) {
  const method = methodTitle(settings.method);
  if (!NOISY.includes(settings.method)) return `${method}, ${moment(at)}`;
  return `${method}, n = ${settings.samples}, noise ${settings.noise_level}, seed ${settings.seed}, ${moment(at)}`;
}

/** The form; `onAsked` is called once the API has accepted the request. */
export function againPanel(image, onAsked) {
  const wished = savedDefaultKind() ?? {};
  const choice = (name, options, chosen) =>
    el("select", { name }, options.map(([value, title]) => el("option", { value, selected: value === chosen }, title)));
  const method = choice("method", METHODS, wished.method);
  const estimator = choice("estimator", ESTIMATORS.map((name) => [name, layerTitle(name)]), wished.estimator);
  const number = (name, value, min, max, step) => el("input", { type: "number", name, value, min, max, step, required: true });
  const sampling = el(
    "fieldset",
    { class: "grid-fields" },
    field("Samples", number("samples", wished.samples ?? 20, 0, 1000, 1)),
    field("Noise level", number("noise_level", wished.noise_level ?? 0.2, 0.01, 1, 0.01)),
    field("Estimator", estimator),
    field("Seed", number("seed", 0, 0, Number.MAX_SAFE_INTEGER, 1)),
  );
  const enable = () => (sampling.disabled = !NOISY.includes(method.value));
  method.addEventListener("change", enable);
  enable();
  const classes = image.predictions.slice(0, 20).map(({ label }, index) => {
    const box = el("input", { type: "checkbox", name: "class", value: label });
    box.checked = index < 3;
    return el("label", { class: "check", dir: "auto" }, box, label);
  });
  const said = el("p", { class: "hint", role: "status" });
  const button = el("button", { class: "button button-strong", type: "submit" }, "Explain again");
  const form = el(
    "form",
    { class: "again" },
    field("Method", method),
    sampling,
    el("fieldset", { class: "class-boxes" }, el("legend", {}, "Classes"), classes),
    button,
    said,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const chosen = [...form.querySelectorAll('[name="class"]:checked')].map((box) => box.value);
    if (!chosen.length) {
      said.textContent = "Choose at least one class.";
      return;
    }
    button.disabled = true;
    try {
      await explainAgain(image.image_id, { classes: chosen, ...wishes(form.elements) });
      said.textContent = "Asked for. It comes above, under Explanation.";
      announce("Another explanation was asked for");
      onAsked();
    } catch (problem) {
      said.textContent = problem.message;
    }
    button.disabled = false;
  });
  return el("details", { class: "panel" }, el("summary", {}, "Explain again"), form);
}

function wishes({ method, samples, noise_level: noise, estimator, seed }) {
  if (!NOISY.includes(method.value)) return { method: method.value };
  return {
    method: method.value,
    samples: Number(samples.value),
    noise_level: Number(noise.value),
    estimator: estimator.value,
    seed: Number(seed.value),
  };
}

function field(title, input) {
  return el("label", { class: "field" }, el("span", {}, title), input);
}

export const anyOpen = (image) => explanationsOf(image).some(({ state }) => !isFinal(state));
