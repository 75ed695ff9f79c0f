// Facts about a result: warnings, how it was made, where its files are.

import { fileUrl } from "./api.js";
import { el, icon } from "./dom.js";
import { bytes, milliseconds, moment, raw, words } from "./format.js";

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

/** A sentence about an image that is unlike those that the model was validated on; none where it is not. */
export function unusual({ unusual: share }) {
  if (!(share >= 0.99)) return [];
  const than = share >= 1 ? "all" : `${(share * 100).toFixed(1)}\u00a0% of the`;
  return [`This image is less usual than ${than} validation images: the model may not know its kind.`];
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
    less_usual_than: typeof image.unusual === "number" ? `${(image.unusual * 100).toFixed(1)}\u00a0% of the validation images` : null,
    finished: moment(image.updated_at),
  };
  return el(
    "details",
    { class: "panel" },
    el("summary", {}, "Provenance"),
    facts(what),
    el("h4", {}, "How the map was made"),
    facts(how),
    Object.keys(image.timings_ms ?? {}).length > 0 && [
      el("h4", {}, "Times"),
      facts(Object.fromEntries(Object.entries(image.timings_ms).map(([name, value]) => [name, milliseconds(value)]))),
    ],
  );
}

/** Names and values as a list. */
export function facts(values) {
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
