// Requests to the API, all through the server that this page came from.

const GUARD = { "X-Heatdrop": "1" };

/** A problem document (RFC 9457): the message says what is wrong and what to do. */
export class Problem extends Error {
  constructor(status, title, detail) {
    super(detail);
    this.status = status;
    this.title = title;
  }
}

/** One page of a list. */
export const images = (filters, pageToken) => get("images", { ...filters, page_token: pageToken });

/** A complete image in the form of list entries: with the label and score of its best class. */
export function summary({ predictions, ...image }) {
  const { label = null, score = null } = predictions[0] ?? {};
  return { ...image, label, score };
}

export const image = (id) => get(`images/${id}`);
export const labels = async () => (await get("labels")).labels.map(({ label }) => label);
export const models = async () => (await get("models")).models;
export const health = () => get("health");

/** Request another explanation of an image. */
export function explainAgain(id, wishes) {
  return answer(
    fetch(`/api/images/${id}/explanations`, {
      method: "POST",
      headers: { ...GUARD, "Content-Type": "application/json" },
      body: JSON.stringify(wishes),
    }),
  );
}

/** The URL of an artefact on our own server; `query` may select one explanation. */
export function fileUrl(id, artefact, label, query = {}) {
  const search = parameters({ label, ...query });
  return `/files/${id}/${artefact}${search ? `?${search}` : ""}`;
}

/** The bytes of the raw maps of one class. */
export async function maps(id, label, query = {}) {
  const found = await reached(fetch(fileUrl(id, "maps", label, query)));
  if (!found.ok) throw await problemIn(found);
  return found.arrayBuffer();
}

/** Upload one file; `progress` is called with the share sent, 0 to 1. Resolves to the API's answer, with the key. */
export function upload(file, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `/uploads?${parameters({ name: file.name })}`);
    request.setRequestHeader("X-Heatdrop", "1");
    request.setRequestHeader("Content-Type", mediaType(file));
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onerror = () => reject(unreachable());
    request.onload = () => {
      const document = parsed(request.responseText);
      if (request.status < 300 && document) resolve(document);
      else reject(problemOf(request.status, document));
    };
    request.send(file);
  });
}

const TYPES = { bmp: "image/bmp", jpeg: "image/jpeg", jpg: "image/jpeg", png: "image/png", tif: "image/tiff" };
Object.assign(TYPES, { tiff: "image/tiff", webp: "image/webp", dcm: "application/dicom", dicom: "application/dicom" });

/** A file's type by its suffix; unknown ones count as DICOM, whose files often have none. */
function mediaType(file) {
  const suffix = file.name.slice(file.name.lastIndexOf(".") + 1).toLowerCase();
  return TYPES[suffix] ?? (file.type || "application/dicom");
}

function get(path, query = {}) {
  const search = parameters(query);
  return answer(fetch(`/api/${path}${search ? `?${search}` : ""}`));
}

function parameters(values) {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return new URLSearchParams(given).toString();
}

async function answer(pending) {
  const response = await reached(pending);
  if (!response.ok) throw await problemIn(response);
  return response.json();
}

async function reached(pending) {
  try {
    return await pending;
  } catch {
    throw unreachable();
  }
}

async function problemIn(response) {
  return problemOf(response.status, parsed(await response.text()));
}

function problemOf(status, document) {
  const detail = document?.detail ?? `The server answered with status ${status}.`;
  return new Problem(status, String(document?.title ?? "Something went wrong"), String(detail));
}

function unreachable() {
  return new Problem(0, "No connection", "The viewer does not answer. Is the command that started it still running?");
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
