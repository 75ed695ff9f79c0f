// The view of an explained image: the picture, and the controls beside it.

import { fileUrl, maps } from "./api.js";
import { againPanel, explanationChoice, explanationsOf } from "./explanations.js";
import { saveLook, savedDefaultKind, savedLook } from "./preferences.js";
import { COLOUR_MAPS } from "./colormaps.js";
import { classChoice, layerChoice, lookControls } from "./controls.js";
import { el, failure } from "./dom.js";
import { downloadsPanel, provenancePanel, unusual, warningsPanel } from "./facts.js";
import { fileName, score } from "./format.js";
import { relativeError } from "./heat.js";
import { STANDARD_ERROR, drawnLayer, layerTitle, layersOf, provenanceIn } from "./layers.js";
import { readNpz } from "./npz.js";
import { Stage } from "./stage.js";
import { trustPanel } from "./trust.js";

export class Workbench {
  constructor(image, models, onAsked) {
    this.image = image;
    this.model = models.find(({ version }) => version === image.model?.version);
    this.look = savedLook();
    this.explanation = "";
    this.layer = null;
    this.read = new Map();
    this.stage = new Stage();
    this.problem = el("div");
    this.choice = el("div", { class: "slot" });
    this.classes = el("div", { class: "slot" });
    this.layers = el("div", { class: "slot" });
    this.facts = el("div", { class: "slot" });
    this.controls = lookControls(this.look, () => this.#redraw());
    this.again = againPanel(image, onAsked);
    this.element = el(
      "div",
      { class: "bench" },
      el("div", { class: "bench-stage" }, this.stage.element, this.problem),
      el("div", { class: "bench-side" }, this.choice, this.classes, this.layers, this.controls.element, this.facts, this.again),
    );
    this.ready = this.#begin();
  }

  /** Update to a changed image, which may have other explanations. */
  update(image) {
    this.image = image;
    this.#showChoice();
  }

  /** Select a class by its index among the explained ones. */
  chooseClass(place) {
    const heatmap = this.heatmaps[place];
    if (heatmap && heatmap.label !== this.label) this.#chooseClass(heatmap.label);
  }

  nextLayer() {
    const names = layersOf(this.arrays);
    this.#chooseLayer(names[(names.indexOf(this.layer) + 1) % names.length]);
    this.#showLayers();
  }

  nextColours() {
    const at = COLOUR_MAPS.findIndex(({ name }) => name === this.look.colours);
    this.look.colours = COLOUR_MAPS[(at + 1) % COLOUR_MAPS.length].name;
    this.#redraw();
  }

  turn(name, by) {
    this.look[name] = Math.round(Math.min(Math.max(this.look[name] + by, 0), 1) * 100) / 100;
    this.#redraw();
  }

  toggle() {
    this.look.shown = !this.look.shown;
    this.#redraw();
  }

  get heatmaps() {
    const chosen = explanationsOf(this.image).find(({ explanation_id: id }) => id === this.explanation);
    return chosen?.heatmaps ?? this.image.heatmaps;
  }

  get query() {
    return this.explanation ? { explanation: this.explanation } : {};
  }

  async #begin() {
    this.#showChoice();
    try {
      await this.stage.setPicture(fileUrl(this.image.image_id, "picture"));
    } catch {
      this.problem.replaceChildren(failure(new Error("The picture cannot be had. Reload the page, or drop the image again.")));
      return;
    }
    await this.#chooseClass(this.heatmaps[0].label);
  }

  async #chooseExplanation(id) {
    this.explanation = id;
    this.layer = null;
    const again = this.heatmaps.find(({ label }) => label === this.label) ?? this.heatmaps[0];
    await this.#chooseClass(again.label);
  }

  async #chooseClass(label) {
    this.label = label;
    this.#showClasses();
    const wanted = `${this.explanation}\n${label}`;
    try {
      if (!this.read.has(wanted)) this.read.set(wanted, maps(this.image.image_id, label, this.query).then(readNpz));
      const arrays = await this.read.get(wanted);
      // Another one may have been selected while it was loaded.
      if (`${this.explanation}\n${this.label}` !== wanted) return;
      this.arrays = arrays;
      this.problem.replaceChildren();
    } catch (problem) {
      this.read.delete(wanted);
      this.problem.replaceChildren(failure(problem, () => this.#chooseClass(label)));
      return;
    }
    this.provenance = provenanceIn(this.arrays);
    const names = layersOf(this.arrays);
    this.stage.estimated = drawnLayer(this.provenance, names);
    const wished = savedDefaultKind()?.estimator;
    const first = names.includes(wished) ? wished : this.stage.estimated;
    this.#chooseLayer(names.includes(this.layer) ? this.layer : first);
    this.#showLayers();
  }

  #chooseLayer(name) {
    this.layer = name;
    const best = this.image.predictions.find(({ label }) => label === this.label);
    const words = `${layerTitle(name)} of ${this.label}${best ? ` ${score(best.score)}` : ""} over ${fileName(this.image.drop.key)}`;
    this.stage.setLayer(this.arrays, name, words);
    this.#showFacts();
    this.#redraw();
  }

  #redraw() {
    this.controls.show();
    this.stage.draw(this.look);
    saveLook(this.look);
  }

  #showChoice() {
    const choice = explanationChoice(this.image, this.explanation, (id) => this.#chooseExplanation(id));
    this.choice.replaceChildren(...(choice ? [choice] : []));
  }

  #showClasses() {
    // Rebuilt only for another explanation, since rebuilding a control takes its focus away.
    const shown = this.classes.querySelectorAll("input");
    if (this.shownClasses === this.explanation && shown.length) {
      this.heatmaps.forEach(({ label }) => {
        const radio = [...shown].find(({ value }) => value === label);
        if (radio) radio.checked = label === this.label;
      });
      return;
    }
    this.shownClasses = this.explanation;
    this.classes.replaceChildren(classChoice(this.image, this.heatmaps, this.label, (label) => this.#chooseClass(label)));
  }

  #showLayers() {
    const names = layersOf(this.arrays);
    const focused = this.layers.contains(document.activeElement);
    this.layers.replaceChildren(layerChoice(names, this.layer, this.stage.estimated, (name) => this.#chooseLayer(name)));
    if (focused) this.layers.querySelector("input:checked")?.focus();
  }

  #showFacts() {
    const errors = this.arrays.get(STANDARD_ERROR)?.data;
    // The standard error is that of one estimator alone.
    const shown = this.layer === STANDARD_ERROR ? this.stage.estimated : this.layer;
    const values = this.arrays.get(shown).data;
    const known = errors && shown === this.stage.estimated;
    const open = [...this.facts.querySelectorAll("details")].map((details) => details.open && details.querySelector("summary").textContent);
    const parts = [
      warningsPanel([...(this.provenance.warnings ?? []), ...unusual(this.image)]),
      trustPanel(this.provenance, this.model, known ? relativeError(values, errors) : null, shown),
      downloadsPanel(this.image, this.heatmaps.find(({ label }) => label === this.label), this.query, () => this.#save()),
      provenancePanel(this.image, this.provenance),
    ];
    this.facts.replaceChildren(...parts.filter(Boolean));
    for (const details of this.facts.querySelectorAll("details")) details.open = open.includes(details.querySelector("summary").textContent);
  }

  async #save() {
    const url = URL.createObjectURL(await this.stage.snapshot());
    el("a", { href: url, download: `${this.image.image_id.slice(0, 12)}-${this.layer}.png` }).click();
    URL.revokeObjectURL(url);
  }
}
