// node run.mjs FLOW BASE_URL CONTROL_URL: runs one flow, prints `ok` or `FAILED: why`. Without a flow: lists them.

import { flows as ordinary } from './flows.mjs';
import { fragmentFlows } from './fragments.mjs';
import { noticeFlows } from './notice.mjs';
import { pageFlows } from './pages.mjs';
import { passkeyFlows } from './passkeys.mjs';
import { play } from './stage.mjs';

const flows = { ...ordinary, ...fragmentFlows, ...pageFlows, ...passkeyFlows, ...noticeFlows };
const [name, base, control] = process.argv.slice(2);
if (!name) {
  console.log(Object.keys(flows).join('\n'));
  process.exit(0);
}
if (!Object.hasOwn(flows, name) || !base) {
  console.error('usage: node run.mjs FLOW BASE_URL CONTROL_URL');
  process.exit(2);
}

await play(flows[name], base, control);
