// Parts of the data: scripts that hand over compressed JSON as base64. A page opened from a file may not fetch.
"use strict";

// Markup that the table's library writes itself. No other text becomes markup, whoever asks for it.
const MARKUP = new Set(["", "&nbsp;"]);
window.trustedTypes?.createPolicy("default", { createHTML: (text) => (MARKUP.has(text) ? text : null) });

const shards = (() => {
  const asked = new Map(); // name -> {promise, resolve, reject}
  const NAME = /^[a-z0-9][a-z0-9./-]*$/;
  // The browser lets no other script address through than one that this policy made.
  const policy = window.trustedTypes
    ? trustedTypes.createPolicy("shards", { createScriptURL: address })
    : { createScriptURL: address };

  function address(name) {
    if (!NAME.test(name) || name.includes("..")) throw new Error(`${name} is no part of this report`);
    return `data/${name}.js`;
  }

  async function unpacked(base64) {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  function load(name) {
    if (!asked.has(name)) {
      const entry = {};
      entry.promise = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject }));
      asked.set(name, entry);
      const script = document.createElement("script");
      script.src = policy.createScriptURL(name);
      script.addEventListener("error", () => {
        asked.delete(name);
        entry.reject(new Error(`data/${name}.js is missing or damaged: make the report again`));
      });
      script.addEventListener("load", () => script.remove());
      document.head.append(script);
    }
    return asked.get(name).promise;
  }

  function receive(name, base64) {
    const entry = asked.get(name);
    if (entry) unpacked(base64).then(entry.resolve, entry.reject);
  }

  return { load, receive };
})();

const receive = shards.receive; // what a shard calls
