// node run.mjs FLOW BASE_URL CONTROL_URL: runs one flow, prints `ok` or `FAILED: why`. Without a flow: lists them.

import { flows as ordinary } from './flows.mjs';
import { fragmentFlows } from './fragments.mjs';
import { noticeFlows } from './notice.mjs';
import { pageFlows } from './pages.mjs';
import { passkeyFlows } from './passkeys.mjs';
import { Stage } from './stage.mjs';

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

const stage = await Stage.open(base, control);
try {
  await flows[name](stage);
  console.log('ok');
} catch (error) {
  console.log(`FAILED: ${error.stack ?? error}`);
  process.exitCode = 1;
} finally {
  await stage.close();
}
