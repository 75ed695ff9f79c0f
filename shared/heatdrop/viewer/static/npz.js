// NumPy's .npz: a zip file of .npy arrays, read in the browser.

const END = 0x06054b50;
const ENTRY = 0x02014b50;
const LOCAL = 0x04034b50;
const STORED = 0;
const DEFLATED = 8;
const IN_ZIP64 = 0xffffffff;

const NUMBERS = {
  "<f4": Float32Array,
  "<f8": Float64Array,
  "<i4": Int32Array,
  "<i8": BigInt64Array,
  "|u1": Uint8Array,
  "|b1": Uint8Array,
};

export class UnreadableMaps extends Error {}

/** All arrays of an .npz: a Map of name to {shape, data}; text becomes {shape, text}. */
export async function readNpz(buffer) {
  const arrays = new Map();
  try {
    for (const entry of entriesOf(new DataView(buffer))) {
      arrays.set(entry.name.replace(/\.npy$/, ""), readNpy(await contentOf(buffer, entry)));
    }
  } catch (problem) {
    // A wrong length or offset points outside the file.
    if (problem instanceof RangeError) throw new UnreadableMaps("The maps file is damaged.");
    throw problem;
  }
  return arrays;
}

/** The entries in the directory at the end of a zip file. */
function entriesOf(view) {
  let at = view.byteLength - 22;
  while (at >= 0 && view.getUint32(at, true) !== END) at -= 1;
  if (at < 0) throw new UnreadableMaps("The maps file is cut short. Reload the page to fetch it again.");
  const count = view.getUint16(at + 10, true);
  const entries = [];
  let start = view.getUint32(at + 16, true);
  for (let index = 0; index < count; index += 1) {
    if (view.getUint32(start, true) !== ENTRY) throw new UnreadableMaps("The maps file is damaged.");
    const nameLength = view.getUint16(start + 28, true);
    const extraLength = view.getUint16(start + 30, true);
    const entry = {
      name: new TextDecoder().decode(new Uint8Array(view.buffer, start + 46, nameLength)),
      method: view.getUint16(start + 10, true),
      packed: view.getUint32(start + 20, true),
      size: view.getUint32(start + 24, true),
      offset: view.getUint32(start + 42, true),
    };
    if ([entry.packed, entry.size, entry.offset].includes(IN_ZIP64)) {
      throw new UnreadableMaps("The maps file is larger than 4 GB, which this page does not read.");
    }
    entries.push(entry);
    start += 46 + nameLength + extraLength + view.getUint16(start + 32, true);
  }
  return entries;
}

async function contentOf(buffer, { name, method, packed, size, offset }) {
  const view = new DataView(buffer);
  if (view.getUint32(offset, true) !== LOCAL) throw new UnreadableMaps("The maps file is damaged.");
  const start = offset + 30 + view.getUint16(offset + 26, true) + view.getUint16(offset + 28, true);
  const bytes = new Uint8Array(buffer, start, packed);
  if (method !== STORED && method !== DEFLATED) throw new UnreadableMaps(`The maps file holds ${name} packed in an unknown way.`);
  const content = method === STORED ? bytes.slice() : await inflated(bytes);
  if (content.byteLength !== size) throw new UnreadableMaps(`The maps file is cut short in ${name}.`);
  return content;
}

async function inflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  try {
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch {
    throw new UnreadableMaps("The maps file is damaged.");
  }
}

/** One array from the bytes of an .npy file. */
function readNpy(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const wide = bytes[6] > 1;
  const headerStart = wide ? 12 : 10;
  const headerLength = wide ? view.getUint32(8, true) : view.getUint16(8, true);
  const header = new TextDecoder().decode(bytes.subarray(headerStart, headerStart + headerLength));
  const type = /'descr': '([^']+)'/.exec(header)?.[1];
  const columnsFirst = /'fortran_order': True/.test(header);
  const shape = (/'shape': \(([^)]*)\)/.exec(header)?.[1] ?? "").split(",").filter((part) => part.trim()).map(Number);
  const content = bytes.slice(headerStart + headerLength);
  if (/^<U\d+$/.test(type)) return { shape, text: textOf(content) };
  const Numbers = NUMBERS[type];
  if (!Numbers) throw new UnreadableMaps(`The maps file holds values of type ${type}, which this page does not read.`);
  const data = new Numbers(content.buffer, 0, shape.reduce((product, side) => product * side, 1));
  return { shape, data: columnsFirst ? rowsFirst(data, shape) : data };
}

/** NumPy stores text as four bytes per character, padded with zeros. */
function textOf(content) {
  const letters = new Uint32Array(content.buffer, 0, content.byteLength >> 2);
  let text = "";
  for (const letter of letters) if (letter) text += String.fromCodePoint(letter);
  return text;
}

function rowsFirst(data, shape) {
  if (shape.length < 2) return data;
  if (shape.length > 2) throw new UnreadableMaps("The maps file holds arrays in an order that this page does not read.");
  const [rows, columns] = shape;
  return data.map((_, index) => data[(index % columns) * rows + Math.floor(index / columns)]);
}
