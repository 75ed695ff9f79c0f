// The layers of a maps file: one for each estimator or method, and the standard error.

export const STANDARD_ERROR = "standard_error";

const TITLES = {
  mean_abs: ["Mean |g|", "Mean of the absolute gradients: how strongly each pixel moves the score."],
  signed: ["|Mean g|", "Absolute value of the mean gradient, as in the SmoothGrad paper: what points the same way."],
  squared: ["Mean g²", "Mean of the squared gradients: strong pixels stand out more."],
  variance: ["Variance", "Variance of the gradients (VarGrad): where they change most under noise."],
  gradcam: ["Grad-CAM", "Weighted activations of the last convolution, enlarged."],
  "gradcam++": ["Grad-CAM++", "Grad-CAM with weights for each place."],
  layercam: ["LayerCAM", "Activations weighted place by place."],
  hirescam: ["HiResCAM", "Activations times their gradients: what the score depends on, in the last convolution."],
  integrated_gradients: ["Integrated", "What each pixel adds to the score on the way from the blurred picture to the image."],
  occlusion: ["Occlusion", "How much the score falls when the place is hidden."],
  rise: ["RISE", "How the score goes together with what is visible, over random masks."],
  [STANDARD_ERROR]: ["Std. error", "How much the map may be off at each pixel, since noise was sampled only so often."],
};

/** The methods and their names. */
export const METHODS = [
  ["smoothgrad", "SmoothGrad"],
  ["integrated_gradients", "Integrated gradients"],
  ["gradcam", "Grad-CAM"],
  ["gradcam++", "Grad-CAM++"],
  ["layercam", "LayerCAM"],
  ["hirescam", "HiResCAM"],
  ["occlusion", "Occlusion"],
  ["rise", "RISE"],
];

/** The methods that average over noisy copies. */
export const NOISY = ["smoothgrad", "integrated_gradients"];

export const methodTitle = (name) => METHODS.find(([known]) => known === name)?.[1] ?? name;

const ORDER = Object.keys(TITLES);

/** The names of the layers in a file, estimators first. */
export function layersOf(arrays) {
  const names = [...arrays.keys()].filter((name) => arrays.get(name).data && arrays.get(name).shape.length === 2);
  const place = (name) => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length - 1.5);
  return names.sort((one, other) => place(one) - place(other));
}

export const layerTitle = (name) => TITLES[name]?.[0] ?? name;
export const layerMeaning = (name) => TITLES[name]?.[1] ?? "";

/** How the maps were made, from the file; an empty object if it does not say. */
export function provenanceIn(arrays) {
  try {
    return JSON.parse(arrays.get("provenance").text);
  } catch {
    return {};
  }
}

/** The layer that is drawn in the overlay. */
export function drawnLayer(provenance, names) {
  const drawn = provenance.method === "smoothgrad" ? provenance.estimator : provenance.method;
  return names.includes(drawn) ? drawn : names[0];
}
