// Markdown of others as part of the page: what it says is read by markdown-it without HTML, and what comes of that is cleaned by DOMPurify.
// Nothing of it runs and nothing is loaded from elsewhere: a picture of another host is a link until somebody asks for it.

// `_markdown.html` loads it; window.clawportal.markdown(text) gives a fragment for an element with the class `markdown`.

const { element, icon, toast, word } = window.clawportal;
const words = JSON.parse(document.getElementById("markdown-words").textContent);

const LONGEST = 400_000;      // characters; what is longer is shown as plain text
const HIGHLIGHTED = 30_000;   // characters of one piece of code
const TAGS = ["p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code", "span", "em", "strong", "s",
  "a", "table", "thead", "tbody", "tr", "th", "td", "img"];

const reader = window.markdownit({ html: false, linkify: true, breaks: true, highlight });
const plain = reader.renderer.renderToken.bind(reader.renderer);

function highlight(code, language) {
  if (!language || code.length > HIGHLIGHTED || !window.hljs.getLanguage(language)) return "";
  return window.hljs.highlight(code, { language, ignoreIllegals: true }).value;
}

// Alignment is a class: the page allows no inline style.
for (const name of ["th_open", "td_open"]) {
  reader.renderer.rules[name] = (tokens, k, options) => {
    const align = /text-align:(\w+)/.exec(tokens[k].attrGet("style") ?? "");
    tokens[k].attrs = align ? [["class", `to-${align[1]}`]] : null;
    return plain(tokens, k, options);
  };
}

// As text that no page loads from: the address is looked at below.
reader.renderer.rules.image = (tokens, k) => {
  const text = reader.utils.escapeHtml(tokens[k].content);
  return `<span class="picture" title="${reader.utils.escapeHtml(tokens[k].attrGet("src") ?? "")}">${text}</span>`;
};

const cleaner = window.DOMPurify(window);

/** A fragment that can be put into the page. */
function rendered(text) {
  if (text.length > LONGEST) return element("pre", { class: "plain" }, text);
  const made = cleaner.sanitize(reader.render(text), {
    ALLOWED_TAGS: TAGS, ALLOWED_ATTR: ["href", "class", "title", "start"], ALLOW_DATA_ATTR: false, ALLOW_ARIA_ATTR: false,
    ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i, RETURN_DOM_FRAGMENT: true,
  });
  for (const link of made.querySelectorAll("a")) outward(link);
  for (const picture of made.querySelectorAll("span.picture")) picture.replaceWith(asked(picture));
  for (const code of made.querySelectorAll("pre")) code.replaceWith(boxed(code));
  for (const table of made.querySelectorAll("table")) {
    const wrap = element("div", { class: "md-table", tabindex: "0" });
    table.replaceWith(wrap);
    wrap.append(table);
  }
  return made;
}

function outward(link) {
  if (!link.getAttribute("href")) return link.replaceWith(...link.childNodes);   // an address that leads nowhere we go
  link.target = "_blank";
  link.rel = "noopener noreferrer nofollow";
}

/** Pictures inside the text are shown; those of other hosts when somebody asks, without telling them where from. */
function asked(picture) {
  const address = picture.title, text = picture.textContent;
  if (/^data:image\/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+$/.test(address)) return element("img", { src: address, alt: text, class: "md-picture" });
  if (!/^https?:\/\//i.test(address)) return document.createTextNode(text);
  let host = "";
  try { host = new URL(address).host; } catch { return document.createTextNode(text); }
  return element("button", { type: "button", class: "btn btn-sm md-ask", "data-picture": address, title: address },
    icon("photo"), [text, words.picture.replace("{host}", () => host)].filter(Boolean).join(" – "));
}

function boxed(code) {
  const language = /language-([\w+#.-]+)/.exec(code.querySelector("code")?.className ?? "")?.[1] ?? words.code;
  const copy = element("button", { type: "button", class: "btn btn-quiet btn-sm", "data-copy-code": true }, icon("copy"), words.copy);
  const box = element("div", { class: "md-code" }, element("div", { class: "md-code-head" }, element("span", { class: "tiny faint" }, language), copy));
  code.setAttribute("tabindex", "0");
  box.append(code.cloneNode(true));
  return box;
}

document.addEventListener("click", async (event) => {
  const picture = event.target.closest("[data-picture]");
  if (picture) window.open(picture.dataset.picture, "_blank", "noopener,noreferrer");
  const code = event.target.closest("[data-copy-code]");
  if (!code) return;
  try {
    await navigator.clipboard.writeText(code.closest(".md-code").querySelector("pre").textContent);
    toast(words.copied, "ok");
  } catch {
    toast(word("copy_failed"), "warn");
  }
});

// Scripts of one page share a name instead of importing each other: each is fetched by the hash of its content.
window.clawportal.markdown = rendered;
