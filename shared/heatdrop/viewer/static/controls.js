// The controls: class, layer, colours, opacity, threshold.

import { COLOUR_MAPS } from "./colormaps.js";
import { el, freshId } from "./dom.js";
import { score } from "./format.js";
import { bar } from "./gallery.js";
import { STANDARD_ERROR, layerMeaning, layerTitle } from "./layers.js";

/** The classes with their scores as bars; explained classes can be selected. */
export function classChoice(image, heatmaps, chosen, onChoose) {
  const name = freshId("class");
  const explained = new Set(heatmaps.map(({ label }) => label));
  const rows = image.predictions.map((prediction) => {
    const has = explained.has(prediction.label);
    const radio = has && el("input", { type: "radio", name, value: prediction.label, onchange: () => onChoose(prediction.label) });
    if (radio) radio.checked = prediction.label === chosen;
    return el(
      has ? "label" : "div",
      { class: `score ${has ? "score-has" : ""}` },
      radio,
      el("span", { class: "score-label", dir: "auto" }, prediction.label),
      el("span", { class: "score-value" }, score(prediction.score)),
      bar(prediction.score),
      !has && el("span", { class: "hidden-text" }, " (no heatmap)"),
    );
  });
  const several = heatmaps.length < image.predictions.length;
  return el(
    "fieldset",
    { class: "panel" },
    el("legend", {}, "Class"),
    el("div", { class: "scores" }, rows),
    several && el("p", { class: "hint" }, "Classes without a mark have no heatmap; explain again to get one."),
  );
}

/** The layers of a maps file as a row of buttons, one of them pressed. */
export function layerChoice(names, chosen, estimated, onChoose) {
  const group = freshId("layer");
  const meaning = el("p", { class: "hint" });
  const explain = (name) => {
    const of = name === STANDARD_ERROR && estimated ? ` Of ${layerTitle(estimated)}.` : "";
    meaning.textContent = layerMeaning(name) + of;
  };
  const buttons = names.map((name) => {
    const radio = el("input", { type: "radio", name: group, value: name, onchange: () => (explain(name), onChoose(name)) });
    radio.checked = name === chosen;
    return el("label", { class: "choice" }, radio, el("span", {}, layerTitle(name)));
  });
  explain(chosen);
  return el("fieldset", { class: "panel" }, el("legend", {}, "Layer"), el("div", { class: "choices" }, buttons), meaning);
}

/** Colour map, opacity and threshold; `look` is changed in place. */
export function lookControls(look, onChange) {
  const colours = el(
    "select",
    { name: "colours", onchange: () => change({ colours: colours.value }) },
    COLOUR_MAPS.map(({ name, title, safe }) => el("option", { value: name }, safe ? `${title} · colour-blind safe` : title)),
  );
  const opacity = slider("Opacity", "opacity", look, (value) => change({ opacity: value }));
  const threshold = slider("Threshold", "threshold", look, (value) => change({ threshold: value }));
  const shown = el("input", { type: "checkbox", name: "shown", onchange: () => change({ shown: shown.checked }) });
  const change = (values) => {
    Object.assign(look, values);
    onChange();
  };
  const show = () => {
    colours.value = look.colours;
    shown.checked = look.shown;
    opacity.show();
    threshold.show();
  };
  show();
  const element = el(
    "fieldset",
    { class: "panel" },
    el("legend", {}, "Look"),
    el("label", { class: "field" }, el("span", {}, "Colour map"), colours),
    opacity.element,
    threshold.element,
    el("label", { class: "check" }, shown, "Show the heatmap"),
  );
  return { element, show };
}

function slider(title, name, look, onChange) {
  const id = freshId("slider");
  const input = el("input", { type: "range", id, name, min: "0", max: "1", step: "0.01" });
  const output = el("output", { for: id });
  const show = () => {
    input.value = look[name];
    output.value = `${Math.round(look[name] * 100)} %`;
  };
  input.addEventListener("input", () => {
    onChange(Number(input.value));
    show();
  });
  const element = el("div", { class: "slider" }, el("label", { for: id }, title), output, input);
  return { element, show };
}
