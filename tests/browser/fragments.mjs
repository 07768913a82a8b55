// The part of an address after `#`: where scripts run, it is there again after the login, and no server saw it.

import assert from 'node:assert/strict';
import { AGENTS, LOGIN, pathOf, signIn, submitLogin } from './stage.mjs';

const TARGET = '/page/long?q=1#part-%C3%BC';

export const fragmentFlows = {
  async fragment_of_the_wanted_page_survives_the_login(stage) {
    const page = await (await stage.visitor()).newPage();
    const sent = bodiesOf(page);
    await page.goto(TARGET);
    assert.equal(pathOf(page), LOGIN);
    await submitLogin(page);
    await page.waitForURL(stage.base + TARGET);
    assert.equal(sent.join().includes('part-'), false, 'the fragment was sent');
  },

  async fragment_of_the_wanted_page_survives_a_wrong_password(stage) {
    const page = await (await stage.visitor()).newPage();
    await page.goto(TARGET);
    for (const password of ['wrong', 'wrong again']) await submitLogin(page, { password });
    await page.getByRole('alert').waitFor();
    await submitLogin(page);
    await page.waitForURL(stage.base + TARGET);
  },

  async fragment_that_looks_like_an_address_leads_nowhere_else(stage) {
    const page = await (await stage.visitor()).newPage();
    const fragment = '#//evil.example/?next=https://evil.example';
    await page.goto(`/whoami${fragment}`);
    await submitLogin(page);
    await page.waitForURL(`${stage.base}/whoami${fragment}`);
  },

  async fragment_survives_for_who_is_signed_in_already(stage) {
    const visitor = await stage.visitor();
    await signIn(await visitor.newPage(), '/');
    const page = await visitor.newPage();
    await page.goto(`${LOGIN}?next=/whoami#part`);
    await page.getByRole('link', { name: 'Continue' }).click();
    await page.waitForURL(`${stage.base}/whoami#part`);
  },

  async wanted_page_without_javascript_comes_without_its_fragment(stage) {
    const page = await (await stage.visitor({ javaScriptEnabled: false })).newPage();
    await page.goto(TARGET);
    await submitLogin(page);
    await page.waitForURL(stage.base + TARGET.split('#')[0]);
  },

  async fragment_survives_the_choice_of_sessions_to_end(stage) {
    for (const userAgent of [AGENTS.iphone, AGENTS.firefox]) {
      await signIn(await (await stage.visitor({ userAgent })).newPage(), '/whoami');
    }
    const page = await (await stage.visitor()).newPage();
    await page.goto(TARGET);
    await submitLogin(page);
    await page.getByRole('checkbox', { name: 'Safari on iPhone' }).check();
    await page.getByRole('button', { name: 'Sign out there and continue' }).click();
    await page.waitForURL(stage.base + TARGET);
  },
};

// Everything that a page sends in bodies from now on.
function bodiesOf(page) {
  const bodies = [];
  page.on('request', (request) => bodies.push(request.postData() ?? ''));
  return bodies;
}
