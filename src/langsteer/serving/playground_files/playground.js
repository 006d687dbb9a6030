// Asks the server for a text's two answers, as any client of it would, and shows them as they come.

const $ = (id) => document.getElementById(id);
const AUTO = "auto";
const UNKNOWN = "und"; // a language that could not be told
const POSITIONS = { source: "on the text", prompt: "on the prompt", generated: "on what is written", all: "on all tokens" };
const moved = { strength: false, layer: false };
let served = null; // what /v1/models says
let running = null; // the AbortController of what is being asked

function headers() {
  const key = sessionStorage.getItem("key");
  return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

function show(id, text) {
  $(id).textContent = text;
  $(id).hidden = !text;
}

async function refusal(reply) {
  try {
    return (await reply.json()).error.message;
  } catch {
    return `the server answered ${reply.status}`;
  }
}

async function load() {
  const reply = await fetch("v1/models", { headers: headers() });
  $("key-field").hidden = reply.status !== 401;
  if (reply.status === 401) {
    show("error", sessionStorage.getItem("key") ? "This key is not known." : "");
    show("about", "This server wants a key.");
    $("key").focus();
    return;
  }
  if (!reply.ok) throw new Error(await refusal(reply));
  served = await reply.json();
  show("error", "");
  fill();
}

function fill() {
  const { vectors, router, left_out: leftOut, chat, pivot } = served.steering;
  const names = vectors.map((vector) => vector.name).join(", ");
  show("about", `${served.data[0].id}, with vectors for ${names}. They lead to ${pivot.name}.`);
  show("left-out", leftOut.map(({ file, reason }) => `Left out: ${file}: ${reason}`).join("\n"));
  const options = vectors.map(({ tag, name, own_name: own }) => new Option(own && own !== name ? `${name} (${own})` : name, tag));
  if (router || vectors.length === 1) options.unshift(new Option(router ? "the language that is heard" : "its vector", AUTO));
  $("language").replaceChildren(...options);
  $("layer").max = served.steering.layers - 1;
  $("chat-field").hidden = !chat;
  asFitted();
}

// The vectors that the choice of a language may mean.
function chosen() {
  const tag = $("language").value;
  return served.steering.vectors.filter((vector) => tag === AUTO || vector.tag === tag);
}

function asFitted() {
  moved.strength = moved.layer = false;
  const vectors = chosen();
  const own = vectors[0].strength;
  $("strength").min = Math.min(0, 2 * own);
  $("strength").max = Math.max(2, 2 * own);
  $("strength").value = own;
  $("layer").value = vectors[0].layers[0];
  $("layer-field").hidden = !vectors.every((vector) => vector.layer_moves);
  tell();
}

function tell() {
  const vectors = chosen();
  const fitted = (values) => (new Set(values).size === 1 ? `${values[0]}, as fitted` : "as fitted");
  $("strength-told").value = moved.strength ? $("strength").value : fitted(vectors.map((vector) => vector.strength));
  $("layer-told").value = moved.layer ? $("layer").value : fitted(vectors.map((vector) => vector.layers.join(", ")));
}

// What the field `steering` asks for.
function steering() {
  const asked = { language: $("language").value };
  if (moved.strength) asked.strength = Number($("strength").value);
  if (moved.layer && !$("layer-field").hidden) asked.layer = Number($("layer").value);
  if ($("positions").value) asked.positions = $("positions").value;
  return Object.keys(asked).length === 1 ? asked.language : asked;
}

function body(how) {
  const text = $("text").value;
  const chat = $("chat").checked;
  return {
    model: served.data[0].id,
    ...(chat ? { messages: [{ role: "user", content: text }] } : { prompt: text }),
    steering: how,
    max_tokens: Number($("tokens").value),
    temperature: Number($("temperature").value),
    ...(Number($("temperature").value) ? { seed: Number($("seed").value) } : {}),
  };
}

const path = () => ($("chat").checked ? "v1/chat/completions" : "v1/completions");

async function* events(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: /, "");
      if (data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

async function answer(side, how, signal) {
  const card = $(side).closest("article");
  card.setAttribute("aria-busy", "true");
  let cut = "";
  try {
    const asked = JSON.stringify({ ...body(how), stream: true });
    const reply = await fetch(path(), { method: "POST", headers: headers(), body: asked, signal });
    if (!reply.ok) throw new Error(await refusal(reply));
    for await (const event of events(reply)) {
      if (event.error) throw new Error(event.error.message);
      for (const choice of event.choices) {
        $(side).textContent += choice.text ?? choice.delta.content ?? "";
        if (choice.finish_reason === "length") cut = " Cut off at the tokens asked for.";
      }
      if (side === "steered" && event.steering) told(event.steering);
    }
    $(`${side}-told`).append(cut);
  } finally {
    card.removeAttribute("aria-busy");
  }
}

function nameOf(tag) {
  if (tag === served.steering.pivot.tag) return served.steering.pivot.name;
  const known = served.steering.vectors.find((vector) => vector.tag === tag);
  return known ? known.name : new Intl.DisplayNames(["en"], { type: "language" }).of(tag);
}

function told(used) {
  const heard = used.confidence !== null && used.language !== UNKNOWN;
  $("heard").hidden = !heard;
  if (heard) {
    $("heard-language").textContent = `Heard ${nameOf(used.language)}`;
    $("heard-confidence").value = used.confidence;
    $("heard-told").textContent = `${Math.floor(100 * used.confidence)}% sure`;
  }
  if (used.vector === null) {
    const unsure = heard ? "too unsure, or no vector for it" : "its language cannot be told; choose it above";
    const why = used.language === served.steering.pivot.tag ? "the vectors lead there" : unsure;
    show("steered-told", used.language ? `Not steered: ${why}.` : "Not steered.");
    return;
  }
  const layers = used.layers ? ` at layer ${used.layers.join(", ")}` : "";
  const where = POSITIONS[used.positions] ? `, ${POSITIONS[used.positions]}` : "";
  show("steered-told", `Vector for ${nameOf(used.vector)}, strength ${used.strength}${layers}${where}.`);
}

async function ask(event) {
  event.preventDefault();
  if (!served || running) return;
  running = new AbortController();
  $("send").disabled = true;
  $("stop").disabled = false;
  for (const id of ["unsteered", "steered", "unsteered-told", "steered-told"]) $(id).textContent = "";
  $("heard").hidden = true;
  $("answers").hidden = $("recipe").hidden = false;
  show("error", "");
  $("status").textContent = "Answering…";
  recipe();
  const { signal } = running;
  const both = [answer("unsteered", null, signal), answer("steered", steering(), signal)];
  const ended = await Promise.allSettled(both);
  const failed = ended.find(({ reason }) => reason && reason.name !== "AbortError");
  const stopped = ended.some(({ reason }) => reason && reason.name === "AbortError");
  if (failed) show("error", failed.reason.message);
  $("status").textContent = failed ? "" : stopped ? "Stopped." : "Both have answered.";
  running = null;
  $("send").disabled = false;
  $("stop").disabled = true;
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function recipe() {
  const how = steering();
  const url = new URL(path(), location.href);
  const key = $("key-field").hidden && !sessionStorage.getItem("key") ? "" : ` -H "Authorization: Bearer $LANGSTEER_API_KEY"`;
  $("curl").textContent = `curl -s ${url} -H 'Content-Type: application/json'${key} -d ${quoted(JSON.stringify(body(how)))}`;
  const asked = typeof how === "string" ? { language: how } : how;
  const routed = asked.language !== AUTO || served.steering.hears !== "lingua"; // the command knows no lingua
  const plain = served.steering.recipe && routed && asked.layer === undefined && !Number($("temperature").value);
  $("generate-command").hidden = !plain;
  if (!plain) return;
  const words = [served.steering.recipe, "--max-new-tokens", $("tokens").value];
  if (asked.language !== AUTO) words.push("--language", asked.language);
  if (asked.strength !== undefined) words.push("--strength", asked.strength);
  if (asked.positions) words.push("--positions", asked.positions);
  if ($("chat").checked) words.push("--chat");
  $("generate").textContent = `${words.join(" ")} -- ${quoted($("text").value)}`;
}

async function copy(button) {
  const element = $(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(element.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(element); // no clipboard without https: it is marked to be copied
    button.textContent = "Marked";
  }
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

function guarded(action) {
  return (...given) => Promise.resolve(action(...given)).catch((error) => show("error", error.message));
}

$("ask").addEventListener("submit", guarded(ask));
$("stop").addEventListener("click", () => running?.abort());
$("reset").addEventListener("click", () => {
  $("positions").value = "";
  asFitted();
});
$("language").addEventListener("change", asFitted);
for (const name of ["strength", "layer"]) {
  $(name).addEventListener("input", () => {
    moved[name] = true;
    tell();
  });
}
$("use-key").addEventListener("click", guarded(() => {
  sessionStorage.setItem("key", $("key").value.trim());
  return load();
}));
$("key").addEventListener("keydown", (event) => {
  if (event.key === "Enter") {
    event.preventDefault();
    $("use-key").click();
  }
});
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("ask").requestSubmit();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") running?.abort();
});
for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", () => copy(button));
guarded(load)();
