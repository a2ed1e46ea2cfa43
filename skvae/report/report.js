// What the page does beside its maps: it sorts tables, copies code, follows the reader in the contents, and prints.

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Boxes that scroll sideways can be reached by the keyboard, while they have something to scroll.
function watchScrolling(box) {
  const update = () => {
    if (box.scrollWidth > box.clientWidth + 1) {
      box.tabIndex = 0;
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", "Scrolls sideways");
    } else {
      for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name);
    }
  };
  new ResizeObserver(update).observe(box);
}

// Tables: a click on a heading sorts upwards, the next one downwards, a third restores the order.
const NEXT = { none: "ascending", ascending: "descending", descending: "none" };
const SIGNS = { ascending: 1, descending: -1, none: 0 };
const collator = new Intl.Collator("en", { numeric: true });

function compareCells(one, other) {
  const [a, b] = [one.querySelector("data"), other.querySelector("data")];
  if (a && b) return Number(a.value) - Number(b.value);
  return collator.compare(one.textContent, other.textContent);
}

function makeSortable(table) {
  const body = table.tBodies[0];
  const given = [...body.rows];
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.setAttribute("aria-sort", "none");
    const button = make("button", { type: "button", title: "Sort" }, ...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const order = NEXT[heading.getAttribute("aria-sort")];
      for (const other of headings) other.setAttribute("aria-sort", "none");
      heading.setAttribute("aria-sort", order);
      const sign = SIGNS[order];
      // cells without a number stay last
      const isBlank = (row) => heading.classList.contains("number") && !row.cells[column].querySelector("data");
      const rows = [...given];
      if (sign) {
        rows.sort(
          (one, other) =>
            isBlank(one) - isBlank(other) || sign * compareCells(one.cells[column], other.cells[column]),
        );
      }
      body.append(...rows);
    });
  });
}

// Code
async function copy(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
  } catch {
    // where the page has no right to the clipboard, its selection may be copied
    const selection = getSelection();
    selection.selectAllChildren(element);
    document.execCommand("copy");
    selection.removeAllRanges();
  }
}

function makeCopyable(box) {
  const button = make("button", { type: "button", "aria-live": "polite" }, "Copy");
  button.addEventListener("click", async () => {
    await copy(box.querySelector("code"));
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  box.append(button);
}

// Contents: the section that the reader is at
function followReader() {
  const sections = [...document.querySelectorAll("main > section")];
  const links = [...document.querySelectorAll("nav a")];
  const seen = new Set();
  let current = null;
  const fold = document.querySelector(".contents-fold");
  const here = make("span", { class: "here" });
  fold.querySelector("summary").append(here);
  const observer = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) seen[isIntersecting ? "add" : "delete"](target);
      const first = sections.find((section) => seen.has(section));
      if (!first || first === current) return;
      current = first;
      here.textContent = first.querySelector("h2").textContent;
      for (const link of links) {
        if (link.hash === "#" + first.id) link.setAttribute("aria-current", "location");
        else link.removeAttribute("aria-current");
      }
    },
    { rootMargin: "-15% 0px -70% 0px" },
  );
  for (const section of sections) observer.observe(section);
  fold.addEventListener("click", (event) => {
    if (event.target.closest("a")) fold.open = false;
  });
}

// Print: on white, with nothing folded
function preparePrinting() {
  let folded = [];
  addEventListener("beforeprint", () => {
    document.documentElement.dataset.print = "";
    folded = [...document.querySelectorAll("main details:not([open])")];
    for (const details of folded) details.open = true;
  });
  addEventListener("afterprint", () => {
    delete document.documentElement.dataset.print;
    for (const details of folded) details.open = false;
  });
}

document.querySelectorAll(".scroll").forEach(watchScrolling);
document.querySelectorAll("table").forEach(makeSortable);
document.querySelectorAll(".code").forEach(makeCopyable);
followReader();
preparePrinting();
