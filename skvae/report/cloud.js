// Maps of points, which readers turn, zoom and filter.

const TURN = Math.PI / 24; // of a key
const SPEED = 0.2; // radians a second
const SLOW = 24; // milliseconds of drawing above which a map in motion has fewer points
const IN_3D = {
  mouse: "Drag or use the arrow keys to turn. + and − zoom, also Ctrl with the wheel; 0 returns to the start.",
  touch: "Swipe sideways to turn, with two fingers tilt and zoom.",
};
const IN_2D = {
  mouse: "+ and − zoom, also Ctrl with the wheel; drag or use the arrow keys to move, 0 returns to the start.",
  touch: "Zoom with two fingers, then drag to move.",
};

function makeMark({ marker, colour }) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "-1.4 -1.4 2.8 2.8");
  svg.setAttribute("class", "mark");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(svg.namespaceURI, "path");
  path.setAttribute("d", MARKERS[marker]);
  path.style.fill = `var(--hue-${colour.slice(1)}, ${colour})`;
  svg.append(path);
  return svg;
}

// A map with its controls.
class Cloud {
  constructor(figure, number) {
    const data = JSON.parse(figure.querySelector("script").textContent);
    this.figure = figure;
    this.points = unpackPoints(data.points);
    this.isSolid = this.points.dimensions === 3;
    this.colourings = data.colourings.map(unpackColouring);
    this.colouring = this.colourings[0];
    this.projection = new Projection(this.points);
    this.isTurning = this.isSolid && !matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.isVisible = false;
    this.showsNames = true;
    this.isHeld = false;
    this.lit = -1;
    this.pointers = new Map();
    this.build(data.label, `map-hint-${number}`);
    this.painter = new Painter(this.canvas, figure);
    this.home();
    this.listen();
    this.watch();
  }

  home() {
    this.view = { yaw: 0.5, pitch: 0.35, zoom: 1, left: 0, top: 0 };
    this.changed();
  }

  // Controls

  build(label, hintId) {
    this.canvas = make("canvas", {
      tabindex: "0",
      role: "application",
      "aria-roledescription": "map",
      "aria-label": label,
      "aria-describedby": hintId,
    });
    this.tip = make("div", { class: "tip", hidden: "", "aria-hidden": "true" });
    this.legend = make("ul", { class: "legend", "aria-label": "Groups" });
    const hint = this.isSolid ? IN_3D : IN_2D;
    const body = make(
      "div",
      { class: "cloud-body" },
      this.makeToolbar(),
      make("div", { class: "stage" }, this.canvas, this.tip),
      make(
        "p",
        { class: "hint", id: hintId },
        make("span", { class: "mouse" }, hint.mouse),
        make("span", { class: "touch" }, hint.touch),
      ),
      this.legend,
    );
    this.figure.querySelector("noscript").replaceWith(body);
    this.fillLegend();
  }

  makeToolbar() {
    const bar = make("div", { class: "toolbar", role: "group", "aria-label": "Map" }, this.makeChoice());
    this.names = this.makeButton("Names", () => this.toggleNames());
    this.names.setAttribute("aria-pressed", "true");
    bar.append(this.names);
    if (this.isSolid) {
      this.turn = this.makeButton("Turn", () => this.setTurning(!this.isTurning));
      this.turn.setAttribute("aria-pressed", String(this.isTurning));
      bar.append(this.turn);
    }
    for (const [sign, label, action] of [
      ["−", "Zoom out", () => this.zoom(1 / 1.4)],
      ["+", "Zoom in", () => this.zoom(1.4)],
    ]) {
      const button = this.makeButton(sign, action);
      button.className = "square";
      button.setAttribute("aria-label", label);
      bar.append(button);
    }
    bar.append(this.makeButton("Reset", () => this.home()));
    return bar;
  }

  makeButton(text, action) {
    const button = make("button", { type: "button" }, text);
    button.addEventListener("click", action);
    return button;
  }

  makeChoice() {
    if (this.colourings.length === 1) return make("span", { class: "colouring" }, this.colouring.name);
    const options = this.colourings.map(({ name }, k) => make("option", { value: k }, name));
    const select = make("select", {}, ...options);
    select.addEventListener("change", () => {
      this.light(-1);
      this.colouring = this.colourings[select.value];
      this.fillLegend();
    });
    return make("label", {}, "Colour by", select);
  }

