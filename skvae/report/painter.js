// Points stamped into the pixels of a canvas, from the farthest to the nearest, so that a hundred thousand of them turn
// without a graphics card.

// Markers of matplotlib, with a radius of about 1.
const MARKERS = {
  o: "M1 0A1 1 0 1 1-1 0A1 1 0 1 1 1 0Z",
  "^": "M0-1.15L1.1.85H-1.1Z",
  s: "M-.9-.9H.9V.9H-.9Z",
  D: "M0-1.25L1.25 0 0 1.25-1.25 0Z",
  v: "M0 1.15L1.1-.85H-1.1Z",
  "*": "M0-1.4L.33-.45 1.33-.43.53.17.82 1.13 0 .56-.82 1.13-.53.17-1.33-.43-.33-.45Z",
  P: "M-.4-1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4Z",
  X: "M-.55-1.1L0-.55.55-1.1 1.1-.55.55 0 1.1.55.55 1.1 0 .55-.55 1.1-1.1.55-.55 0-1.1-.55Z",
};
const REACH = 1.45; // of the largest marker
const N_LEVELS = 8; // of depth, each with its colours and sizes

const parseColour = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
const mix = (one, other, share) => one.map((value, k) => Math.round(value + (other[k] - value) * share));
const toPixel = ([red, green, blue]) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;

// How much a marker covers of each pixel, for a middle at one of 2 x 2 places within a pixel.
function makeStamps(marker, radius) {
  const reach = Math.ceil(radius * REACH + 0.5);
  const side = 2 * reach + 1;
  const canvas = make("canvas", { width: side, height: side });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  return [0, 1, 2, 3].map((place) => {
    const middle = [reach + 0.25 + 0.5 * (place & 1), reach + 0.25 + 0.5 * (place >> 1)];
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, side, side);
    context.setTransform(radius, 0, 0, radius, ...middle);
    context.fill(new Path2D(MARKERS[marker]));
    const { data } = context.getImageData(0, 0, side, side);
    return { reach, side, cover: Uint8Array.from({ length: side * side }, (_, k) => data[4 * k + 3]) };
  });
}

function stamp(pixels, width, height, x, y, colour, { reach, side, cover }) {
  const left = x - reach, top = y - reach;
  if (left < 0 || top < 0 || left + side > width || top + side > height) return;
  for (let row = 0, k = 0; row < side; row++) {
    let at = (top + row) * width + left;
    for (let column = 0; column < side; column++, k++, at++) {
      const share = cover[k];
      if (share > 250) {
        pixels[at] = colour;
      } else if (share > 4) {
        const below = pixels[at];
        const red = (below & 255) + ((((colour & 255) - (below & 255)) * share) >> 8);
        const green = ((below >> 8) & 255) + (((((colour >> 8) & 255) - ((below >> 8) & 255)) * share) >> 8);
        const blue = ((below >> 16) & 255) + (((((colour >> 16) & 255) - ((below >> 16) & 255)) * share) >> 8);
        pixels[at] = (255 << 24) | (blue << 16) | (green << 8) | red;
      }
    }
  }
}

// A canvas, and the stamps that it was last painted with.
class Painter {
  constructor(canvas, figure) {
    this.canvas = canvas;
    this.figure = figure;
    this.context = canvas.getContext("2d");
    this.stamps = new Map();
  }

  resize(width, height, ratio) {
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.ratio = ratio;
    this.image = this.context.createImageData(this.canvas.width, this.canvas.height);
    this.pixels = new Uint32Array(this.image.data.buffer);
  }

  // Colours as the page has them now: it may be dark, or paper.
  readColours({ groups }) {
    const style = getComputedStyle(this.figure);
    const read = (name) => style.getPropertyValue(name).trim();
    const [stage, line] = [read("--stage"), read("--line")].map(parseColour);
    const own = groups.map(({ colour }) => parseColour(read("--hue-" + colour.slice(1)) || colour));
    return { stage, line, own, text: read("--text"), paper: read("--stage") };
  }

  stampsOf(marker, radius) {
    const key = marker + radius.toFixed(1);
    if (!this.stamps.has(key)) this.stamps.set(key, makeStamps(marker, Number(radius.toFixed(1))));
    return this.stamps.get(key);
  }

  paint(projection, colouring, radius, isFlat, step) {
    const { width, height } = this.canvas;
    const colours = this.readColours(colouring);
    this.pixels.fill(toPixel(colours.stage));
    for (const look of colouring.looks.includes(FAINT) ? [FAINT, STRONG] : [STRONG]) {
      const table = colouring.groups.map(({ marker }, code) =>
        Array.from({ length: N_LEVELS }, (_, level) => {
          const far = isFlat ? 0 : 1 - level / (N_LEVELS - 1);
          const colour = look === FAINT ? mix(colours.stage, colours.line, 0.8) : colours.own[code];
          return {
            colour: toPixel(mix(colour, colours.stage, 0.45 * far)),
            stamps: this.stampsOf(marker, Math.max(radius * (1 - 0.35 * far), 0.6)),
          };
        }),
      );
      this.stampAll(projection, colouring, look, table, step);
    }
    this.context.putImageData(this.image, 0, 0);
    return colours;
  }

  stampAll({ x, y, depth, order }, { codes, looks }, look, table, step) {
    const { width, height } = this.canvas;
    for (let k = 0; k < order.length; k += step) {
      const i = order[k];
      if (looks[codes[i]] !== look) continue;
      const { colour, stamps } = table[codes[i]][depth[i] >> 5];
      const left = Math.floor(x[i]), top = Math.floor(y[i]);
      const place = (x[i] - left >= 0.5 ? 1 : 0) + (y[i] - top >= 0.5 ? 2 : 0);
      stamp(this.pixels, width, height, left, top, colour, stamps[place]);
    }
  }

  // Names of groups, the largest first, where there is room for them.
  write(places, { text, paper }) {
    const { context, ratio } = this;
    const taken = [];
    context.font = `600 ${12 * ratio}px ${getComputedStyle(this.figure).fontFamily}`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    for (const { name, x: middle, y } of places) {
      if (middle < 0 || middle > this.canvas.width) continue;
      const shown = name.length > 24 ? name.slice(0, 23) + "…" : name;
      const width = context.measureText(shown).width;
      const x = Math.max(Math.min(middle, this.canvas.width - width / 2 - 4 * ratio), width / 2 + 4 * ratio);
      const box = [x - width / 2, y - 8 * ratio, x + width / 2, y + 8 * ratio];
      const isFree = taken.every((o) => box[0] > o[2] || box[2] < o[0] || box[1] > o[3] || box[3] < o[1]);
      if (!isFree) continue;
      taken.push(box);
      context.strokeStyle = paper;
      context.lineWidth = 4 * ratio;
      context.strokeText(shown, x, y);
      context.fillStyle = text;
      context.fillText(shown, x, y);
    }
  }
}
