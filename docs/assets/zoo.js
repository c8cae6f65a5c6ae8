/* The gallery and the card pages. Plain JavaScript, nothing fetched: the table is in the page, its data beside it.
   Whatever is on view (filters, order, columns, ticks) stands in the address after the #, so a view can be shared. */
(() => {
  "use strict";

  // --- small tools ---------------------------------------------------------------------------------------------

  /** An element: make("button", {type: "button", onclick: f}, "text", child ...). */
  function make(name, attributes = {}, ...children) {
    const svg = ["svg", "g", "path", "circle", "rect", "line", "text", "title", "polyline"].includes(name);
    const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (value === true) node.setAttribute(key, "");
      else if (value !== false && value !== null && value !== undefined) node.setAttribute(key, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  /** The address of a gallery view, as text; empty values are left out. */
  const asHash = (pairs) => {
    const words = pairs.filter(([, value]) => value.length);
    return words.map(([key, value]) => `${key}=${encodeURIComponent(value).replace(/%2C/g, ",")}`).join("&");
  };

  // --- card pages: three copy buttons ----------------------------------------------------------------------------

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = make("textarea", { class: "zoo-offscreen" });
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      if (!done) throw new Error("no clipboard");
    }
  }

  for (const figure of document.querySelectorAll(".zoo-copy")) {
    const caption = figure.querySelector("figcaption");
    const title = caption.textContent.trim();
    const told = make("span", { class: "zoo-told", role: "status" });
    const button = make("button", { type: "button", class: "zoo-button" }, `Copy ${title}`);
    button.addEventListener("click", async () => {
      try {
        await copy(figure.querySelector("code").textContent);
        told.textContent = "copied";
      } catch {
        told.textContent = "the browser did not let this page copy; select the text";
      }
      setTimeout(() => (told.textContent = ""), 4000);
    });
    caption.replaceChildren(button, told);
  }

  // --- the gallery -------------------------------------------------------------------------------------------------

  const zoo = document.getElementById("zoo");
  if (!zoo) return;
  const data = JSON.parse(document.getElementById("zoo-data").textContent);
  const rows = data.rows;
  const body = zoo.querySelector("tbody");
  const lines = new Map([...body.rows].map((line) => [line.dataset.id, line]));
  const byId = new Map(rows.map((row) => [row.id, row]));
  const MOST = 4;

  const FACETS = {
    kind: { title: "Kind", of: (row) => [row.shown.kind] },
    task: { title: "Task", of: (row) => [row.task] },
    spectra: { title: "Spectrum", of: (row) => row.spectra },
    licence: { title: "Licence of weights", of: (row) => [row.licence_class === "none" ? "no weights" : row.licence_class] },
    data: { title: "Data", of: (row) => [row.shown.data] },
    fidelity: { title: "Fidelity", of: (row) => [row.shown.fidelity] },
  };
  const SIZES = { "": "any", 1e6: "under 1 M", 5e6: "under 5 M", 25e6: "under 25 M" };
  const AXES = { params: "parameters", mflops: "MFLOPs", bytes: "bytes of the file", latency: "CPU latency, ms" };
  const QUESTIONS = [
    ["Thermal to visible", { spectra: ["LWIR"], kind: ["network"] }],
    ["Under 5 M parameters, permissive weights", { max: "5e6", licence: ["permissive"] }],
    ["Not from withdrawn data", { data: valuesOf("data").filter((word) => word !== "withdrawn") }],
    ["Fastest first", { kind: ["network"], sort: "latency" }],
    ["Adapters and recipes", { kind: ["adapter", "recipe"] }],
  ];
  const SHAPES = { permissive: "circle", "non-commercial": "square", "research-only": "triangle", none: "cross" };
  const plain = () => ({
    q: "", sort: "", figure: "", max: "", x: "params", pick: [], same: "",
    cols: Object.keys(data.columns).filter((key) => !data.hidden.includes(key)),
    ...Object.fromEntries(Object.keys(FACETS).map((key) => [key, []])),
  });
  const LISTS = ["pick", "cols", ...Object.keys(FACETS)];
  let state = plain();

  function valuesOf(facet) {
    return [...new Set(rows.flatMap(FACETS[facet].of))].sort((a, b) => order(facet, a) - order(facet, b) || (a < b ? -1 : 1));
  }
  function order(facet, value) {
    if (facet === "spectra") return ["VIS", "NIR", "SWIR", "MWIR", "LWIR"].indexOf(value);
    return value === "not reported" || value === "no weights" ? 1 : 0;
  }

  // The address -> the state, and back. What is not known is left out rather than believed.
  function read() {
    const given = new URLSearchParams(location.hash.slice(1));
    state = plain();
    for (const key of Object.keys(state)) {
      if (!given.has(key)) continue;
      const value = given.get(key);
      state[key] = LISTS.includes(key) ? value.split(",").filter(Boolean) : value;
    }
    state.pick = state.pick.filter((id) => byId.has(id)).slice(0, MOST);
    state.cols = ["name", ...Object.keys(data.columns).filter((key) => key !== "name" && state.cols.includes(key))];
    for (const key of Object.keys(FACETS)) state[key] = state[key].filter((value) => valuesOf(key).includes(value));
    if (!figures().some(([key]) => key === state.figure)) state.figure = "";
    if (!(state.x in AXES)) state.x = "params";
    if (!(state.max in SIZES)) state.max = Object.keys(SIZES).find((key) => key && Number(key) === Number(state.max)) || "";
    if (!(state.sort.replace("-", "") in data.columns)) state.sort = "";
  }
  function write() {
    const usual = plain();
    const pairs = Object.entries(state).filter(([key, value]) => String(value) !== String(usual[key]));
    const hash = asHash(pairs.map(([key, value]) => [key, Array.isArray(value) ? value.join(",") : value]));
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  }
  function set(changes) {
    Object.assign(state, changes);
    write();
    show();
  }

  // --- which rows, in which order ----------------------------------------------------------------------------------

  const figures = () => data.figures.map(([protocol, metric, count]) => [`${protocol}: ${metric}`, protocol, metric, count]);
  const figureOf = (row, key) => row.figures.find((figure) => `${figure.protocol}: ${figure.metric}` === key);

  /** A term with * or ? must match a whole name or word; one without, any part of the text. */
  function matcher(term) {
    if (!/[*?]/.test(term)) return (row) => row.text.includes(term);
    const pattern = term.replace(/[.+^${}()|[\]\\]/g, "\\$&").replace(/\*/g, ".*").replace(/\?/g, ".");
    const whole = new RegExp(`^${pattern}$`);
    return (row) => row.words.some((word) => whole.test(word));
  }
  for (const row of rows) {
    const told = [row.id, row.name, row.tag, row.summary, row.family, row.licence_class, ...Object.values(row.shown), ...row.trained_on];
    row.text = told.filter(Boolean).join(" ").toLowerCase();
    row.words = [...new Set([row.id, row.name, ...row.text.split(/[\s,;:()]+/)].map((word) => word.toLowerCase()))];
  }
  function wanted() {
    const terms = state.q.toLowerCase().split(/\s+/).filter(Boolean).map(matcher);
    const chosen = Object.keys(FACETS).filter((key) => state[key].length);
    return rows.filter(
      (row) =>
        terms.every((fits) => fits(row)) &&
        chosen.every((key) => FACETS[key].of(row).some((value) => state[key].includes(value))) &&
        (!state.max || (row.params !== null && row.params < Number(state.max))),
    );
  }
  function sortValue(row, key) {
    if (key === "figure") return figureOf(row, state.figure)?.error ?? figureOf(row, state.figure)?.value ?? null;
    if (["params", "mflops", "bytes", "embedding", "latency"].includes(key)) return row[key];
    if (key === "name") return rows.indexOf(row); // the catalogue counts as people do
    const text = row.shown[key];
    return ["not reported", "–", "no weights"].includes(text) ? null : text;
  }
  function sorted(found) {
    const key = state.sort.replace("-", "");
    if (!key || (key === "figure" && !state.figure)) return found;
    const way = state.sort.startsWith("-") ? -1 : 1;
    return [...found].sort((a, b) => {
      const [one, other] = [sortValue(a, key), sortValue(b, key)];
      if (one === null || other === null) return (one === null) - (other === null); // the unmeasured always last
      return one === other ? rows.indexOf(a) - rows.indexOf(b) : way * (one < other ? -1 : 1);
    });
  }

  // --- controls ----------------------------------------------------------------------------------------------------

  const controls = zoo.querySelector(".zoo-controls");
  const search = make("input", {
    type: "search", id: "zoo-q", autocomplete: "off", spellcheck: "false", placeholder: "edgeface_*  or  thermal",
    oninput: () => set({ q: search.value }),
  });
  const figureBox = select("zoo-figure", (value) => set({ figure: value, sort: state.sort.includes("figure") && !value ? "" : state.sort }), [
    ["", "the first of each card"],
    ...figures().map(([key, , , count]) => [key, `${key} (${count})`]),
  ]);
  const maxBox = select("zoo-max", (value) => set({ max: value }), Object.entries(SIZES).sort((a, b) => Number(a[0]) - Number(b[0])));
  const sortBox = select("zoo-sort", (value) => set({ sort: value }), [
    ["", "as in the catalogue"],
    ...Object.keys(data.columns).flatMap((key) => [[key, `${data.columns[key]}, up`], [`-${key}`, `${data.columns[key]}, down`]]),
  ]);
  const boxes = [];
  function select(id, change, options) {
    const made = make("select", { id, onchange: () => change(made.value) });
    made.append(...options.map(([value, text]) => make("option", { value }, text)));
    return made;
  }
  function checks(key, title, values, text = (value) => value) {
    const set_ = make("fieldset", {}, make("legend", {}, title));
    for (const value of values) {
      const box = make("input", { type: "checkbox", name: `zoo-${key}`, value });
      box.addEventListener("change", () =>
        set({ [key]: box.checked ? [...state[key], value] : state[key].filter((one) => one !== value) }));
      boxes.push([key, value, box]);
      set_.append(make("label", {}, box, text(value)));
    }
    return set_;
  }
  const copied = make("span", { class: "zoo-told", role: "status" });
  const facets = make("details", { class: "zoo-facets" }, make("summary", {}, "Filters"),
    make("div", { class: "zoo-sets" }, ...Object.entries(FACETS).map(([key, { title }]) => checks(key, title, valuesOf(key)))));
  const columns = make("details", { class: "zoo-columns" }, make("summary", {}, "Columns"),
    make("div", { class: "zoo-sets" }, checks("cols", "Shown", Object.keys(data.columns).filter((key) => key !== "name"), (key) => data.columns[key])));
  controls.append(
    make("nav", { class: "zoo-questions", "aria-label": "Ready-made views" }, ...QUESTIONS.map(([title, view]) =>
      make("a", { href: `#${asHash(Object.entries(view).map(([key, value]) => [key, String(value)]))}` }, title))),
    make("div", { class: "zoo-bar" },
      make("label", { for: "zoo-q" }, "Search ", search),
      make("label", { for: "zoo-max" }, "Parameters ", maxBox),
      make("label", { for: "zoo-sort" }, "Sort ", sortBox),
      make("label", { for: "zoo-figure", class: "zoo-wide" }, "Figure ", figureBox)),
    facets,
    columns,
    make("div", { class: "zoo-bar" },
      make("button", { type: "button", class: "zoo-button", onclick: () => set(plain()) }, "Show all"),
      make("button", { type: "button", class: "zoo-button", onclick: share }, "Copy link to this view"),
      make("button", { type: "button", class: "zoo-button", onclick: download }, "Download as CSV"), copied),
  );
  controls.hidden = false;
  if (matchMedia("(min-width: 60em)").matches) facets.open = true;

  async function share() {
    try {
      await copy(location.href);
      copied.textContent = "copied";
    } catch {
      copied.textContent = "the address above is the link";
    }
    setTimeout(() => (copied.textContent = ""), 4000);
  }
  function download() {
    const quoted = (text) => `"${String(text).replace(/"/g, '""')}"`;
    const lines = [state.cols, ...sorted(wanted()).map((row) => state.cols.map((key) => cell(row, key)))];
    const link = make("a", { download: "zoo.csv" });
    link.href = URL.createObjectURL(new Blob([lines.map((line) => line.map(quoted).join(",")).join("\n") + "\n"], { type: "text/csv" }));
    link.click();
    URL.revokeObjectURL(link.href);
  }
  function cell(row, key) {
    if (key !== "figure" || !state.figure) return row.shown[key];
    const found = figureOf(row, state.figure);
    if (!found) return row.kind === "backbone" ? "not reported" : "–";
    return `${found.text}; ${found.protocol} (${data.sources[found.source]})`;
  }

  // The heads become buttons, each row gets a box to tick.
  const heads = [...zoo.querySelectorAll("thead th")];
  for (const head of heads) {
    const key = head.dataset.col;
    const button = make("button", { type: "button", class: "zoo-sort", onclick: () => set({ sort: state.sort === key ? `-${key}` : state.sort === `-${key}` ? "" : key }) });
    button.append(...head.childNodes);
    head.append(button);
  }
  zoo.querySelector("thead tr").prepend(make("th", { scope: "col", class: "zoo-tick", "data-col": "tick" }, make("abbr", { title: "tick two to four to compare them" }, "vs")));
  const ticks = new Map();
  for (const [id, line] of lines) {
    const box = make("input", { type: "checkbox", "aria-label": `compare ${id}` });
    box.addEventListener("change", () => pick(id));
    ticks.set(id, box);
    line.prepend(make("td", { class: "zoo-tick", "data-col": "tick", "data-label": "compare" }, make("label", {}, box)));
  }
  function pick(id) {
    set({ pick: state.pick.includes(id) ? state.pick.filter((one) => one !== id) : [...state.pick, id].slice(0, MOST) });
  }

  // --- what is on view ---------------------------------------------------------------------------------------------

  const count = zoo.querySelector(".zoo-count");
  function show() {
    const found = sorted(wanted());
    if (document.activeElement !== search) search.value = state.q;
    figureBox.value = state.figure;
    maxBox.value = state.max;
    sortBox.value = state.sort;
    for (const option of sortBox.options) option.disabled = option.value.endsWith("figure") && !state.figure;
    for (const [key, value, box] of boxes) box.checked = state[key].includes(value);
    const chosen = Object.keys(FACETS).reduce((sum, key) => sum + state[key].length, 0);
    facets.querySelector("summary").textContent = chosen ? `Filters (${chosen} on)` : "Filters";

    const visible = new Set(found.map((row) => row.id));
    body.append(...found.map((row) => lines.get(row.id)));
    for (const [id, line] of lines) {
      line.hidden = !visible.has(id);
      for (const td of line.cells) if (td.dataset.col !== "tick") td.hidden = !state.cols.includes(td.dataset.col);
      const figure = line.querySelector('[data-col="figure"]');
      const text = cell(byId.get(id), "figure");
      const [value, where] = text.split(/; (.*)/);
      figure.replaceChildren(value, ...(where ? [make("span", { class: "zoo-detail" }, where)] : []));
      figure.classList.toggle("zoo-absent", ["not reported", "–"].includes(text));
      const box = ticks.get(id);
      box.checked = state.pick.includes(id);
      box.disabled = !box.checked && state.pick.length >= MOST;
      line.classList.toggle("zoo-picked", box.checked);
    }
    for (const head of heads) {
      const key = head.dataset.col;
      head.hidden = !state.cols.includes(key);
      const way = state.sort === key ? "ascending" : state.sort === `-${key}` ? "descending" : "none";
      head.setAttribute("aria-sort", way);
      const button = head.querySelector("button");
      button.disabled = key === "figure" && !state.figure;
      button.title = button.disabled ? "choose one figure first: those of different protocols have no order" : "";
    }
    const picked = state.pick.length;
    const hint = picked === 0 ? "" : picked === 1 ? " One ticked: tick another to compare." : ` ${picked} ticked, compared below.`;
    count.textContent = `${found.length} of ${rows.length} entries.${hint}${picked === MOST ? " Four is the most." : ""}`;
    plot(found);
    compare();
  }

  // --- plot: size or latency against error, with the Pareto front -----------------------------------------------------

  const plotBox = zoo.querySelector(".zoo-plot");
  const xBox = select("zoo-x", (value) => set({ x: value }), Object.entries(AXES));
  const stage = make("div", { class: "zoo-stage" });
  const legend = make("p", { class: "zoo-legend" });
  plotBox.append(
    make("h2", { id: "plot" }, "What accuracy costs"),
    make("div", { class: "zoo-bar" }, make("label", { for: "zoo-x" }, "Across ", xBox)), stage, legend);
  plotBox.hidden = false;

  const H = 400, LEFT = 64, RIGHT = 20, TOP = 16, BOTTOM = 48;
  let W = 720; // narrower on a phone, so that the letters stay legible
  function plot(found) {
    xBox.value = state.x;
    W = stage.clientWidth && stage.clientWidth < 560 ? 440 : 720;
    const key = state.figure || figures()[0]?.[0];
    const measured = found.map((row) => ({ row, figure: key && figureOf(row, key), x: row[state.x] }));
    const points = measured.filter(({ figure, x }) => figure && figure.error !== null && x > 0).map((one) => ({ ...one, y: one.figure.error }));
    const note = `${points.length} of ${found.length} entries on view have both figures.`;
    if (!points.length) {
      stage.replaceChildren(make("p", { class: "zoo-absent" }, key ? `Error on ${key} against ${AXES[state.x]}: not reported for any entry on view.` : "Not reported."));
      legend.textContent = "";
      return;
    }
    const xs = points.map((p) => p.x), ys = points.map((p) => p.y);
    const low = Math.log10(Math.min(...xs)) - 0.1, high = Math.log10(Math.max(...xs)) + 0.1;
    const top = Math.max(...ys) * 1.1 || 1;
    const px = (x) => LEFT + ((Math.log10(x) - low) / (high - low)) * (W - LEFT - RIGHT);
    const py = (y) => H - BOTTOM - (y / top) * (H - TOP - BOTTOM);
    const svg = make("svg", { viewBox: `0 0 ${W} ${H}`, role: "group", "aria-label": `Error on ${key} against ${AXES[state.x]}` });

    for (let tick = 0; tick <= 4; tick++) {
      const y = (top * tick) / 4;
      svg.append(make("line", { x1: LEFT, x2: W - RIGHT, y1: py(y), y2: py(y), class: "zoo-grid" }),
        make("text", { x: LEFT - 8, y: py(y) + 4, "text-anchor": "end" }, `${(100 * y).toPrecision(2)}%`));
    }
    svg.append(make("text", { x: LEFT + 6, y: TOP + 14 }, "error"));
    for (const x of logTicks(low, high)) {
      svg.append(make("line", { x1: px(x), x2: px(x), y1: TOP, y2: H - BOTTOM, class: "zoo-grid" }),
        make("text", { x: px(x), y: H - BOTTOM + 18, "text-anchor": "middle" }, short(x)));
    }
    svg.append(make("text", { x: (LEFT + W - RIGHT) / 2, y: H - 8, "text-anchor": "middle" }, `${AXES[state.x]}, fewer to the left`));

    const front = pareto(points);
    if (front.length > 1) svg.append(make("polyline", { class: "zoo-front", points: front.map((p) => `${px(p.x)},${py(p.y)}`).join(" ") }));
    const taken = points.map((p) => [px(p.x) - 8, py(p.y) - 8, px(p.x) + 8, py(p.y) + 8]); // boxes that no label may touch
    for (const p of [...points].sort((a, b) => a.x - b.x)) {
      const on = state.pick.includes(p.row.id);
      const told = `${p.row.id}: ${p.figure.text} on ${p.figure.protocol}, ${data.sources[p.figure.source]}; ${AXES[state.x]} ${short(p.x)}`;
      const mark = make("g", {
        class: `zoo-point ${p.figure.source === "self" ? "zoo-ours" : "zoo-theirs"} ${on ? "zoo-on" : ""}`,
        transform: `translate(${px(p.x)},${py(p.y)})`, tabindex: "0", role: "checkbox", "aria-checked": on, "aria-label": told,
        onclick: () => again(p.row.id), onkeydown: (event) => { if ([" ", "Enter"].includes(event.key)) { event.preventDefault(); again(p.row.id); } },
        "data-id": p.row.id,
      }, make("title", {}, told), shape(p.row.licence_class));
      svg.append(mark);
      if (front.includes(p) || on) label(svg, p.row.id, px(p.x), py(p.y), taken);
    }
    stage.replaceChildren(svg);
    const classes = [...new Set(points.map((p) => p.row.licence_class))];
    legend.replaceChildren(
      `Error on ${key} (${points[0].figure.better === "lower" ? "as measured" : "1 minus the value"}). The line joins those that none beats in both (Pareto). ` +
      `Filled: measured by xzoo; hollow: stated by others. ${note} Click or press Enter on a point to tick it. `,
      ...classes.flatMap((name) => [make("svg", { viewBox: "-8 -8 16 16", width: 16, height: 16, class: "zoo-key", "aria-hidden": "true" }, shape(name)), ` ${name} `]));
  }
  /** Write a name beside a point, where it touches nothing; leave it out where there is no room. */
  function label(svg, text, x, y, taken) {
    const wide = 6.6 * text.length;
    for (const [dx, dy] of [[10, 17], [10, -10], [-10 - wide, 17], [-10 - wide, -10], [-wide / 2, 26], [-wide / 2, -18]]) {
      const box = [x + dx, y + dy - 11, x + dx + wide, y + dy + 3];
      const free = taken.every((one) => box[2] < one[0] || box[0] > one[2] || box[3] < one[1] || box[1] > one[3]);
      if (!free || box[0] < LEFT || box[2] > W || box[1] < 0 || box[3] > H - BOTTOM) continue;
      taken.push(box);
      svg.append(make("text", { x: x + dx, y: y + dy, class: "zoo-name" }, text));
      return;
    }
  }
  function again(id) {
    pick(id);
    stage.querySelector(`[data-id="${CSS.escape(id)}"]`)?.focus();
  }
  function shape(licence) {
    const kind = SHAPES[licence] || "cross";
    if (kind === "circle") return make("circle", { r: 6 });
    if (kind === "square") return make("rect", { x: -5.5, y: -5.5, width: 11, height: 11 });
    return make("path", { d: kind === "triangle" ? "M0-7L6.5 5H-6.5Z" : "M-5.5 0L0-6.5L5.5 0L0 6.5Z" });
  }
  /** Those with no other at most as large and at most as wrong, from small to large. */
  function pareto(points) {
    const front = [];
    for (const p of [...points].sort((a, b) => a.x - b.x || a.y - b.y)) if (!front.length || p.y < front[front.length - 1].y) front.push(p);
    return front;
  }
  function logTicks(low, high) {
    const found = [];
    for (let power = Math.floor(low); power <= high; power++) for (const step of high - low < 1.5 ? [1, 2, 5] : [1]) {
      const x = step * 10 ** power;
      if (Math.log10(x) >= low && Math.log10(x) <= high) found.push(x);
    }
    return found;
  }
  function short(x) {
    for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) if (x >= size) return `${Number((x / size).toPrecision(3))} ${unit}`;
    return String(Number(x.toPrecision(3)));
  }

  // --- compare two to four side by side ----------------------------------------------------------------------------

  const sheet = zoo.querySelector(".zoo-compare");
  const only = make("input", { type: "checkbox", id: "zoo-same", onchange: () => set({ same: only.checked ? "hide" : "" }) });
  const WHY = ["protocol", "metric", "unit", "alignment", "source", "counts"];
  function compare() {
    const picked = state.pick.map((id) => byId.get(id));
    sheet.hidden = picked.length < 2;
    if (sheet.hidden) return sheet.replaceChildren();
    only.checked = state.same === "hide";
    const facts = Object.keys(data.columns).filter((key) => key !== "name" && key !== "figure");
    const lines = facts.map((key) => [data.columns[key], picked.map((row) => row.shown[key])]);
    lines.push(["trained on", picked.map((row) => row.trained_on.join("; ") || (row.shown.data === "no weights" ? "no weights" : "not reported"))]);
    lines.push(["licence of code", picked.map((row) => row.licence_code)], ["licence of data", picked.map((row) => row.licence_data)]);
    const table = make("table", { class: "zoo-sheet" });
    table.append(make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "fact"), ...picked.map((row) =>
      make("th", { scope: "col" }, make("a", { href: `${row.name}/index.html` }, row.id), " ",
        make("button", { type: "button", class: "zoo-button", "aria-label": `take ${row.id} off`, onclick: () => pick(row.id) }, "×"))))));
    const inside = make("tbody");
    for (const [title, cells] of lines) {
      const same = new Set(cells).size === 1;
      if (same && only.checked) continue;
      inside.append(make("tr", { class: same ? "zoo-equal" : null }, make("th", { scope: "row" }, title), ...cells.map((text) => make("td", {}, text))));
    }
    const keys = [...new Set(picked.flatMap((row) => row.figures.map((figure) => `${figure.protocol}: ${figure.metric}`)))];
    for (const key of keys) {
      const found = picked.map((row) => figureOf(row, key));
      inside.append(make("tr", { class: "zoo-result" }, make("th", { scope: "row" }, key), ...found.map((figure, index) => result(figure, index, found))));
    }
    table.append(inside);
    sheet.replaceChildren(
      make("h2", { id: "compare" }, "Side by side"),
      make("div", { class: "zoo-bar" }, make("label", { for: "zoo-same", class: "zoo-check" }, only, "differences only"),
        make("button", { type: "button", class: "zoo-button", onclick: () => set({ pick: [] }) }, "Clear")),
      make("div", { class: "zoo-scroll", role: "region", "aria-label": "Entries side by side", tabindex: "0" }, table),
      make("p", { class: "zoo-legend" }, keys.length
        ? "A difference to the first column is printed only where protocol, metric, alignment, source and counts are the same. Whether it exceeds chance, the intervals say where they are given."
        : "No figures are reported for these."));
  }
  function result(figure, index, found) {
    if (!figure) return make("td", { class: "zoo-absent" }, "not reported");
    const td = make("td", {}, figure.text, make("span", { class: "zoo-detail" }, data.sources[figure.source] + (figure.same[5] ? `; ${figure.same[5]}` : "")));
    const first = found[0];
    if (index === 0 || !first) return td;
    const differing = WHY.filter((_, place) => figure.same[place] !== first.same[place]);
    if (differing.length) td.append(make("span", { class: "zoo-detail" }, `not comparable: another ${differing.join(", ")}`));
    else {
      const delta = Number((figure.value - first.value).toPrecision(6));
      const points = figure.unit === "%" ? " percentage points" : "";
      td.append(make("span", { class: "zoo-delta" }, `${delta > 0 ? "+" : delta < 0 ? "−" : ""}${Number(Math.abs(delta).toPrecision(4))}${points}`));
    }
    return td;
  }

  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) plot(sorted(wanted()));
    width = innerWidth;
  });
  addEventListener("hashchange", () => { read(); show(); });
  read();
  write();
  show();
})();
