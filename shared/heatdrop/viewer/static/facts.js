// Facts about a result: can it be trusted, how was it made, where are its files.

import { fileUrl } from "./api.js";
import { el, icon } from "./dom.js";
import { bytes, day, milliseconds, moment, raw, words } from "./format.js";

/** Warnings about maps that should not be read as an explanation. */
export function warningsPanel(warnings) {
  if (!warnings?.length) return null;
  return el(
    "section",
    { class: "notice notice-warn", role: "note", "aria-label": "Warnings" },
    icon("warn"),
    el("ul", {}, warnings.map((warning) => el("li", {}, warning))),
  );
}

/** The model's certificate: complete if the API has it, else the summary in the maps file. */
export function trustPanel(provenance, model, relative) {
  const certificate = model?.certificate;
  const full = certificate && typeof certificate === "object";
  const line = full ? null : (certificate ?? provenance.certificate ?? "not measured");
  return el(
    "section",
    { class: "panel" },
    el("h3", {}, "Can this map be trusted?"),
    relative !== null &&
      el("p", {}, "Sampling error of the whole map: ", el("strong", {}, `${(relative * 100).toFixed(1)}\u00a0%`), "."),
    line && el("p", {}, "The model’s certificate: ", el("strong", {}, line), "."),
    line === "not measured" &&
      el("p", { class: "hint" }, "Nobody has measured whether this model’s maps mean anything: heatdrop bundle certify does."),
    full && checks(certificate),
  );
}

function checks(certificate) {
  const failed = certificate.checks.filter(({ passed }) => !passed).length;
  const verdict = failed ? `${failed} of ${certificate.checks.length} checks failed` : "all checks passed";
  return [
    el(
      "p",
      {},
      "The model’s certificate: ",
      el("strong", {}, verdict),
      `, measured on ${certificate.images} images on ${day(certificate.measured_on)}.`,
    ),
    certificate.alarms?.length > 0 && warningsPanel(certificate.alarms),
    el(
      "ul",
      { class: "checks" },
      certificate.checks.map((check) =>
        el(
          "li",
          { class: check.passed ? "check-passed" : "check-failed" },
          icon(check.passed ? "check" : "cross"),
          el("div", {}, el("strong", {}, `${words(check.name)}: ${check.passed ? "passed" : "failed"}`), el("p", {}, check.statement)),
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
  const inNumbers = (figure) => (Array.isArray(figure) ? `${raw(figure[0])} (${raw(figure[1])} to ${raw(figure[2])})` : raw(figure));
  return el(
    "details",
    { class: "figures" },
    el("summary", {}, "Measured figures, with 95\u00a0% intervals"),
    measured.map((check) => [
      el("h4", {}, words(check.name)),
      table(Object.fromEntries(Object.entries(check.figures).map(([name, figure]) => [name, inNumbers(figure)]))),
    ]),
  );
}

/** How the map was made, and of what. */
export function provenancePanel(image, provenance) {
  const { warnings: _, note: __, certificate: ___, ...how } = provenance;
  const { bucket, key, version_id: version, size } = image.drop;
  const what = {
    image: image.image_id,
    key,
    bucket,
    object_version: version,
    size: size === null || size === undefined ? null : bytes(size),
    received: moment(image.created_at),
    finished: moment(image.updated_at),
  };
  return el(
    "details",
    { class: "panel" },
    el("summary", {}, "Provenance"),
    table(what),
    el("h4", {}, "How the map was made"),
    table(how),
    Object.keys(image.timings_ms ?? {}).length > 0 && [
      el("h4", {}, "Times"),
      table(Object.fromEntries(Object.entries(image.timings_ms).map(([name, value]) => [name, milliseconds(value)]))),
    ],
  );
}

function table(values) {
  const rows = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el(
    "dl",
    { class: "facts" },
    rows.map(([name, value]) => el("div", {}, el("dt", {}, words(name)), el("dd", { dir: "auto" }, inWords(value)))),
  );
}

function inWords(value) {
  if (Array.isArray(value)) return value.map(inWords).join(", ");
  if (typeof value === "number" && !Number.isInteger(value)) return raw(value);
  if (typeof value !== "object") return String(value);
  return Object.entries(value)
    .map(([name, part]) => `${name.replaceAll("_", " ")} ${inWords(part)}`)
    .join(", ");
}

/** Downloads: the files of one class, and the picture on the screen. */
export function downloadsPanel(image, { label, dicom }, query, snapshot) {
  const link = (artefact, title) =>
    el("a", { class: "button", download: true, href: fileUrl(image.image_id, artefact, label, { ...query, download: 1 }) }, icon("down"), title);
  return el(
    "section",
    { class: "panel" },
    el("h3", {}, "Download"),
    el(
      "div",
      { class: "buttons" },
      link("overlay", "Overlay"),
      link("figure", "Figure"),
      link("maps", "Raw maps"),
      dicom && link("dicom", "DICOM"),
      image.picture && el("a", { class: "button", download: true, href: fileUrl(image.image_id, "picture", null, { ...query, download: 1 }) }, icon("down"), "Picture"),
      el("button", { class: "button", type: "button", onclick: snapshot }, icon("down"), "This view"),
    ),
  );
}
