// What a row opens to. Everything from a record becomes text nodes or attributes, never markup.
"use strict";
const clsuiteDetails = (() => {
  const SVG = "http://www.w3.org/2000/svg";

  function fill(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children.filter((child) => child !== null));
    return element;
  }
  const h = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
  const s = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
  const percent = (value) => (value === null ? "–" : (100 * value).toFixed(1));
  const named = (run) => run.name || String(run.seed); // with the class order, where there are several
  const json = (value) => JSON.stringify(value, null, 2);
  const of = (runs) => (runs.some((run) => run.name) ? "runs" : "seeds");
  const mean = (values) => (values.some((v) => v === null) ? null : values.reduce((a, b) => a + b, 0) / values.length);

  function meanRun(runs) {
    const shape = (run) => `${run.accuracy.length},${run.parts.length},${run.learned}`;
    if (runs.length < 2 || runs.some((run) => shape(run) !== shape(runs[0]))) return null;
    return {
      ...runs[0],
      parts: null,
      initial: runs[0].initial.map((_, j) => mean(runs.map((run) => run.initial[j]))),
      accuracy: runs[0].accuracy.map((line, i) => line.map((_, j) => mean(runs.map((run) => run.accuracy[i][j])))),
    };
  }

  function matrix(run, name) {
    const part = (j) => (run.parts ? run.parts[j] : `part ${j + 1}`);
    const cell = (value, i, j) => {
      const level = value === null ? 0 : Math.max(0, Math.min(10, Math.round(10 * value)));
      const mark = run.learned[j] === i ? " learned" : "";
      return h("td", { class: `heat h${level}${mark}`, title: part(j) }, percent(value));
    };
    const line = (label, values, i) => h("tr", {}, h("th", { scope: "row" }, label), ...values.map((v, j) => cell(v, i, j)));
    const heads = run.initial.map((_, j) => h("th", { scope: "col", title: part(j) }, String(j + 1)));
    return h(
      "div",
      { class: "scroll", role: "region", tabindex: "0", "aria-label": `Accuracy matrix, ${name}` },
      h(
        "table",
        { class: "matrix" },
        h("caption", {}, "Accuracy in % on each part (columns) after each task (rows); framed when the part is first learned"),
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "after"), ...heads)),
        h("tbody", {}, line("nothing", run.initial, -1), ...run.accuracy.map((values, i) => line(`task ${i + 1}`, values, i))),
      ),
      run.parts
        ? h("details", {}, h("summary", {}, "What the parts are"), h("ol", {}, ...run.parts.map((text) => h("li", {}, text))))
        : null,
    );
  }

  function matrices(runs) {
    const average = meanRun(runs);
    const choices = [...(average ? [[`mean over ${of(runs)}`, average]] : []), ...runs.map((run) => [`seed ${named(run)}`, run])];
    const place = h("div", {}, matrix(choices[0][1], choices[0][0]));
    const select = h("select", {}, ...choices.map(([name], index) => h("option", { value: index }, name)));
    select.addEventListener("change", () => place.replaceChildren(matrix(choices[select.value][1], choices[select.value][0])));
    return h("div", { class: "block" }, h("h3", {}, "Accuracy matrix"), h("label", {}, "Of ", select), place);
  }

  function curve(title, series, first, share) {
    const [width, height, left, right, top, bottom] = [420, 240, 44, 410, 12, 200];
    const values = series.flatMap((one) => one.values).filter((v) => v !== null);
    const text = (v, digits = 1) => (v === null ? "–" : share ? (100 * v).toFixed(digits) : v.toPrecision(2));
    const high = Math.max(share ? 1 : 0, ...values) || 1;
    const low = Math.min(0, ...values);
    const length = Math.max(...series.map((one) => one.values.length));
    const x = (i) => (length < 2 ? (left + right) / 2 : left + (i / (length - 1)) * (right - left));
    const y = (v) => bottom - ((v - low) / (high - low)) * (bottom - top);
    const every = Math.ceil(length / 12);
    const drawing = s("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, role: "img" });
    const last = series[series.length - 1].values;
    drawing.setAttribute("aria-label", `${title}: ${series[series.length - 1].name} ${last.map((v) => text(v)).join(", ")}`);
    for (let tick = 0; tick <= 4; tick++) {
      const value = low + ((high - low) * tick) / 4;
      drawing.append(s("line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) }));
      drawing.append(s("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, text(value, 0)));
    }
    for (let i = 0; i < length; i += every)
      drawing.append(s("text", { x: x(i), y: bottom + 17, "text-anchor": "middle" }, String(i + first)));
    drawing.append(s("text", { x: (left + right) / 2, y: height - 3, "text-anchor": "middle" }, "tasks learned"));
    for (const one of series) {
      const points = one.values.map((v, i) => [x(i), v]).filter(([, v]) => v !== null);
      const path = points.map(([px, v]) => `${px.toFixed(1)},${y(v).toFixed(1)}`).join(" ");
      drawing.append(s("polyline", { class: one.bold ? "line mean" : "line", points: path }, s("title", {}, one.name)));
      if (one.bold)
        for (const [px, v] of points)
          drawing.append(s("circle", { class: "best", cx: px, cy: y(v), r: 3 }, s("title", {}, `${one.name}: ${text(v)}`)));
    }
    return h("div", { class: "block" }, h("h3", {}, title), drawing);
  }

  function over(title, runs, read, first, share = true) {
    const all = runs.filter((run) => read(run)).map((run) => ({ name: `seed ${named(run)}`, values: read(run), bold: runs.length === 1 }));
    if (!all.length || !all[0].values.length) return null;
    if (all.length > 1 && all.every((one) => one.values.length === all[0].values.length))
      all.push({ name: `mean over ${of(runs)}`, values: all[0].values.map((_, i) => mean(all.map((one) => one.values[i]))), bold: true });
    return curve(title, all, first, share);
  }

  function command(text) {
    const code = h("code", { tabindex: "0" }, text);
    const button = h("button", { type: "button" }, "Copy");
    button.addEventListener("click", async () => {
      getSelection().selectAllChildren(code); // to copy by hand where the page may not
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Selected";
      }
    });
    return h("div", { class: "command" }, code, button);
  }

  function runRows(run, root) {
    const rerun = run.rerun ? `${run.rerun.outcome} on ${run.rerun.machine}, ${run.rerun.date}` : "not yet";
    const record = run.record ? h("a", { href: `${root}../${run.record}`, "aria-label": `record of seed ${named(run)}` }, "record") : "";
    const facts = h(
      "tr",
      { class: "facts" },
      h("th", { scope: "row" }, named(run)),
      h("td", {}, h("span", { class: `badge ${run.badge}`, title: run.status }, run.badge), " ", run.notes.join("; ")),
      h("td", {}, rerun),
      h("td", {}, run.machine),
      h("td", {}, run.precision),
      h("td", { class: "num" }, `${run.seconds} s`),
      h("td", {}, record),
    );
    return [facts, h("tr", {}, h("td", { colspan: facts.cells.length }, command(run.command)))];
  }

  function scrolled(label, ...children) {
    return h("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": label }, ...children);
  }

  function table(label, heads, rows) {
    const head = h("tr", {}, ...heads.map((text) => h("th", { scope: "col" }, text)));
    return scrolled(label, h("table", {}, h("thead", {}, head), h("tbody", {}, ...rows)));
  }

  function figures(data) {
    const rows = data.figures.map(([label, arrow, unit, about, formula, source, value, half, values]) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, [label, unit, arrow].filter(Boolean).join(" ")),
        h("td", { class: "num" }, half ? `${value} ± ${half}` : value),
        ...data.runs.map((_, i) => h("td", { class: "num" }, values[i] === undefined ? "–" : values[i])),
        h("td", { class: "words quiet" }, about),
        h("td", { class: "quiet" }, formula ? h("code", {}, formula) : ""),
        h("td", { class: "quiet" }, source),
      ),
    );
    const heads = ["Figure", "Mean ± 95 %", ...data.runs.map((run) => `Seed ${named(run)}`), "What it is", "Formula", "Source"];
    return table("All figures", heads, rows);
  }

  function plugin(one) {
    const summary = one.summary ? `: ${one.summary} ` : " ";
    const papers = one.papers.map(([name, place]) => h("span", { class: "paper" }, place ? h("a", { href: place }, name) : name, " "));
    return h("li", {}, h("b", {}, one.name), ` (${one.distribution})`, summary, ...papers);
  }

  function folded(title, ...children) {
    return h("details", {}, h("summary", {}, title), ...children);
  }

  return (data, root, key) => {
    if (!data) return [h("p", {}, "The details of this row are missing.")];
    const probes = [...new Set(data.runs.flatMap((run) => Object.keys(run.probes)))].sort();
    const share = (name) => data.shares.includes(name);
    const config = { ...data.config, plugins: data.plugins.map((one) => ({ name: one.name, args: one.args })) };
    const blocks = [
      h("ul", { class: "plain" }, ...data.plugins.map(plugin)),
      !document.getElementById("board") ? null : h("p", {}, h("a", { href: `${root}methods/${key.split("/")[1]}.html` }, "This method on all benchmarks")),
      data.same ? h("p", {}, `After every task it gives the ${data.same}.`) : null,
      h(
        "div",
        { class: "blocks" },
        matrices(data.runs),
        over("Accuracy on all classes seen, %", data.runs, (run) => run.over_tasks, 1),
        ...probes.map((name) => over(`${data.probes[name] || `probe ${name}`}${share(name) ? ", %" : ""}`, data.runs, (run) => run.probes[name], 0, share(name))),
      ),
      h("h3", {}, "Repeat it"),
      table("Runs", ["Seed", "Status", "Rerun", "Machine", "Precision", "Took", "Record"], data.runs.flatMap((run) => runRows(run, root))),
      folded("All figures", figures(data)),
      folded("Full configuration", h("pre", { tabindex: "0" }, json(config))),
      folded(
        "Environment and stored bytes",
        h("pre", { tabindex: "0" }, json(data.runs.map((run) => ({ seed: named(run), stored_bytes: run.stored_bytes, ...run.environment })))),
      ),
    ];
    return blocks.filter((block) => block !== null);
  };
})();
