// Makes `component.wasm` of `plugin.js`, with no feature that would import WASI: plugins are not lent any.
import { readFile, writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';

const { component } = await componentize(await readFile('plugin.js', 'utf8'), {
  sourceName: 'plugin.js',
  witPath: 'wit',
  worldName: 'my-world',
  disableFeatures: ['stdio', 'random', 'clocks', 'http', 'fetch-event'],
});
await writeFile('component.wasm', component);
