// Points of a map: unpacked from the page, and projected onto a canvas.

const N_STEPS = 65535; // of a coordinate
const PERSPECTIVE = 0.2; // by which the nearest point is larger
const HIDDEN = 0, FAINT = 1, STRONG = 2;

const decode = (text, Type) => new Type(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);

// Positions around the middle, three a point; how far they reach along each axis, and all but a hundredth from the
// middle.
function unpackPoints({ size, dimensions, low, high, data }) {
  const steps = decode(data, Uint16Array);
  const positions = new Float32Array(3 * size);
  const half = low.map((from, axis) => (high[axis] - from) / 2);
  const distances = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    let square = 0;
    for (let axis = 0; axis < dimensions; axis++) {
      const value = ((2 * steps[dimensions * i + axis]) / N_STEPS - 1) * half[axis];
      positions[3 * i + axis] = value;
      square += value * value;
    }
    distances[i] = Math.sqrt(square);
  }
  const radius = distances.sort()[Math.floor(0.99 * (size - 1))] || 1;
  return { size, dimensions, positions, half, radius };
}

function unpackColouring({ name, groups, bits, data }) {
  return {
    name,
    groups,
    codes: decode(data, bits === 8 ? Uint8Array : Uint16Array),
    looks: new Uint8Array(groups.length).fill(STRONG),
    middles: null,
  };
}

// The median of each group's points, where its name is written.
function findMiddles({ positions }, { groups, codes }) {
  const members = groups.map(() => []);
  codes.forEach((code, i) => members[code].push(i));
  return members.map((rows) =>
    [0, 1, 2].map((axis) => Float32Array.from(rows, (i) => positions[3 * i + axis]).sort()[rows.length >> 1]),
  );
}

// An order of points in which no group lies on top of all others; the same each time.
function shuffled(size) {
  const order = Uint32Array.from({ length: size }, (_, i) => i);
  let state = 1;
  for (let i = size - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((state / 2 ** 32) * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

// Where points are on the canvas, in its pixels, how far away, and in which order they are drawn.
class Projection {
  constructor(points) {
    this.points = points;
    this.x = new Float32Array(points.size);
    this.y = new Float32Array(points.size);
    this.depth = new Uint8Array(points.size).fill(255);
    this.given = shuffled(points.size);
    this.order = this.given.slice();
  }

  // The function that projects a position.
  look({ yaw, pitch, zoom, left, top }, width, height) {
    const { dimensions, half, radius } = this.points;
    const scale =
      dimensions === 3
        ? (0.47 * Math.min(width, height)) / radius
        : Math.min(width / (2.12 * half[0] || 1), height / (2.12 * half[1] || 1));
    const [cosYaw, sinYaw, cosPitch, sinPitch] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
    return (x, y, z, place) => {
      const across = cosYaw * x + sinYaw * z;
      const deep = cosYaw * z - sinYaw * x;
      const near = Math.max(Math.min((sinPitch * y + cosPitch * deep) / radius, 2), -2);
      const size = (scale * zoom) / (1 - PERSPECTIVE * near);
      place.x = width / 2 + (across * size + left * scale * zoom);
      place.y = height / 2 - ((cosPitch * y - sinPitch * deep) * size + top * scale * zoom);
      place.depth = 127.5 * (1 + Math.min(Math.max(near, -1), 1));
    };
  }

  update(view, width, height) {
    const { positions, size, dimensions } = this.points;
    const project = this.look(view, width, height);
    const place = { x: 0, y: 0, depth: 0 };
    for (let i = 0; i < size; i++) {
      project(positions[3 * i], positions[3 * i + 1], positions[3 * i + 2], place);
      this.x[i] = place.x;
      this.y[i] = place.y;
      if (dimensions === 3) this.depth[i] = place.depth;
    }
    if (dimensions === 3) this.sort();
  }

  // A counting sort by depth.
  sort() {
    const starts = new Uint32Array(257);
    for (const depth of this.depth) starts[depth + 1]++;
    for (let depth = 0; depth < 256; depth++) starts[depth + 1] += starts[depth];
    for (const i of this.given) this.order[starts[this.depth[i]]++] = i;
  }

  // The point that is nearest to a place on the canvas, -1 if none is as near as `reach`.
  find(x, y, reach, isShown) {
    let best = reach * reach, found = -1;
    for (const i of this.order) {
      const square = (this.x[i] - x) ** 2 + (this.y[i] - y) ** 2;
      if (square <= best && isShown(i)) [best, found] = [square, i];
    }
    return found;
  }
}
