// node screenshots.mjs BASE_URL CONTROL_URL [FOLDER [WHICH]]: takes pages that a person may see, whole, in a desktop's
// and a phone's size, light and dark, into FOLDER (docs/screenshots). WHICH: `ordinary`, `at-limit` (of a gateway
// which lets nobody have more than two sessions), `passkeys`, `languages` (the login page in each, in a phone's size),
// `dressed` (in the clothes of a deployer).
//
// Expects what `Stage` in tests/it/harness/browser.rs sets up.

import { mkdir } from 'node:fs/promises';
import { PHONE, pages, pagesAtTheLimit, pagesOfPasskeys } from './pages.mjs';
import { Stage } from './stage.mjs';

const [base, control, folder = 'docs/screenshots', which = 'ordinary'] = process.argv.slice(2);
if (!base) {
  console.error('usage: node screenshots.mjs BASE_URL CONTROL_URL [FOLDER [WHICH]]');
  process.exit(2);
}

const SIZES = { desktop: { width: 1280, height: 800 }, phone: PHONE };
const SCHEMES = ['light', 'dark'];
const LOCALES = ['en', 'de', 'fr', 'es', 'zh-CN', 'ja'];

const ofWhich = {
  ordinary: { reaches: pages },
  'at-limit': { reaches: pagesAtTheLimit },
  passkeys: { reaches: pagesOfPasskeys },
  dressed: { reaches: { 'login-branded': pages.login, 'error-branded': pages.error } },
  languages: {
    reaches: { login: pages.login, maintenance: pages.maintenance },
    sizes: { phone: PHONE }, schemes: ['light'], locales: LOCALES,
  },
};

const { reaches, sizes = SIZES, schemes = SCHEMES, locales = [undefined] } = ofWhich[which];
await mkdir(folder, { recursive: true });
const stage = await Stage.open(base, control, 'https://wiki.example.com');
try {
  for (const [size, viewport] of Object.entries(sizes)) {
    for (const colorScheme of schemes) {
      for (const locale of locales) {
        for (const [name, reach] of Object.entries(reaches)) await take(name, reach, { size, viewport, colorScheme, locale });
      }
    }
  }
} finally {
  await stage.close();
}

async function take(name, reach, { size, viewport, colorScheme, locale }) {
  const visitor = await stage.visitor({ viewport, colorScheme, locale });
  const page = await visitor.newPage();
  await reach(stage, page);
  await page.evaluate(() => document.activeElement?.blur());
  const path = `${folder}/${[name, locale?.slice(0, 2), size, colorScheme].filter(Boolean).join('-')}.png`;
  await page.screenshot({ path, fullPage: true });
  console.log(path);
  await visitor.close();
}
