// What the browser tests ask of the page; evaluated in it, so that the page itself holds nothing for tests.
({
  // How many items each filter must show, counted from the marks on their own.
  async counted() {
    const index = await shards.load("items/gqa");
    const now = state.read();
    const marks = (run, style, stage) => index.marks[run][`${stage}/${style}`];
    const right = (mark) => mark >= 50;
    const number = (belongs) => index.ids.filter((_, n) => belongs(n)).length;
    const [to, from] = [marks(now.a, now.style, now.to), marks(now.a, now.style, now.from)];
    const other = marks(now.a, now.style === "cot" ? "direct" : "cot", now.to);
    const run = marks(now.b, now.style, now.to);
    return {
      all: index.ids.length,
      lost: number((n) => right(from[n]) && !right(to[n])),
      won: number((n) => !right(from[n]) && right(to[n])),
      right: number((n) => right(to[n])),
      wrong: number((n) => !right(to[n])),
      malformed: number((n) => to[n] === -1),
      styles: number((n) => right(other[n]) !== right(to[n])),
      onlya: number((n) => right(to[n]) && !right(run[n])),
      onlyb: number((n) => !right(to[n]) && right(run[n])),
    };
  },

  // Whether each attempt to run or to load something is refused.
  async refused() {
    const fails = (attempt) => {
      try {
        attempt();
        return false;
      } catch {
        return true;
      }
    };
    const picture = new Image();
    const blocked = new Promise((done) => picture.addEventListener("error", () => done(true)));
    picture.src = "https://example.invalid/a.png";
    return {
      markup: fails(() => { document.body.innerHTML = "<img src=x onerror=alert(1)>"; }),
      script: fails(() => { document.createElement("script").src = "https://example.invalid/a.js"; }),
      inline: fails(() => { document.head.appendChild(document.createElement("script")).textContent = "window.hacked = 1"; }),
      evaluation: await new Promise((done) => setTimeout(() => done(fails(() => Function("return 1")())))), // the driver's own may
      connection: await fetch("https://example.invalid/").then(() => false, () => true),
      picture: await blocked,
    };
  },

  // Elements with a use, and no name for a screen reader.
  unnamed() {
    const named = (one) => one.textContent.trim() || one.ariaLabel || one.alt || one.labels?.[0]?.textContent.trim() || one.querySelector("img[alt]");
    return [...document.querySelectorAll("a, button, select, input, img")].filter((one) => !named(one)).map((one) => one.outerHTML);
  },

  // Texts whose contrast with what is behind them is below 4.5 (WCAG 2.2, 1.4.3).
  poor() {
    const brush = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const painted = (colours) => {
      for (const colour of ["white", ...colours]) {
        brush.fillStyle = colour;
        brush.fillRect(0, 0, 1, 1);
      }
      return [...brush.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const light = (channel) => (channel / 255 <= 0.03928 ? channel / 255 / 12.92 : ((channel / 255 + 0.055) / 1.055) ** 2.4);
    const luminance = ([red, green, blue]) => 0.2126 * light(red) + 0.7152 * light(green) + 0.0722 * light(blue);
    const found = [];
    for (const node of document.querySelectorAll("body *")) {
      const written = [...node.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.textContent.trim());
      if (!written || !node.getClientRects().length) continue;
      const grounds = [];
      for (let at = node; at; at = at.parentElement) grounds.unshift(getComputedStyle(at).backgroundColor);
      const both = [luminance(painted(grounds)), luminance(painted([...grounds, getComputedStyle(node).color]))];
      const contrast = (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
      if (contrast < 4.5) found.push([node.tagName, node.className, node.textContent.slice(0, 40), contrast]);
    }
    return found;
  },
})
