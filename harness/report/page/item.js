// One item: its pictures, its prompt, its gold answer, and the replies after every stage side by side.
"use strict";

const item = (() => {
  const LONG = 600; // letters of a reply that are shown at once
  let wanted = null; // what was asked for last: an answer that comes late is not drawn

  async function draw(place, index, n, now, step) {
    const key = JSON.stringify([now.column.name, n, now.a, now.b, now.style, now.from, now.to]);
    if (wanted === key && place.childElementCount) return;
    wanted = key;
    if (n === null) {
      place.replaceChildren(el("p", { class: "hint" }, "Choose an item to see its replies."));
      return;
    }
    const size = site.at_a_time;
    const part = await shards.load(`items/${now.column.name}/${Math.floor(n / size)}`);
    if (wanted !== key) return;
    const focused = place.contains(document.activeElement) && document.activeElement.dataset.step;
    place.replaceChildren(...content(index, n, part[n % size], now, step));
    place.scrollTop = 0;
    if (focused) place.querySelector(`[data-step="${focused}"]`)?.focus();
  }

  function content(index, n, found, now, step) {
    const move = (label, by) => el("button", { type: "button", "data-step": by, on: { click: () => step(by) } }, label);
    return [
      el("div", { class: "item-head" },
        el("h2", { tabindex: "-1" }, index.ids[n]),
        el("div", { class: "steps" }, move("← Previous", -1), move("Next →", 1))),
      found.prompts ? asked(found, index.ids[n], now) : el("p", { class: "warning" }, "What was asked is no longer in this version of the task."),
      replies(found, now),
    ];
  }

  function asked(found, id, now) {
    const prompt = found.prompts[now.style] ?? found.prompts.own ?? Object.values(found.prompts)[0];
    return el("div", { class: "asked" },
      found.pictures.length ? el("div", { class: "pictures" }, found.pictures.map(([file, width, height], n) => picture(file, width, height, `Picture ${n + 1} of ${found.pictures.length} of ${id}`))) : null,
      el("div", {},
        el("h3", {}, "Prompt"), said(prompt),
        el("h3", {}, "Gold"), gold(found),
        found.rationale ? el("details", {}, el("summary", {}, "Worked solution of the data set"), el("p", { class: "said", dir: "auto" }, found.rationale)) : null));
  }

  function picture(file, width, height, alt) {
    const address = `pictures/${file}`;
    const shown = Math.max(width, Math.min(224, 4 * width)); // a small one is enlarged
    return el("a", { href: address, target: "_blank", rel: "noopener" },
      el("img", { src: address, alt, width: shown, height: Math.round((height * shown) / width), class: width < 128 ? "small" : null }));
  }

  function said(prompt) {
    if (prompt === undefined) return el("p", { class: "hint" }, "Not asked in this style.");
    const turns = Array.isArray(prompt) ? prompt : [["", prompt]];
    return turns.map(([role, words]) => el("p", { class: "said", dir: "auto" }, role ? el("b", {}, `${role}: `) : null, words));
  }

  function gold(found) {
    const counts = new Map();
    for (const answer of found.answers) counts.set(answer, (counts.get(answer) ?? 0) + 1);
    const option = (answer) => (/^[A-Z]$/.test(answer) && found.choices[answer.charCodeAt(0) - 65]) || null;
    return el("p", { class: "gold", dir: "auto" }, [...counts].map(([answer, count], n) => [
      n ? ", " : null, el("b", {}, answer), option(answer) ? ` (${option(answer)})` : null, count > 1 ? ` × ${count}` : null]));
  }

  // Beside each other: both styles of one run, or both runs in one style.
  function replies(found, now) {
    const shown = now.b === null
      ? site.runs[now.a].styles.map((style) => [`${style} style`, now.a, style])
      : [["A", now.a], ["B", now.b]].map(([letter, run]) => [`${letter}: ${site.runs[run].paradigm}, ${now.style} style`, run, now.style]);
    const columns = shown.map(([title, run, style]) => [title, (stage) => found.replies[run][`${stage}/${style}`] ?? found.replies[run][`${stage}/own`]]);
    const used = columns.filter(([, at], n) => n === 0 || now.b !== null || at(0) !== columns[0][1](0)); // a suite has one style
    const [a, b] = [site.runs[now.a].stages, now.b === null ? [] : site.runs[now.b].stages];
    const longer = Array.from({ length: Math.max(a.length, b.length) }, (_, at) => at);
    const names = longer.map((at) => (now.b === null || a[at] === b[at] ? a[at] : [a[at] && `A ${a[at]}`, b[at] && `B ${b[at]}`].filter(Boolean).join(", ")));
    const rows = names.map((stage, at) => el("tr", { class: at === now.from || at === now.to ? "compared" : null },
      el("th", { scope: "row" }, stage, at === now.to ? el("small", {}, "now") : at === now.from ? el("small", {}, "then") : null),
      used.map(([title, reply]) => el("td", { "data-title": title }, one(reply(at), at ? reply(at - 1) : null)))));
    return el("table", { class: "replies" },
      el("caption", {}, "What the model said after every stage"),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "after"), used.map(([title]) => el("th", { scope: "col" }, title)))),
      el("tbody", {}, rows));
  }

  function one(reply, before) {
    if (!reply) return el("span", { class: "absent" }, "not observed");
    const [words, read, score, tokens, truncated] = reply;
    const [kind, name, sign] = filters.named(read === null ? -1 : Math.floor(100 * score + 1e-9));
    const unchanged = before && before[0] === words;
    return [
      el("p", { class: "mark" }, el("b", { class: kind }, el("i", { "aria-hidden": "true" }, sign), ` ${name}`),
        read === null ? null : ["  read: ", el("span", { class: "read", dir: "auto" }, read)],
        el("small", {}, `${tokens} tokens${truncated ? ", cut off" : ""}${unchanged ? ", as before" : ""}`)),
      words.length > LONG
        ? el("details", { class: unchanged ? "same" : null }, el("summary", { dir: "auto" }, `${words.slice(0, 200)} …`), el("p", { class: "said", dir: "auto" }, words))
        : el("p", { class: unchanged ? "said same" : "said", dir: "auto" }, words || el("em", {}, "an empty reply")),
    ];
  }

  return { draw };
})();
