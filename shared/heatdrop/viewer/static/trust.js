// Can the map on the screen be trusted? What was measured of maps of exactly its kind, and how the kinds compare.

import { announce, el, icon } from "./dom.js";
import { facts, warningsPanel } from "./facts.js";
import { day, raw, words } from "./format.js";
import { NOISY, methodTitle } from "./layers.js";
import { saveDefaultKind, savedDefaultKind } from "./preferences.js";

const OTHER_KIND = "not measured for this kind of map";
const GRADES = { passed: "check", limited: "warn", failed: "cross" };
const RIVALS = ["random", "centre", "edges"];

/** The kind of a map: what its file says of how it was made, and which of the file's maps it is. */
export function kindOf(provenance, layer) {
  const { method, score = "logit", samples = null, noise_level: noise = null, jitter = null } = provenance;
  const estimator = method === "smoothgrad" ? layer : null;
  if (!NOISY.includes(method)) return { method, estimator, score, samples: null, noise_level: null, jitter: null };
  return { method, estimator, score, samples, noise_level: samples ? noise : null, jitter: (samples && jitter) || null };
}

const alike = (one, other) => Object.keys(one).every((name) => one[name] === (other[name] ?? null));

/** A kind in a few words. */
export function kindTitle({ method, estimator, score, samples, noise_level: noise, jitter }) {
  const parts = [methodTitle(method) + (estimator ? ` ${estimator}` : "")];
  if (samples !== null) parts.push(samples ? `${samples} samples` : "no noise");
  if (noise !== null) parts.push(`noise ${noise}`);
  if (jitter) parts.push(`jitter ${jitter}`);
  if (score !== "logit") parts.push(`of the ${score}`);
  return parts.join(", ");
}

/** What is known of maps of the kind on the screen; `relative` is their sampling error, or null. */
export function trustPanel(provenance, model, relative, layer) {
  const known = model?.certificates ?? [];
  const certificate = known.find(({ kind }) => alike(kindOf(provenance, layer), kind));
  return el(
    "section",
    { class: "panel" },
    el("h3", {}, "Can this map be trusted?"),
    relative !== null &&
      el("p", {}, "Sampling error of the whole map: ", el("strong", {}, `${(relative * 100).toFixed(1)}\u00a0%`), "."),
    certificate ? findings(certificate) : unknown(provenance, known, layer),
    known.length > 1 && comparison(known, certificate),
  );
}

function unknown(provenance, known, layer) {
  const written = provenance.certificate;
  const then = typeof written === "object" ? written?.[layer] : written;
  const line = known.length ? OTHER_KIND : (then ?? "not measured");
  return [
    el("p", {}, el("strong", {}, words(line)), line.endsWith(".") || line.endsWith(")") ? "" : "."),
    line.startsWith("not measured") &&
      el("p", { class: "hint" }, "Nobody has measured whether such maps of this model mean anything: heatdrop bundle certify does."),
  ];
}

function findings(certificate) {
  return [
    el("p", { class: `grade grade-${certificate.grade}` }, icon(GRADES[certificate.grade]), el("strong", {}, words(certificate.grade))),
    el("p", {}, certificate.sentence),
    el("p", { class: "hint" }, `Measured on ${certificate.images} images on ${day(certificate.measured_on)}.`),
    certificate.alarms?.length > 0 && warningsPanel(certificate.alarms),
    el(
      "ul",
      { class: "checks" },
      certificate.checks.map((check) =>
        el(
          "li",
          { class: `grade-${check.grade}` },
          icon(GRADES[check.grade]),
          el("div", {}, el("strong", {}, `${words(check.name)}: ${check.grade}`), el("p", {}, check.statement)),
        ),
      ),
    ),
    figures(certificate),
  ];
}

/** The measured numbers behind the findings. */
function figures(certificate) {
  const measured = certificate.checks.filter((check) => Object.keys(check.figures ?? {}).length > 0);
  if (!measured.length) return null;
  return el(
    "details",
    { class: "figures" },
    el("summary", {}, "Measured figures, with 95\u00a0% intervals"),
    measured.map((check) => [
      el("h4", {}, words(check.name)),
      facts(Object.fromEntries(Object.entries(check.figures).map(([name, figure]) => [name, inNumbers(figure)]))),
    ]),
  );
}

const inNumbers = (figure) => (Array.isArray(figure) ? `${raw(figure[0])} (${raw(figure[1])} to ${raw(figure[2])})` : raw(figure));

/** Which kind of map is most faithful for this model, the best first; each can become the one that is asked for. */
function comparison(known, shown) {
  const rows = [...known].sort((one, other) => (other.faithfulness?.[0] ?? -1) - (one.faithfulness?.[0] ?? -1));
  return el(
    "details",
    { class: "figures" },
    el("summary", {}, "Which kind of map is most faithful for this model?"),
    el(
      "div",
      { class: "table-wrap" },
      el(
        "table",
        { class: "kinds" },
        el("thead", {}, el("tr", {}, ["Kind of map", "Faithfulness", "Behind the best", "Better than", "Seconds", "Grade", ""].map((title) => el("th", { scope: "col" }, title)))),
        el("tbody", {}, rows.map((certificate) => row(certificate, certificate === shown))),
      ),
    ),
    el("p", { class: "hint" }, "Faithfulness is insertion less deletion: the more, the better the map shows what the score depends on. Intervals hold 95\u00a0%."),
  );
}

function row(certificate, isShown) {
  const measured = Object.assign({}, ...certificate.checks.map((check) => check.figures));
  const better = RIVALS.filter((rival) => ["insertion", "deletion"].every((way) => measured[`${way}_gain_over_${rival}`]?.[1] > 0));
  const button = el("button", { class: "button", type: "button" }, "Make default");
  const show = () => {
    button.disabled = alike(certificate.kind, savedDefaultKind() ?? {});
    button.textContent = button.disabled ? "Default" : "Make default";
  };
  button.addEventListener("click", () => {
    saveDefaultKind(certificate.kind);
    announce(`${kindTitle(certificate.kind)} is the default now`);
    button.closest("tbody").dispatchEvent(new Event("default"));
  });
  const cells = [
    kindTitle(certificate.kind),
    certificate.faithfulness ? inNumbers(certificate.faithfulness) : "",
    certificate.behind_best ? inNumbers(certificate.behind_best) : "",
    better.join(", ") || "none",
    certificate.seconds === null || certificate.seconds === undefined ? "" : raw(certificate.seconds),
    certificate.grade,
    button,
  ];
  show();
  const made = el("tr", { "aria-current": isShown ? "true" : null }, cells.map((cell) => el("td", {}, cell)));
  // Once another kind becomes the default, every row shows it.
  queueMicrotask(() => made.closest("tbody")?.addEventListener("default", show));
  return made;
}