  fillLegend() {
    const buttons = this.colouring.groups.map((group, code) => {
      const button = make(
        "button",
        { type: "button", "aria-pressed": String(this.colouring.looks[code] !== HIDDEN), title: group.name },
        makeMark(group),
        make("span", { class: "name" }, group.name),
        make("span", { class: "size" }, group.size.toLocaleString("en")),
      );
      button.addEventListener("click", () => this.hide(code, this.colouring.looks[code] !== HIDDEN));
      button.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && this.light(code));
      button.addEventListener("pointerleave", () => this.light(-1));
      button.addEventListener("focus", () => button.matches(":focus-visible") && this.light(code));
      button.addEventListener("blur", () => this.light(-1));
      return button;
    });
    this.all = this.makeButton("", () => {
      const isHiding = !this.colouring.looks.includes(HIDDEN);
      buttons.forEach((_, code) => this.hide(code, isHiding));
    });
    this.all.className = "all";
    this.buttons = buttons;
    this.legend.replaceChildren(...[...buttons, this.all].map((button) => make("li", {}, button)));
    this.nameAll();
  }

  nameAll() {
    this.all.textContent = this.colouring.looks.includes(HIDDEN) ? "Show all" : "Hide all";
  }

  hide(code, isHidden) {
    this.colouring.looks[code] = isHidden ? HIDDEN : STRONG;
    this.buttons[code].setAttribute("aria-pressed", String(!isHidden));
    this.nameAll();
    this.light(isHidden ? -1 : this.lit);
  }

  // Shows one group, if it is not hidden, before the others; -1 for all alike.
  light(code) {
    const { looks } = this.colouring;
    this.lit = code;
    const dims = code >= 0 && looks[code] !== HIDDEN;
    looks.forEach((look, other) => {
      if (look !== HIDDEN) looks[other] = dims && other !== code ? FAINT : STRONG;
    });
    this.changed();
  }

  toggleNames() {
    this.showsNames = !this.showsNames;
    this.names.setAttribute("aria-pressed", String(this.showsNames));
    this.changed();
  }

  setTurning(isTurning) {
    this.isTurning = isTurning && this.isSolid;
    this.turn?.setAttribute("aria-pressed", String(this.isTurning));
    this.changed();
  }

  // View

  zoom(factor, x = 0, y = 0) {
    const before = this.view.zoom;
    this.view.zoom = Math.min(Math.max(before * factor, 1 / 3), 40);
    // what is at x, y stays there
    const shift = 1 - this.view.zoom / before;
    this.move(x * shift, y * shift);
  }

  // Moves by pixels of the page.
  move(x, y) {
    const unit = this.unit();
    this.view.left += x / unit;
    this.view.top -= y / unit;
    this.canvas.style.touchAction = !this.isSolid && this.view.zoom > 1.01 ? "none" : "pan-y";
    this.changed();
  }

  // Pixels of the page a unit of the points.
  unit() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const place = { x: 0 };
    this.projection.look({ yaw: 0, pitch: 0, zoom: this.view.zoom, left: 1, top: 0 }, width, height)(0, 0, 0, place);
    return place.x - width / 2 || 1;
  }

  rotate(yaw, pitch) {
    this.view.yaw += yaw;
    this.view.pitch = Math.min(Math.max(this.view.pitch + pitch, -Math.PI / 2), Math.PI / 2);
    this.changed();
  }

  // What a drag does.
  drag(x, y) {
    if (this.isSolid) this.rotate(x * 0.008, y * 0.008);
    else this.move(x, y);
  }

  // Hands

  listen() {
    const { canvas } = this;
    canvas.style.touchAction = "pan-y";
    canvas.addEventListener("keydown", (event) => this.pressKey(event));
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.movePointer(event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => this.release(event));
    }
    canvas.addEventListener("pointerleave", () => (this.tip.hidden = true));
    canvas.addEventListener("dblclick", (event) => this.zoom(2, ...this.offset(event)));
    canvas.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
        event.preventDefault();
        this.setTurning(false);
        this.zoom(Math.exp(-event.deltaY * 0.004), ...this.offset(event));
      },
      { passive: false },
    );
  }

  // From the middle of the canvas, in pixels of the page.
  offset({ clientX, clientY }) {
    const box = this.canvas.getBoundingClientRect();
    return [clientX - box.left - box.width / 2, clientY - box.top - box.height / 2];
  }

  pressKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const turn = (x, y) => (this.isSolid ? this.rotate(x * TURN, y * TURN) : this.move(-30 * x, -30 * y));
    const actions = {
      ArrowLeft: () => turn(-1, 0),
      ArrowRight: () => turn(1, 0),
      ArrowUp: () => turn(0, -1),
      ArrowDown: () => turn(0, 1),
      "+": () => this.zoom(1.25),
      "=": () => this.zoom(1.25),
      "-": () => this.zoom(1 / 1.25),
      0: () => this.home(),
    };
    if (!Object.hasOwn(actions, event.key)) return;
    event.preventDefault();
    this.setTurning(false);
    actions[event.key]();
  }

  press(event) {
    this.setTurning(false);
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.classList.add("held");
    this.pointers.set(event.pointerId, event);
    this.pointAt(event);
  }

  release({ pointerId }) {
    this.pointers.delete(pointerId);
    if (!this.pointers.size) this.canvas.classList.remove("held");
    this.changed();
  }

  movePointer(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      this.pointAt(event);
      return;
    }
    this.tip.hidden = true;
    const others = [...this.pointers.values()].filter(({ pointerId }) => pointerId !== event.pointerId);
    this.pointers.set(event.pointerId, event);
    const [x, y] = [event.clientX - before.clientX, event.clientY - before.clientY];
    if (!others.length) {
      this.drag(x, y);
      return;
    }
    const [one] = others;
    const distance = ({ clientX, clientY }) => Math.hypot(clientX - one.clientX, clientY - one.clientY) || 1;
    this.zoom(distance(event) / distance(before));
    this.drag(x / 2, y / 2);
  }

  // Tells of the point under the pointer.
  pointAt(event) {
    if (this.asked) return;
    this.asked = requestAnimationFrame(() => {
      this.asked = 0;
      const { ratio } = this.painter;
      const [x, y] = this.offset(event);
      const { clientWidth: width, clientHeight: height } = this.canvas;
      const { looks, codes } = this.colouring;
      const isShown = (i) => looks[codes[i]] !== HIDDEN;
      const found = this.projection.find((x + width / 2) * ratio, (y + height / 2) * ratio, 9 * ratio, isShown);
      this.tip.hidden = found < 0;
      if (found < 0) return;
      const ordered = [this.colouring, ...this.colourings.filter((one) => one !== this.colouring)];
      this.tip.replaceChildren(
        ...ordered.map(({ name, groups, codes }) => make("div", {}, `${name}: ${groups[codes[found]].name}`)),
      );
      // above the pointer, or below it where there is no room
      const { offsetWidth, offsetHeight } = this.tip;
      const left = Math.max(Math.min(x + width / 2 + 12, width - offsetWidth - 6), 6);
      const above = y + height / 2 - offsetHeight - 10;
      this.tip.style.transform = `translate(${left}px, ${above < 6 ? above + offsetHeight + 32 : above}px)`;
    });
  }

  // Frames

  watch() {
    new ResizeObserver(() => this.fit()).observe(this.canvas);
    new IntersectionObserver(([entry]) => {
      this.isVisible = entry.isIntersecting;
      this.changed();
    }).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.changed());
    // a window of its own density of pixels may be on another screen now
    addEventListener("resize", () => this.fit());
    for (const name of ["beforeprint", "afterprint"]) {
      addEventListener(name, () => {
        this.fit(); // it may have been unfolded
        this.draw(1);
      });
    }
  }

  fit() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const ratio = Math.min(Math.max(devicePixelRatio, 1), 2);
    if (!width || !height) return;
    if (this.width === width && this.height === height && this.painter.ratio === ratio) return;
    [this.width, this.height] = [width, height];
    this.painter.resize(width, height, ratio);
    this.draw(1);
  }

  changed() {
    this.frame ??= requestAnimationFrame((time) => {
      this.frame = null;
      if (!this.isVisible || !this.painter.ratio) return;
      const isMoving = this.isTurning || this.pointers.size > 0;
      if (this.isTurning) {
        this.view.yaw += SPEED * Math.min((time - (this.time ?? time)) / 1000, 0.1);
        this.changed();
      }
      this.time = time;
      this.draw(isMoving ? this.step ?? 1 : 1);
    });
  }

  // Draws each point, or each second or third one while a slow machine moves the map.
  draw(step) {
    if (!this.painter.ratio) return;
    const start = performance.now();
    const { canvas, ratio } = this.painter;
    const { width, height } = canvas;
    this.projection.update(this.view, width, height);
    const room = Math.min(width, height) / ratio / 480;
    const radius = Math.min(Math.max(120 / Math.sqrt(this.points.size), 0.85), 3.2) * Math.sqrt(room);
    const scaled = Math.min(radius * Math.sqrt(this.view.zoom), 7) * ratio;
    const colours = this.painter.paint(this.projection, this.colouring, scaled, !this.isSolid, step);
    if (this.showsNames) this.painter.write(this.placeNames(width, height), colours);
    const taken = performance.now() - start;
    if (step === 1) this.step = Math.min(Math.max(Math.round(taken / SLOW), 1), 4);
  }

  placeNames(width, height) {
    const { groups, looks } = this.colouring;
    this.colouring.middles ??= findMiddles(this.points, this.colouring);
    const project = this.projection.look(this.view, width, height);
    const places = groups.map((group, code) => ({ ...group, code, x: 0, y: 0 }));
    return places
      .filter(({ code, size }) => size > 0 && looks[code] === STRONG)
      .map((place) => {
        project(...this.colouring.middles[place.code], place);
        return place;
      })
      .sort((one, other) => other.size - one.size);
  }
}

document.querySelectorAll(".cloud").forEach((figure, number) => new Cloud(figure, number));
