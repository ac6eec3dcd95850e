// Builds the page into the folder given as argument. The same sources and the same lock
// file always give the same bytes.
import { build } from 'esbuild';
import { copyFile, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const [out] = process.argv.slice(2);
if (!out) {
  throw new Error('build.mjs: no folder given for the built files');
}

// Fonts are three quarters of the style sheet, and the page does not need them.
const withoutFonts = {
  name: 'without-fonts',
  setup({ onLoad }) {
    onLoad({ filter: /\.css$/ }, async ({ path }) => ({
      contents: (await readFile(path, 'utf8')).replace(/@font-face\s*\{[^}]*\}/g, ''),
      loader: 'css',
    }));
  },
};

await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });
const { metafile } = await build({
  entryPoints: { graphiql: 'main.jsx' },
  outdir: out,
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  jsx: 'automatic',
  define: { 'process.env.NODE_ENV': '"production"' },
  legalComments: 'none', // licenses.txt has the whole texts
  metafile: true,
  plugins: [withoutFonts],
  logLevel: 'warning',
});
await copyFile('index.html', join(out, 'index.html'));
await writeFile(join(out, 'licenses.txt'), await licenses(Object.values(metafile.outputs)));

// licenses returns the license of each package with code in the outputs; a text that
// several packages share occurs once.
async function licenses(outputs) {
  const folders = new Set();
  for (const [path, { bytesInOutput }] of outputs.flatMap(({ inputs }) => Object.entries(inputs))) {
    const [folder] = path.match(/^.*node_modules\/(@[^/]+\/)?[^/]+(?=\/)/) ?? [];
    if (folder && bytesInOutput > 0) {
      folders.add(folder);
    }
  }
  const packages = new Map();
  for (const folder of [...folders].sort()) {
    const { name, version, license } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
    let text = '';
    for (const file of (await readdir(folder)).sort()) {
      if (/^(licen[cs]e|copying|notice)/i.test(file)) {
        text += `\n${(await readFile(join(folder, file), 'utf8')).replaceAll(/[ \t\r]+$/gm, '').trim()}\n`;
      }
    }
    packages.set(text, [...(packages.get(text) ?? []), `${name} ${version} (${license})\n`]);
  }
  const line = `\n${'-'.repeat(72)}\n`;
  return ['The files of this folder contain code of these packages:\n', ...[...packages].map(([text, names]) => names.join('') + text)].join(line);
}
