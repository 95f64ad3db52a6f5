// The editor of files, as one script: CodeMirror 6 in a shadow root, where its styles are style sheets and not inline.
import { basicSetup } from "codemirror";
import { EditorView, keymap } from "@codemirror/view";
import { Compartment, EditorState } from "@codemirror/state";
import { indentWithTab } from "@codemirror/commands";
import { StreamLanguage } from "@codemirror/language";
import { oneDark } from "@codemirror/theme-one-dark";
import { css } from "@codemirror/lang-css";
import { html } from "@codemirror/lang-html";
import { javascript } from "@codemirror/lang-javascript";
import { json } from "@codemirror/lang-json";
import { markdown } from "@codemirror/lang-markdown";
import { python } from "@codemirror/lang-python";
import { yaml } from "@codemirror/lang-yaml";
import { shell } from "@codemirror/legacy-modes/mode/shell";
import { toml } from "@codemirror/legacy-modes/mode/toml";
import { properties } from "@codemirror/legacy-modes/mode/properties";
import { standardSQL } from "@codemirror/legacy-modes/mode/sql";
import { dockerFile } from "@codemirror/legacy-modes/mode/dockerfile";

const legacy = (mode) => () => StreamLanguage.define(mode);
const languages = {
  css, html, htm: html, svg: html, xml: html, js: javascript, mjs: javascript, cjs: javascript, jsx: () => javascript({ jsx: true }),
  ts: () => javascript({ typescript: true }), tsx: () => javascript({ typescript: true, jsx: true }), json, jsonl: json, md: markdown,
  markdown, py: python, yaml, yml: yaml, sh: legacy(shell), bash: legacy(shell), toml: legacy(toml), ini: legacy(properties),
  conf: legacy(properties), env: legacy(properties), sql: legacy(standardSQL), dockerfile: legacy(dockerFile),
};

/** By the name of a file; null for plain text. */
export function languageOf(name) {
  const last = name.toLowerCase().split("/").pop();
  const made = languages[last] ?? languages[last.split(".").pop()];
  return made ? made() : null;
}

/** An editor in `host`. Gives `text()`, `set(text)`, `dark(yes)` and `focus()`. */
export function edit(host, { text, name, dark = false, readOnly = false, label = "", onChange = () => {} }) {
  const root = host.attachShadow({ mode: "open" });
  const theme = new Compartment();
  const own = EditorView.theme({ "&": { height: "100%", fontSize: "13px", backgroundColor: "transparent" }, ".cm-scroller": { fontFamily: "ui-monospace, 'JetBrains Mono Variable', monospace" } });
  const language = languageOf(name);
  // Ends of lines stay as they are: only where all are CRLF are they taken for one, elsewhere a CR is a letter.
  const ends = text.includes("\n") && !/(^|[^\r])\n/.test(text) ? "\r\n" : "\n";
  const view = new EditorView({
    parent: root,
    root,
    state: EditorState.create({
      doc: text,
      extensions: [
        basicSetup, own, keymap.of([indentWithTab]), theme.of(dark ? oneDark : []), language ?? [],
        EditorState.lineSeparator.of(ends), EditorState.readOnly.of(readOnly), EditorView.editable.of(!readOnly), EditorView.contentAttributes.of({ "aria-label": label }),
        EditorView.lineWrapping, EditorView.updateListener.of((update) => { if (update.docChanged) onChange(); }),
      ],
    }),
  });
  return {
    text: () => view.state.sliceDoc(),
    set: (fresh) => view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: view.state.toText(fresh) } }),
    dark: (yes) => view.dispatch({ effects: theme.reconfigure(yes ? oneDark : []) }),
    focus: () => view.focus(),
  };
}
