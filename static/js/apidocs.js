// Shows the OpenAPI document of this portal with the vendored Swagger UI; nothing is fetched from elsewhere.
const place = document.getElementById("swagger");
window.SwaggerUIBundle({
  url: place.dataset.url,
  domNode: place,
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
  tryItOutEnabled: false,
  requestInterceptor: (request) => {
    if (request.method && request.method !== "GET") request.headers["X-CSRFToken"] = document.querySelector('meta[name="csrf-token"]').content;
    return request;
  },
});

// Swagger UI has English words only: what it says by itself is put into the language of the page as it appears. Never inside of
// what comes from the document or from an answer, but for the titles of groups.
const { page, tags } = JSON.parse(document.getElementById("api-words").textContent);
const FOREIGN = "pre, code, textarea, .renderedMarkdown, .markdown, .opblock-summary-path, .opblock-summary-description, .parameter__name, .prop-name, .json-schema-2020-12";

function put(node) {
  const text = node.nodeValue.trim();
  const inside = node.parentElement;
  const wanted = inside?.closest(".opblock-tag") ? tags[text] : inside?.closest(FOREIGN) ? undefined : page[text];
  if (wanted && wanted !== text) node.nodeValue = node.nodeValue.replace(text, wanted);
}

function putAll(root) {
  if (root.nodeType === Node.TEXT_NODE) return put(root);
  const nodes = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (nodes.nextNode()) put(nodes.currentNode);
}

if (Object.keys(page).length) {
  new MutationObserver((changes) => {
    for (const change of changes) {
      if (change.type === "characterData") put(change.target);
      for (const node of change.addedNodes) putAll(node);
    }
  }).observe(place, { childList: true, subtree: true, characterData: true });
  putAll(place);
}
