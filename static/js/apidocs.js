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
